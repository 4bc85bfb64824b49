"""One micrograph after the other: read, cut, operate, write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.extract.finished import BLOCK
from relion_mpi.extract.operations import Recipe, check_half, operate
from relion_mpi.extract.window import cut
from relion_mpi.io.mrc_stack import write_stack
from relion_mpi.io.star import write_star

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from relion_mpi.extract.plan import Task


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the particles of a micrograph.

    Attributes
    ----------
    n_particles : all of them
    n_flat : with a constant background, which were not normalised
    n_not_finite : with NaN or infinite pixels
    """

    n_particles: int
    n_flat: int
    n_not_finite: int


class ExtractWorker:
    """A `relion_mpi.parallel.crew.Worker` that extracts particles."""

    def __init__(self) -> None:
        self._recipe: Recipe | None = None

    def begin(self, message: Any, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the recipe; see `Worker.begin`."""
        self._recipe = message

    def prepare(self, task: Task) -> NDArray[np.number[Any]]:
        """Read the micrograph of a task; see `Worker.prepare`."""
        header = task.header
        pixels = np.fromfile(
            header.path, header.dtype, header.nx * header.ny, offset=header.data_offset
        )
        if pixels.size != header.nx * header.ny:
            raise InputError(f"{header.path}: the file became shorter; write it again")
        return pixels.reshape(header.ny, header.nx)

    def work(self, task: Task, prepared: NDArray[np.number[Any]]) -> Counts:
        """Write stack and table of a micrograph; see `Worker.work`."""
        assert self._recipe is not None
        tally = _Tally()
        side = self._recipe.final_side
        try:
            # A table tells that the stack beside it is whole and its own.
            task.table.unlink(missing_ok=True)
            write_stack(
                task.stack, _images(task, prepared, self._recipe, tally),
                (task.n_particles, side, side), self._recipe.dtype, task.pixel_size_angst,
            )  # fmt: skip
            write_star(task.table, {BLOCK: task.frame})
        except OSError as error:
            raise InputError(
                f"{task.stack}: could not be written ({error.strerror or error}), expected a "
                "folder with enough space; free space and go on with --only_do_unfinished"
            ) from error
        return Counts(task.n_particles, tally.n_flat, tally.n_not_finite)

    def sums(self) -> Sequence[NDArray[Any]]:
        """Return nothing: there is nothing to add up."""
        return []

    def counts(self) -> dict[str, float]:
        """Return nothing: results tell what was done."""
        return {}


class _Tally:
    """Counts while images are made."""

    def __init__(self) -> None:
        self.n_flat = 0
        self.n_not_finite = 0


def _images(
    task: Task, micrograph: NDArray[np.number[Any]], recipe: Recipe, tally: _Tally
) -> Iterator[NDArray[np.float32]]:
    """Make the images of a task chunk by chunk."""
    for start in range(0, task.n_particles, recipe.n_chunk):
        rows = range(start, min(start + recipe.n_chunk, task.n_particles))
        windows = cut(micrograph, task.centre[rows.start : rows.stop], recipe.side)
        images, flat = operate(windows, recipe, task.keys(rows))
        tally.n_flat += int(np.count_nonzero(flat))
        sums = images.sum(axis=(1, 2), dtype=np.float64)
        tally.n_not_finite += int(np.count_nonzero(~np.isfinite(sums)))
        if recipe.half:
            check_half(images, task.name)
        yield from images
