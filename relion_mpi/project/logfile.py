"""logfile.pdf: the pictures of a job on pages, as RELION's interface shows them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from PIL import Image

from relion_mpi.io.atomic import replacing

if TYPE_CHECKING:
    from pathlib import Path

LOGFILE = "logfile.pdf"
_DOTS_PER_INCH = 150


def write_logfile(root: Path, pictures: tuple[str, ...]) -> None:
    """Put the pictures of a job on a page each.

    Parameters
    ----------
    root
        --o of the job; the pages lie beside it.
    pictures
        What follows it in the names of the pictures, as patterns; those that exist are taken.
    """
    names = sorted(path.name for path in root.parent.iterdir())
    chosen = [
        root.with_name(name)
        for pattern in pictures
        for name in names
        if re.fullmatch(re.escape(root.name) + pattern, name)
    ]
    if not chosen:
        return
    pages = []
    for path in chosen:
        with Image.open(path) as picture:
            pages.append(picture.convert("RGB"))
    with replacing(root.with_name(LOGFILE)) as temporary:
        pages[0].save(
            temporary, format="PDF", save_all=True, append_images=pages[1:],
            resolution=_DOTS_PER_INCH,
        )  # fmt: skip
