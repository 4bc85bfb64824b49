"""What a subtraction writes: stacks, one an optics group, and the table of the particles."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc_stack import new_stack
from relion_mpi.io.star import write_star

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Self

    from numpy.typing import NDArray

    from relion_mpi.dataset.particles import Particles
    from relion_mpi.io.mrc_stack import StackFile
    from relion_mpi.subtract.options import SubtractOptions
    from relion_mpi.subtract.worker import Subtracted, SubtractTask

IMAGE, ORIGINAL = "rlnImageName", "rlnImageOriginalName"
TABLE, FOLDER, RATIO = "particles_subtracted.star", "Particles", "spectral_snr.star"
_HALF_MODE = 12


@dataclass(frozen=True, slots=True)
class _Stack:
    path: Path
    rows: NDArray[np.int64]
    side: int
    dtype: np.dtype[Any]
    pixel_size_angst: float


class Output:
    """Stacks that appear together with their table when all images are there.

    Parameters
    ----------
    options
        --o, --new_box and --float16.
    particles
        Of which images come.

    Raises
    ------
    InputError
        Particles are read from a stack that would be written.
    """

    def __init__(self, options: SubtractOptions, particles: Particles) -> None:
        self._options, self._particles = options, particles
        self._stacks = {
            group: _stack(options, particles, group)
            for group in np.unique(particles.optics_group).tolist()
        }
        self._origin = particles.origin_angst.copy()
        self._is_recentred = False
        self._exit = ExitStack()
        self._files: dict[int, StackFile] = {}
        read = {path.resolve() for path in particles.stack_paths}
        for stack in self._stacks.values():
            if stack.path.resolve() in read:
                raise InputError(
                    f"--o {options.o}: found that particles are read from {stack.path}, expected "
                    "another folder for the new ones; choose another --o"
                )

    def rows(self, group: int) -> NDArray[np.int64]:
        """Return the particles of an optics group, in the order of its stack."""
        return self._stacks[group].rows

    def __enter__(self) -> Self:
        (self._options.o / FOLDER).mkdir(parents=True, exist_ok=True)
        for group, stack in self._stacks.items():
            shape = (stack.rows.size, stack.side, stack.side)
            self._files[group] = self._exit.enter_context(
                new_stack(stack.path, shape, stack.dtype, stack.pixel_size_angst)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the stacks, then write the table; with an error leave nothing."""
        self._exit.__exit__(kind, error, trace)
        if error is None:
            write_star(self._options.o / TABLE, self._tables())

    def put(self, task: SubtractTask, found: Subtracted) -> None:
        """Take the images of a batch.

        Parameters
        ----------
        task
            What was asked for.
        found
            Its images, and offsets if they are others now.
        """
        assert found.images is not None
        self._files[task.batch.optics_group].put(task.place, found.images)
        if found.origin_angst is not None:
            self._origin[task.batch.particle] = found.origin_angst
            self._is_recentred = True

    def _tables(self) -> dict[str, pl.DataFrame]:
        particles = self._particles
        names = np.empty(particles.n_particles, object)
        for stack in self._stacks.values():
            names[stack.rows] = [f"{k:06d}@{stack.path}" for k in range(1, stack.rows.size + 1)]
        frame = particles.frame
        columns = [pl.Series(IMAGE, names.tolist()), pl.Series(ORIGINAL, frame[IMAGE])]
        if self._is_recentred:
            columns += [
                pl.Series(f"rlnOrigin{axis}Angst", np.round(values, 6))
                for axis, values in zip("XY", self._origin.T, strict=True)
            ]
        optics = particles.optics.table
        if self._options.new_box > 0:
            optics = optics.with_columns(rlnImageSize=pl.lit(self._options.new_box, pl.Int64))
        return {"optics": optics, "particles": frame.with_columns(columns)}


def _stack(options: SubtractOptions, particles: Particles, group: int) -> _Stack:
    """Plan the stack of an optics group: 16-bit where asked for, or where all its images are."""
    rows = np.flatnonzero(particles.optics_group == group)
    read = np.unique(particles.stack_file[rows])
    is_half = all(particles.stack_headers[stack].mode == _HALF_MODE for stack in read)
    return _Stack(
        options.o / FOLDER / f"subtracted_opticsgroup{group + 1}.mrcs",
        rows,
        options.new_box if options.new_box > 0 else int(particles.optics.box_size[group]),
        np.dtype(np.float16 if options.float16 or is_half else np.float32),
        float(particles.optics.pixel_size_angst[group]),
    )


def ratio_table(powers: NDArray[np.float64], box_angst: float) -> pl.DataFrame:
    """Make the table of the spectral signal-to-noise ratio.

    Parameters
    ----------
    powers : float64 (3, n_shell)
        Of signal, noise, and the pixels that were summed.
    box_angst
        Of the map.

    Notes
    -----
    Source: RELION particle_subtractor.cpp, --ssnr; columns as there.
    """
    shell = np.arange(powers.shape[1])
    signal, noise = powers[:2] / (2.0 * np.maximum(powers[2], 1.0))
    angst = np.full(shell.size, 999.0)
    angst[1:] = box_angst / shell[1:]
    ratio = np.divide(signal, noise, out=np.zeros_like(signal), where=noise > 0)
    return pl.DataFrame({
        "rlnSpectralIndex": shell, "rlnResolution": shell / box_angst,
        "rlnAngstromResolution": angst, "rlnSignalToNoiseRatio": ratio, "rlnReferenceTau2": signal,
        "rlnSigma2Noise": noise,
    })  # fmt: skip
