"""Compare two runs: tables, then the maps of each class."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.compare.align import Alignment
from relion_mpi.compare.inputs import Side, find_side, read_class_map
from relion_mpi.compare.maps import MapComparison, compare_maps
from relion_mpi.compare.poses import PoseComparison, compare_poses
from relion_mpi.compare.tables import read_pose_table
from relion_mpi.core.errors import InputError
from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.fourier.resample import resample
from relion_mpi.geometry.symmetry import point_group

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.compare.options import CompareOptions

log = logging.getLogger(__name__)

MASK_EDGE_PIX = 5.0
FEWEST_POSES = 20
# Poses below this score (see Frame) say too little to place a map.
LOWEST_SCORE = 0.2


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that was compared.

    Attributes
    ----------
    a, b : Side
    symmetry : name of the point group
    poses : None if one side has no table
    maps : (class of a, class of b, comparison), classes from 1
    """

    a: Side
    b: Side
    symmetry: str
    poses: PoseComparison | None
    maps: tuple[tuple[int, int, MapComparison], ...]


def compare(options: CompareOptions) -> Comparison:
    """Compare what two names stand for.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        Files are missing or unreadable, or the two sides have nothing in common.
    """
    group = point_group(options.sym)
    a, b = find_side(options.a), find_side(options.b)
    poses = None
    if a.table is not None and b.table is not None:
        poses = compare_poses(read_pose_table(a.table), read_pose_table(b.table), group)
    if poses is None and not (a.maps and b.maps):
        raise InputError(
            f"{a.name} and {b.name}: one has only a map and the other only poses; give two tables, "
            "two maps, or runs with both"
        )
    maps = _compared_maps(options, a, b, poses) if a.maps and b.maps else ()
    return Comparison(a, b, group.name, poses, maps)


def _compared_maps(
    options: CompareOptions, a: Side, b: Side, poses: PoseComparison | None
) -> tuple[tuple[int, int, MapComparison], ...]:
    start = _start(poses)
    compared = []
    for k, k_b in _class_pairs(a, b, poses):
        first, second, pixel_size = _on_one_grid(options, a.maps[k], b.maps[k_b])
        result = compare_maps(
            first, second, pixel_size, start=start, mask=_mask(options, first.shape[0], pixel_size),
            search=options.align_maps,
        )  # fmt: skip
        compared.append((k + 1, k_b + 1, result))
    return tuple(compared)


def _class_pairs(a: Side, b: Side, poses: PoseComparison | None) -> list[tuple[int, int]]:
    if poses is None:
        return [(k, k) for k in range(min(len(a.maps), len(b.maps)))]
    pairs = [(k, int(k_b)) for k, k_b in enumerate(poses.partner)]
    return [(k, m) for k, m in pairs if k < len(a.maps) and 0 <= m < len(b.maps)]


def _start(poses: PoseComparison | None) -> Alignment | None:
    if poses is None or poses.n_common < FEWEST_POSES or poses.frame.score < LOWEST_SCORE:
        return None
    return Alignment(poses.frame.rotation, poses.translation_angst, poses.frame.mirrored)


def _on_one_grid(
    options: CompareOptions, files_a: tuple[Path, ...], files_b: tuple[Path, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Read two maps; bring the second to the grid of the first."""
    first, size_a = read_class_map(files_a)
    second, size_b = read_class_map(files_b)
    if options.angpix > 0:
        size_a = size_b = options.angpix
    for files, size in ((files_a, size_a), (files_b, size_b)):
        if size <= 0:
            raise InputError(f"{files[0]}: the header has no pixel size; give --angpix")
    if first.shape != second.shape or abs(size_a / size_b - 1.0) > 1e-3:
        log.info(
            "%s (%d voxels of %.4g A) is put on the grid of %s (%d voxels of %.4g A)",
            files_b[0], second.shape[0], size_b, files_a[0], first.shape[0], size_a,
        )  # fmt: skip
        second = resample(second, size_b, first.shape[0], size_a)
    return first, second, size_a


def _mask(options: CompareOptions, box_size: int, pixel_size: float) -> NDArray[np.floating] | None:
    if options.mask is not None:
        mask, _ = read_class_map((options.mask,))
        if mask.shape[0] != box_size:
            raise InputError(
                f"--mask {options.mask}: found {mask.shape[0]} voxels a side, expected {box_size} "
                "as in the map of A"
            )
        return mask
    if options.particle_diameter > 0:
        radius = options.particle_diameter / (2.0 * pixel_size)
        return soft_sphere(box_size, radius, MASK_EDGE_PIX, 3)
    return None
