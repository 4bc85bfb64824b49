"""Maps and averages that a page shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.io.cube import read_cube
from relion_mpi.io.mrc import read_header, read_map

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.report.gather.history import Step
    from relion_mpi.report.gather.job import Job

T = TypeVar("T")

LARGEST_SIDE = 256
"""Maps of more voxels a side are binned while they are read: a page shows no more."""
MOST_SLICES = 16
"""Iterations whose slices a page keeps; more are thinned out evenly."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A map.

    Attributes
    ----------
    name : of the file
    data : float32 (n, n, n)
    bin : voxels of the file that are one of these
    """

    name: str
    data: NDArray[np.float32]
    bin: int = 1


def class_maps(job: Job, step: Step) -> list[Volume | None]:
    """Read the maps of an iteration, half-set 1 where half-sets are apart.

    Parameters
    ----------
    job
        The run.
    step
        The iteration.

    Returns
    -------
    list
        One a class; None where the file is missing or broken.
    """
    return [read_volume(path) for path in _class_paths(job, step)]


def class_averages(job: Job, step: Step) -> NDArray[np.float32] | None:
    """Read the averages of a 2D classification.

    Parameters
    ----------
    job
        The run.
    step
        The iteration.

    Returns
    -------
    float32 (n_class, n, n), or None
    """
    return _read(lambda: read_map(_averages_path(job, step))[0])


def central_sections(job: Job, steps: tuple[Step, ...]) -> dict[int | None, NDArray[np.float32]]:
    """Read the central section of the largest class, for some iterations.

    Parameters
    ----------
    job
        The run.
    steps
        All iterations.

    Returns
    -------
    dict
        Iteration -> float32 (n, n), of the class that is the largest in the end; thinned to
        MOST_SLICES.
    """
    last = steps[-1]
    largest = int(np.argmax(last.shares))
    chosen = np.unique(np.linspace(0, len(steps) - 1, MOST_SLICES).round().astype(int))
    found = {}
    for i in chosen:
        step = steps[i]
        section = _central_section(job, step, min(largest, step.n_class - 1))
        if section is not None:
            found[step.iteration] = section
    return found


def _central_section(job: Job, step: Step, k: int) -> NDArray[np.float32] | None:
    """Read one section and nothing else: maps of all iterations would be gigabytes."""

    def read() -> NDArray[np.float32]:
        path = _averages_path(job, step) if step.is_planar else _class_paths(job, step)[k]
        header = read_header(path)
        z = k if step.is_planar else header.nz // 2
        values = np.fromfile(
            path, header.dtype, header.nx * header.ny, offset=header.data_offset
            + z * header.image_bytes,
        )  # fmt: skip
        return values.astype(np.float32).reshape(header.ny, header.nx)

    return _read(read)


def _class_paths(job: Job, step: Step) -> list[Path]:
    number = "" if step.iteration is None else f"_it{step.iteration:03d}"
    paths = []
    for k in range(step.n_class):
        ending = f"_class{k + 1:03d}.mrc"
        one = job.folder / f"{job.name}{number}{ending}"
        half = job.folder / f"{job.name}{number}_half1{ending}"
        paths.append(half if half.exists() and not one.exists() else one)
    return paths


def _averages_path(job: Job, step: Step) -> Path:
    number = "" if step.iteration is None else f"_it{step.iteration:03d}"
    return job.folder / f"{job.name}{number}_classes.mrcs"


def read_volume(path: Path) -> Volume | None:
    """Read a map; None if it is missing or broken.

    Parameters
    ----------
    path
        MRC file.

    Returns
    -------
    Volume or None
    """
    def read() -> tuple[NDArray[np.float32], int]:
        side = read_header(path).nz
        by = -(-side // LARGEST_SIDE)
        return (_binned(path, by) if by > 1 else read_cube(path)[0]), by

    found = _read(read)
    return None if found is None else Volume(path.name, *found)


def _binned(path: Path, by: int) -> NDArray[np.float32]:
    """Read a map block by block of sections, and average cubes of its voxels."""
    header = read_header(path)
    n = 2 * (min(header.nx, header.ny, header.nz) // (2 * by))
    volume = np.empty((n, n, n), np.float32)
    # what is cut off at the end keeps the centre voxel of an even box within half a voxel
    first = (header.nz - n * by) // 2
    for z in range(n):
        slab = np.fromfile(
            path, header.dtype, by * header.nx * header.ny,
            offset=header.data_offset + (first + z * by) * header.image_bytes,
        ).reshape(by, header.ny, header.nx)  # fmt: skip
        cut = slab[:, first : first + n * by, first : first + n * by].astype(np.float32)
        volume[z] = cut.reshape(by, n, by, n, by).mean(axis=(0, 2, 4))
    return volume


def _read(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (InputError, OSError, ValueError):
        return None
