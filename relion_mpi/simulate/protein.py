"""A made-up protein: bundles of helices in a few lobes, the same on every machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.atoms.scatterers import Scatterers, centred, replicated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.geometry.symmetry import PointGroup

DIAMETER_ANGST = 150.0
RISE_ANGST = 1.5
TURN_DEG = 100.0
SPACING_ANGST = 10.5
BACKBONE_ANGST = 2.3
SIDE_CHAIN_ANGST = 5.0
# Centre, half axes (share of the outer radius) and helix direction of each lobe: no two alike and
# none in a mirror plane of the others, so that the hand can be told.
_LOBES = (
    ((0.00, 0.00, -0.34), (0.46, 0.36, 0.56), (0.2, 0.1, 1.0)),
    ((0.42, 0.10, 0.38), (0.54, 0.27, 0.25), (1.0, 0.3, 0.1)),
    ((-0.34, 0.36, 0.34), (0.25, 0.46, 0.24), (-0.2, 1.0, 0.3)),
    ((-0.20, -0.58, 0.14), (0.26, 0.30, 0.38), (-0.5, -0.4, 1.0)),
)  # fmt: skip


def made_up_protein(group: PointGroup, seed: int = 2017) -> Scatterers:
    """Build the protein, about 150 Angstrom across, with the asked symmetry.

    Parameters
    ----------
    group
        Point group. C1 gives one asymmetric body; others give one smaller body in each
        asymmetric unit, touching its neighbours.
    seed
        Of the helices' small irregularities.

    Returns
    -------
    Scatterers
        Two Gaussian beads a residue (backbone and side chain), centred on the origin.
    """
    rng = np.random.default_rng(seed)
    outer = DIAMETER_ANGST / 2
    if group.n_ops == 1:
        return _fitted(centred(_body(rng, outer)), outer)
    direction, separation = _free_direction(group, rng)
    # Neighbours at distance 2 R sin(separation / 2) may interlock a little, so that they touch.
    share = np.sin(separation / 2) / 0.7
    distance = outer / (1.0 + share)
    unit = centred(_body(rng, outer - distance))
    for _ in range(5):  # the body does not fill its sphere: move it out to the asked size
        moved = replace(unit, position_angst=unit.position_angst + distance * direction)
        distance += outer - moved.radius_angst
    return centred(replicated(moved, group.operators))


def _fitted(body: Scatterers, outer: float) -> Scatterers:
    """Stretch a body (by a few per cent) so that it just fills the outer radius."""
    scale = outer / body.radius_angst
    return replace(body, position_angst=body.position_angst * scale)


def _free_direction(
    group: PointGroup, rng: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Find the direction farthest from its own symmetry mates; return it and that angle."""
    tried = rng.normal(size=(500, 3))
    tried /= np.linalg.norm(tried, axis=1, keepdims=True)
    mates = np.einsum("kij,nj->nki", group.operators[1:], tried)
    nearest = np.arccos(np.clip(np.einsum("nki,ni->nk", mates, tried), -1, 1)).min(axis=1)
    best = int(nearest.argmax())
    return tried[best], float(nearest[best])


def _body(rng: np.random.Generator, outer: float) -> Scatterers:
    """Fill the lobes, scaled to the outer radius, with helices."""
    beads, kinds = [], []
    for centre, axes, along in _LOBES:
        # Small bodies still need room for a helix or two in each lobe.
        half_axes = np.maximum(np.array(axes) * outer, 0.6 * SPACING_ANGST)
        for axis_points in _helix_axes(rng, half_axes, np.array(along)):
            placed, kind = _helix(rng, axis_points + np.array(centre) * outer)
            beads.append(placed)
            kinds.append(kind)
    position, kind = np.concatenate(beads), np.concatenate(kinds)
    # Gaussian beads of four backbone and of four side-chain atoms: standard deviation 1.3 and 1.8.
    width = 8 * np.pi**2 * np.array([[1.3**2], [1.8**2]])
    return Scatterers(position, np.ones(len(position)), kind, np.array([[9.0], [8.0]]), width)


def _helix_axes(
    rng: np.random.Generator, half_axes: NDArray[np.float64], along: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Lay gently curved lines on a hexagonal lattice within an ellipsoid; points are RISE apart."""
    frame = np.linalg.qr(np.column_stack([along, rng.normal(size=(3, 2))]))[0]
    reach = float(half_axes.max())
    t = np.arange(-reach, reach, RISE_ANGST)
    lines = []
    n = int(reach // SPACING_ANGST) + 1
    for i in range(-n, n + 1):
        for j in range(-n, n + 1):
            across = SPACING_ANGST * np.array([i + 0.5 * (j % 2), j * np.sqrt(0.75)])
            across = across + rng.normal(0, 0.8, 2)
            bend = rng.normal(0, 0.08, 2) * reach
            shape = across[:, None] + bend[:, None] * (t / reach) ** 2
            points = frame @ np.vstack([t + rng.uniform(-3, 3), shape])
            inside = ((points / half_axes[:, None]) ** 2).sum(axis=0) < 1.0
            if np.count_nonzero(inside) >= 6:
                lines.append(points[:, inside].T)
    return lines


def _helix(
    rng: np.random.Generator, axis_points: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Wind a right-handed helix of residues around a line."""
    n = len(axis_points)
    tangent = np.gradient(axis_points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    seed_axis = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    first = np.cross(tangent, seed_axis)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(tangent, first)
    phase = np.radians(TURN_DEG) * np.arange(n) + rng.uniform(0, 2 * np.pi)
    outward = np.cos(phase)[:, None] * first + np.sin(phase)[:, None] * second
    length = SIDE_CHAIN_ANGST + rng.uniform(-1.5, 1.5, (n, 1))
    keep = rng.random(n) > 0.08  # glycine has no side chain
    beads = [axis_points + BACKBONE_ANGST * outward, (axis_points + length * outward)[keep]]
    kinds = [np.zeros(n, np.int64), np.ones(int(keep.sum()), np.int64)]
    return np.concatenate(beads), np.concatenate(kinds)
