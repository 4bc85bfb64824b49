"""Find the axes of a point group in a map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from relion_mpi.compare.align import IDENTITY, Alignment, align, moved
from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.fourier.resample import fourier_resized
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.geometry.healpix import pixel_angles
from relion_mpi.geometry.symmetry import axis_rotation, in_asymmetric_unit
from relion_mpi.maps.operations import centre_of_mass, symmetrised
from relion_mpi.maps.threshold import automatic_threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.geometry.symmetry import PointGroup

SEARCH_BOX, ROUGH_BOX, FINE_BOX = 32, 40, 96
HEALPIX_ORDER, PSI_STEP_DEG = 3, 7.5
N_KEPT = 6
APART_DEG = 12.0
ROUGH_ROUNDS, FINE_ROUNDS = 2, 6
CONVERGED_DEG, CONVERGED_PIX = 0.005, 0.002
# The map as it is wins unless another orientation is better by more than this.
HEAD_START = 0.005


@dataclass(frozen=True, slots=True)
class SymmetryFit:
    """How a map has to be moved for its axes to be RELION's.

    Attributes
    ----------
    alignment : rotation and translation, hand kept
    correlation : of the moved map at low resolution with the mean of its other copies
    """

    alignment: Alignment
    correlation: float


def align_symmetry(
    volume: NDArray[np.floating],
    pixel_size_angst: float,
    group: PointGroup,
    keep_centre: bool = False,
) -> SymmetryFit:
    """Find the rotation (and centre) that makes a map invariant under a point group.

    Parameters
    ----------
    volume : float (n, n, n), n even
    pixel_size_angst
        Angstrom.
    group
        C2 or higher, with RELION's axes.
    keep_centre
        Turn about the centre voxel; otherwise the centre is sought, too.

    Returns
    -------
    SymmetryFit
        All orientations (7.5 degrees apart) are scored on 32 voxels a side by how well the dense
        part of the map overlaps with its turned copies; the best are fitted to their own averages
        over the group, again and again, on up to 96 voxels a side. Of the equivalent rotations,
        the smallest.

    Source
    ------
    Does what RELION align_symmetry.cpp does, which tries random orientations.
    """
    centre = np.zeros(3) if keep_centre else _centre(volume, pixel_size_angst)
    starts = [np.eye(3), *_searched(volume, pixel_size_angst, group, centre)]
    rough = [
        _fitted(
            volume, pixel_size_angst, group, Alignment(rotation, -rotation @ centre),
            (ROUGH_BOX, ROUGH_ROUNDS, keep_centre),
        )
        for rotation in starts
    ]  # fmt: skip
    best = max(rough, key=lambda fit: fit.correlation)
    if rough[0].correlation > best.correlation - HEAD_START:
        best = rough[0]
    fine = _fitted(
        volume, pixel_size_angst, group, _smallest(best.alignment, group),
        (FINE_BOX, FINE_ROUNDS, keep_centre),
    )  # fmt: skip
    return fine


def _coarse(volume: NDArray[np.floating], side: int) -> NDArray[np.float32]:
    side = min(side, volume.shape[0] - volume.shape[0] % 2)
    small = fourier_resized(volume, side)
    return (small * soft_sphere(side, side / 2 - 3, 3, 3)).astype(np.float32)


def _centre(volume: NDArray[np.floating], pixel_size_angst: float) -> NDArray[np.float64]:
    """Return the centre of mass of the particle, (x, y, z) Angstrom."""
    small = _coarse(volume, ROUGH_BOX)
    body = np.where(small >= automatic_threshold(small), small, 0.0)
    pixel = pixel_size_angst * volume.shape[0] / small.shape[0]
    return np.asarray(centre_of_mass(body) * pixel)


def _searched(
    volume: NDArray[np.floating],
    pixel_size_angst: float,
    group: PointGroup,
    centre: NDArray[np.float64],
) -> list[NDArray[np.float64]]:
    """Return the orientations that score best and are not neighbours of better ones."""
    small = _coarse(volume, SEARCH_BOX)
    pixel = pixel_size_angst * volume.shape[0] / small.shape[0]
    small = moved(small, pixel, Alignment(np.eye(3), -centre))
    body = small >= automatic_threshold(small)
    points = (np.argwhere(body) - small.shape[0] // 2)[:, ::-1].astype(np.float64)
    scores_of = _Overlap(small, points, small[body].astype(np.float64))
    orientations = _orientations(group)
    scores = np.array([scores_of(one, group.operators[1:]) for one in orientations])
    kept: list[NDArray[np.float64]] = []
    for index in np.argsort(-scores):
        if all(_angle_deg(orientations[index], other, group) > APART_DEG for other in kept):
            kept.append(orientations[index])
        if len(kept) == N_KEPT:
            break
    return kept


@dataclass(frozen=True, slots=True)
class _Overlap:
    """Sum over operators and dense voxels p of f(p) f(R^T g R p)."""

    volume: NDArray[np.float32]
    points: NDArray[np.float64]
    values: NDArray[np.float64]

    def __call__(self, rotation: NDArray[np.float64], operators: NDArray[np.float64]) -> float:
        turned = self.points @ rotation.T @ np.swapaxes(operators, 1, 2) @ rotation
        at = (turned[..., ::-1] + self.volume.shape[0] // 2).reshape(-1, 3).T
        copies = ndimage.map_coordinates(self.volume, at, order=1)
        return float(self.values @ copies.reshape(len(operators), -1).sum(axis=0))


def _orientations(group: PointGroup) -> NDArray[np.float64]:
    """Return rotations of which each is another one modulo the group, float64 (n, 3, 3)."""
    rot, tilt = pixel_angles(HEALPIX_ORDER)
    if group.name[0] == "C":  # what turns about the axis is free
        return euler_to_matrix(rot, tilt, 0.0)
    unit = in_asymmetric_unit(group, rot, tilt)
    psi = np.arange(0.0, 360.0, PSI_STEP_DEG)
    views = euler_to_matrix(rot[unit, None], tilt[unit, None], psi)
    return np.swapaxes(views.reshape(-1, 3, 3), 1, 2)


def _angle_deg(first: NDArray[np.float64], second: NDArray[np.float64], group: PointGroup) -> float:
    """Return the angle between two orientations modulo the group; of Cn, between their axes."""
    if group.name[0] == "C":
        cosine = abs(float(first[2] @ second[2]))
    else:
        cosine = (float(np.einsum("nij,ij->n", group.operators @ second, first).max()) - 1.0) / 2.0
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


def _fitted(
    volume: NDArray[np.floating],
    pixel_size_angst: float,
    group: PointGroup,
    start: Alignment,
    effort: tuple[int, int, bool],
) -> SymmetryFit:
    """Fit a map to its own average over the group, which is then averaged anew.

    A small error of the map turns each of its copies about another axis, so that the errors cancel
    in the average to first order (but for those along the axis of Cn, which matter to nobody): the
    average sits on the true axes.
    """
    side, rounds, keep_centre = effort
    small = _coarse(volume, side)
    pixel = pixel_size_angst * volume.shape[0] / small.shape[0]
    fit = start
    for _ in range(rounds):
        image = moved(small, pixel, fit)
        step = align(symmetrised(image, group), image, pixel, IDENTITY)
        fit = _composed(step, fit)
        if keep_centre:
            fit = Alignment(fit.rotation, start.translation_angst)
        angle = _angle_of(step.rotation)
        if angle < CONVERGED_DEG and np.abs(step.translation_angst).max() < CONVERGED_PIX * pixel:
            break
    image = moved(small, pixel, fit)
    others = group.n_ops * symmetrised(image, group) - image
    correlation = np.corrcoef(image.ravel(), others.ravel())[0, 1]
    return SymmetryFit(fit, float(correlation))


def _composed(after: Alignment, before: Alignment) -> Alignment:
    return Alignment(
        after.rotation @ before.rotation,
        after.rotation @ before.translation_angst + after.translation_angst,
    )


def _angle_of(rotation: NDArray[np.float64]) -> float:
    cosine = (float(np.trace(rotation)) - 1.0) / 2.0
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


def _smallest(alignment: Alignment, group: PointGroup) -> Alignment:
    """Return the equivalent alignment with the smallest angle."""
    operators = group.operators
    if group.name[0] == "C":
        # Any turn about the axis will do, and either end of it may be up.
        ends = [np.eye(3), np.diag([1.0, -1.0, -1.0])]
        operators = np.stack([_unwinding(end @ alignment.rotation) @ end for end in ends])
    best = int(np.trace(operators @ alignment.rotation, axis1=1, axis2=2).argmax())
    turn = operators[best]
    return Alignment(turn @ alignment.rotation, turn @ alignment.translation_angst)


def _unwinding(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the turn about z after which a rotation has the smallest angle."""
    angle = math.atan2(rotation[0, 1] - rotation[1, 0], rotation[0, 0] + rotation[1, 1])
    return axis_rotation((0.0, 0.0, 1.0), math.degrees(angle))
