"""From the files of a run to its page."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.io.atomic import replacing
from relion_mpi.report.gather.job import find_job
from relion_mpi.report.gather.run import gather
from relion_mpi.report.page import make_page

if TYPE_CHECKING:
    from pathlib import Path

    from relion_mpi.report.options import ReportOptions

log = logging.getLogger(__name__)


def report(options: ReportOptions) -> Path:
    """Write the page of a run.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        There is nothing to report on, a file cannot be read, or the page cannot be written.
    """
    began = time.perf_counter()
    job = find_job(options.i)
    page = options.o or page_of(job.root)
    if options.iteration >= 0:
        job = job.until(options.iteration)
    text = make_page(gather(job, options.postprocess, symmetry=options.sym))
    write_page(page, text)
    log.info(
        "%s: %.1f MB, drawn in %.1f s", page, len(text) / 1e6, time.perf_counter() - began
    )  # fmt: skip
    return page


def page_of(root: Path) -> Path:
    """Return the name of the page of a run."""
    return root.with_name(f"{root.name}_report.html")


def write_page(page: Path, text: str) -> None:
    """Write a page, whole or not at all.

    Parameters
    ----------
    page
        File to replace; its folder is made.
    text
        HTML.

    Raises
    ------
    InputError
        It cannot be written.
    """
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        with replacing(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{page}: could not be written ({error.strerror or error}), expected a folder with "
            "enough space that may be written to; free space or give another name by --o"
        ) from error
