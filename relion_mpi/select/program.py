"""Select particles by their class."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.columns import Table
from relion_mpi.io.star import write_star
from relion_mpi.select.averages import selected_averages
from relion_mpi.select.classes import wanted_classes
from relion_mpi.select.files import CLASS, read_classified
from relion_mpi.select.restack import restack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.select.files import Classified
    from relion_mpi.select.options import SelectOptions

log = logging.getLogger(__name__)


def select(options: SelectOptions) -> int:
    """Write the particles of the wanted classes, all their columns kept.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    int
        Number of particles written.

    Raises
    ------
    InputError
        The files cannot be read or written, or no particle is left.
    """
    classified = read_classified(options.i)
    read = {path.resolve() for path in (classified.data, classified.model, options.i)}
    if options.o.resolve() in read:
        raise InputError(f"--o {options.o}: found the file that is read, expected another name")
    listing = options.fn_sel_classavgs
    if listing is not None and listing.resolve() in read | {options.o.resolve()}:
        raise InputError(
            f"--fn_sel_classavgs {listing}: found a name of the particles or of a file that is "
            "read, expected another one"
        )
    wanted = wanted_classes(options, classified)
    averages = None if listing is None else selected_averages(classified.model, wanted)
    of_class = Table(
        classified.data, classified.name, classified.particles,
        np.arange(1, classified.particles.height + 1),
    ).integers(CLASS, 0)  # fmt: skip
    rows = np.flatnonzero(np.isin(of_class, wanted))
    if rows.size == 0:
        raise InputError(
            f"{classified.data}: found no particle in class(es) {_listed(wanted)}, expected one or "
            "more; choose other classes"
        )
    _write_particles(options.o, classified, rows, with_images=options.restack)
    log.info(
        "%s: %d of %d particles, of class(es) %s", options.o, rows.size, of_class.size,
        _listed(wanted),
    )  # fmt: skip
    if listing is not None and averages is not None:
        with _writing(listing, "--fn_sel_classavgs"):
            write_star(listing, averages)
        log.info("%s: averages of class(es) %s", listing, _listed(wanted))
    return int(rows.size)


def _write_particles(
    path: Path, classified: Classified, rows: NDArray[np.int64], *, with_images: bool
) -> None:
    """Write the stack first, so that the table never names what is not there."""
    frame = classified.particles[rows]
    with _writing(path, "--o"):
        if with_images:
            table = Table(classified.data, classified.name, frame, rows + 1)
            frame = restack(table, path.with_suffix(".mrcs"))
        write_star(path, {**classified.blocks, classified.name: frame})


@contextmanager
def _writing(path: Path, flag: str) -> Iterator[None]:
    """Make the folder of a file, and say it plainly where it cannot be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(
            f"{path}: could not be written ({error.strerror or error}), expected a folder with "
            f"enough space that may be written to; free space or choose another {flag}"
        ) from error


def _listed(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers)
