"""Write the files of an iteration, at once or in a thread beside the next one."""

from __future__ import annotations

import logging
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Self

from relion_mpi import __version__
from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import write_star
from relion_mpi.plots.montage import central_slices, write_montage
from relion_mpi.refine.checkpoint import drop_old_states, write_state
from relion_mpi.refine.outputs.bild import write_angdist
from relion_mpi.refine.outputs.maps import half_numbers, output_maps
from relion_mpi.refine.outputs.metrics import append_metrics
from relion_mpi.refine.outputs.model_star import class_resolutions_angst, model_blocks
from relion_mpi.refine.outputs.names import OutputNames
from relion_mpi.refine.outputs.optimiser_star import keeps_poses, optimiser_blocks
from relion_mpi.refine.outputs.sampling_star import sampling_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from relion_mpi.model.state import Model
    from relion_mpi.refine.record import IterationRecord

log = logging.getLogger(__name__)

WRITING_THREADS = 4
"""Files of an iteration that are written at once: a disk is faster than one core."""


def write_iteration(record: IterationRecord) -> list[Path]:
    """Write every file of an iteration; the optimiser comes last and names the others.

    An optimiser of the same name from an earlier run is removed first, so that whenever there is
    one, the files it names are complete and belong together.

    Parameters
    ----------
    record
        Of the iteration.

    Returns
    -------
    list of Path
        The files, in the order they were written.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    names = OutputNames(record.root, record.iteration)
    written: list[Path] = []
    path = record.root.parent
    try:
        path.mkdir(parents=True, exist_ok=True)
        path = names.optimiser()
        path.unlink(missing_ok=True)
        files = list(_files(record, names))
        with ThreadPoolExecutor(WRITING_THREADS) as threads:
            *others, (last, write_last) = files
            tasks = [(one, threads.submit(write, one)) for one, write in others]
            try:
                for path, task in tasks:
                    task.result()
                    written.append(path)
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise
        path = last
        write_last(path)
        written.append(path)
        if record.run is not None:
            drop_old_states(record.root, record.iteration)
    except OSError as error:
        raise InputError(
            f"{path}: could not be written ({error.strerror or error}), expected a folder with "
            "enough space that may be written to; free space or choose another --o"
        ) from error
    log.debug("%s: %d files were written", written[0], len(written))
    return written


class OutputWriter:
    """Write records in order in one thread, while the caller goes on.

    After a failure nothing more is written, and every later call raises what went wrong.

    Parameters
    ----------
    after
        Called in the thread after the files of a record; takes care of its own failures.
    """

    def __init__(self, after: Callable[[], None] | None = None) -> None:
        self._after = after
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outputs")
        self._pending: deque[Future[None]] = deque()
        self._failure: BaseException | None = None

    def submit(self, record: IterationRecord) -> None:
        """Hand over a record; wait first until the one before is on disk.

        A record holds the maps of its iteration: more of them waiting would take memory that
        `relion_mpi.refine.host_memory` does not know of, and files would come no sooner.

        Parameters
        ----------
        record
            Nothing in it may change any more.

        Raises
        ------
        Exception
            What stopped the writing of this or an earlier record.
        """
        self._finish(0)
        self._pending.append(self._pool.submit(self._write, record))

    def hand_over(self, write: Callable[[], None]) -> None:
        """Have something else written after the records that were handed over.

        Parameters
        ----------
        write
            Takes care of its own failures.
        """
        self._finish(0)
        self._pending.append(self._pool.submit(write))

    def check(self) -> None:
        """Raise what stopped the writing, if anything has, without waiting."""
        if self._failure is not None:
            raise self._failure

    def wait(self) -> None:
        """Return when every record is on disk.

        Raises
        ------
        Exception
            What stopped the writing.
        """
        self._finish(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish what was handed over; an error of the block itself comes first."""
        self._pool.shutdown(wait=True)
        if error is None:
            self.wait()

    def _write(self, record: IterationRecord) -> None:
        if self._failure is not None:
            return
        try:
            write_iteration(record)
        except BaseException as error:
            self._failure = error
            raise
        if self._after is not None:
            self._after()

    def _finish(self, n_left: int) -> None:
        """Wait until at most `n_left` records are unfinished."""
        while len(self._pending) > n_left:
            self._pending.popleft().result()
        self.check()


def _files(
    record: IterationRecord, names: OutputNames
) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    """Yield every file and what writes it, in order."""
    model, began = record.model, time.perf_counter()
    yield names.data(), partial(write_star, blocks=record.tables)
    yield names.sampling(), partial(write_star, blocks=sampling_blocks(record))
    for path, volume in output_maps(record, names):
        yield path, partial(
            write_map, volume=volume, pixel_size_angst=model.pixel_size_angst,
            stack=model.is_planar,
        )  # fmt: skip
    for half in half_numbers(record):
        yield names.model(half), partial(write_star, blocks=model_blocks(record, names, half))
        if model.is_planar or keeps_poses(record.options):
            continue
        for k, pdf in enumerate(model.halves[half - 1 if half else 0].pdf_direction):
            draw = partial(write_angdist, grid=record.orientations, box_angst=model.box_angst)
            yield names.angdist(k + 1, half), partial(draw, pdf_direction=pdf)
    if len(model.halves) == 1:
        yield names.montage(), partial(_draw_classes, model=model)
    if record.run is not None and record.iteration is not None:
        yield names.state(), partial(write_state, record=record)
    yield names.metrics(), partial(append_metrics, record=record, began=began)
    comments = (
        f"RELION optimiser; version relion_mpi {__version__}",
        " ".join(record.command_line.split()),
    )
    blocks = optimiser_blocks(record, names)
    yield names.optimiser(), partial(write_star, blocks=blocks, comments=comments)


def _draw_classes(path: Path, model: Model) -> None:
    """Draw each class, a map's slices or its average, with its share of particles and resolution.

    The font has no letter for Angstrom.
    """
    state = model.halves[0]
    shares, resolutions = state.pdf_class, class_resolutions_angst(model, state)
    captions = [
        f"class {k + 1}: {100 * share:.1f} %, {angst:.1f} A"
        for k, (share, angst) in enumerate(zip(shares, resolutions, strict=True))
    ]
    images = list(state.maps) if model.is_planar else list(map(central_slices, state.maps))
    write_montage(path, images, captions)
