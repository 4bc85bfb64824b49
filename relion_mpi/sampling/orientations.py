"""The grid of orientations: HEALPix directions, in-plane angles and their finer children."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from relion_mpi.core.errors import InputError
from relion_mpi.geometry import healpix
from relion_mpi.geometry.euler import directions, euler_to_matrix
from relion_mpi.geometry.symmetry import PointGroup, in_asymmetric_unit

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

NO_TILT_LIMIT_DEG = -91.0
MAX_ORDER = 8
# RELION compares directions pairwise for near-duplicates on the seams only in grids smaller than
# this.
_SEAM_REMOVAL_BELOW = 4000


@dataclass(frozen=True, slots=True, eq=False)
class OrientationGrid:
    """Directions times in-plane angles; orientation index = direction * n_psi + psi.

    The rotation of a grid point is `A(rot, tilt, psi) Q` with `Q = A(p, p, p)` and p the
    perturbation times the nominal step. As `A(rot, tilt, psi) = Rz(psi) A(rot, tilt, 0)`, kernels
    need only the matrices of directions (Q included) and the list of in-plane angles.

    Attributes
    ----------
    order, oversampling
        HEALPix order of the directions; each oversampling halves the step in the fine grid.
    group
        Point group whose equivalent directions were removed.
    psi_step_deg
        Coarse in-plane step, a divisor of 360.
    perturbation
        Random rotation of the whole grid, as a fraction of `step_deg`.
    healpix_pixel
        int64 (n_dir,) NESTED pixel numbers.
    rot_deg, tilt_deg
        float64 (n_dir,) unperturbed directions.
    psi_deg
        float64 (n_psi,) unperturbed in-plane angles.
    planar
        Rotations of 2D references: there is one direction, along z, and steps are those of psi.
    """

    order: int
    oversampling: int
    group: PointGroup
    psi_step_deg: float
    perturbation: float
    healpix_pixel: Int64Array
    rot_deg: Float64Array
    tilt_deg: Float64Array
    psi_deg: Float64Array
    planar: bool = False

    @property
    def n_dir(self) -> int:
        """Number of coarse directions."""
        return len(self.healpix_pixel)

    @property
    def n_psi(self) -> int:
        """Number of coarse in-plane angles."""
        return len(self.psi_deg)

    @property
    def n_orient(self) -> int:
        """Number of coarse orientations."""
        return self.n_dir * self.n_psi

    @property
    def n_fine_dir_each(self) -> int:
        """Number of fine directions in each coarse one."""
        return 1 if self.planar else 1 << (2 * self.oversampling)

    @property
    def n_fine_psi_each(self) -> int:
        """Number of fine in-plane angles in each coarse one."""
        return 1 << self.oversampling

    @property
    def step_deg(self) -> float:
        """Nominal angle between coarse neighbours."""
        return self.psi_step_deg if self.planar else nominal_step_deg(self.order)

    @property
    def fine_step_deg(self) -> float:
        """Nominal angle between fine neighbours."""
        return self.step_deg / (1 << self.oversampling)

    def coarse_directions(self) -> Float64Array:
        """Return A(rot, tilt, 0) Q of the coarse directions, float64 (n_dir, 3, 3), shared."""
        return _coarse_directions(self)

    def coarse_psi_rad(self) -> Float64Array:
        """Return the coarse in-plane angles, float64 (n_psi,) radians."""
        return np.radians(self.psi_deg)

    def fine_directions(self) -> Float64Array:
        """Return A(rot, tilt, 0) Q of the fine directions, float64 (n_dir * 4**oversampling, 3, 3).

        Child j of direction d is at `d * 4**oversampling + j`. Shared, like the coarse ones: they
        are many, and the same for all optics groups.
        """
        return _fine_directions(self)

    def fine_psi_rad(self) -> Float64Array:
        """Return the fine in-plane angles, float64 (n_psi * 2**oversampling,) radians.

        Child k of angle i is at `i * 2**oversampling + k`.
        """
        n_each = self.n_fine_psi_each
        offset_deg = self.psi_step_deg * ((np.arange(n_each) + 0.5) / n_each - 0.5)
        return np.radians((self.psi_deg[:, None] + offset_deg).reshape(-1))

    def coarse_matrices(self, orient: ArrayLike) -> Float64Array:
        """Return the perturbed rotations of coarse orientations.

        Parameters
        ----------
        orient
            int64 (n,) orientation indices.

        Returns
        -------
        Float64Array
            float64 (n, 3, 3).
        """
        i_dir, i_psi = np.divmod(np.asarray(orient, np.int64), self.n_psi)
        angles = (self.rot_deg[i_dir], self.tilt_deg[i_dir], self.psi_deg[i_psi])
        return _turned(euler_to_matrix(*angles), self)

    def fine_matrices(self, fine_direction: ArrayLike, fine_psi: ArrayLike) -> Float64Array:
        """Return the perturbed rotations of fine orientations.

        Parameters
        ----------
        fine_direction
            int64 (n,) indices into `fine_directions()`.
        fine_psi
            int64 (n,) indices into `fine_psi_rad()`.

        Returns
        -------
        Float64Array
            float64 (n, 3, 3).
        """
        psi_deg = np.degrees(self.fine_psi_rad()[np.asarray(fine_psi, np.int64)])
        if self.planar:
            return _turned(euler_to_matrix(0.0, 0.0, psi_deg), self)
        i_dir, child = np.divmod(np.asarray(fine_direction, np.int64), self.n_fine_dir_each)
        within = healpix.children([0], self.oversampling)[0]
        pixels = self.healpix_pixel[i_dir] * self.n_fine_dir_each + within[child]
        rot_deg, tilt_deg = healpix.angles_of_pixels(self.order + self.oversampling, pixels)
        return _turned(euler_to_matrix(rot_deg, tilt_deg, psi_deg), self)

    def perturbation_matrix(self) -> Float64Array:
        """Return Q, the rotation (3, 3) that perturbs every grid point alike."""
        angle_deg = self.perturbation * self.step_deg
        out_of_plane_deg = 0.0 if self.planar else angle_deg
        return np.asarray(euler_to_matrix(out_of_plane_deg, out_of_plane_deg, angle_deg)[0])


def _turned(matrices: Float64Array, grid: OrientationGrid) -> Float64Array:
    """Multiply rotations by the perturbation Q of a grid."""
    # One product of all rows: a product a matrix takes seven times as long.
    return (matrices.reshape(-1, 3) @ grid.perturbation_matrix()).reshape(-1, 3, 3)


@lru_cache(maxsize=1)
def _coarse_directions(grid: OrientationGrid) -> Float64Array:
    return _turned(euler_to_matrix(grid.rot_deg, grid.tilt_deg, 0.0), grid)


@lru_cache(maxsize=1)
def _fine_directions(grid: OrientationGrid) -> Float64Array:
    if grid.planar:
        return grid.coarse_directions()
    pixels = healpix.children(grid.healpix_pixel, grid.oversampling).reshape(-1)
    rot_deg, tilt_deg = healpix.angles_of_pixels(grid.order + grid.oversampling, pixels)
    return _turned(euler_to_matrix(rot_deg, tilt_deg, 0.0), grid)


def nominal_step_deg(order: int) -> float:
    """Return RELION's name for the angular step of a HEALPix order.

    Parameters
    ----------
    order
        HEALPix order (plus oversampling, for the fine step).

    Returns
    -------
    float
        360 / (6 * 2**order) degrees.

    Notes
    -----
    Source: RELION healpix_sampling.cpp, getAngularSampling.
    """
    return 60.0 / (1 << order)


def make_orientation_grid(
    order: int,
    group: PointGroup,
    *,
    oversampling: int = 1,
    psi_step_deg: float | None = None,
    perturbation: float = 0.0,
    limit_tilt_deg: float = NO_TILT_LIMIT_DEG,
) -> OrientationGrid:
    """Build the grid of a HEALPix order without symmetry-equivalent directions.

    Parameters
    ----------
    order
        HEALPix order, 0 to 8.
    group
        Point group of the map.
    oversampling
        How many times the step is halved in the fine grid.
    psi_step_deg
        Wanted in-plane step; rounded down to a divisor of 360. The nominal step if None.
    perturbation
        Rotation of the grid as a fraction of the nominal step.
    limit_tilt_deg
        Keep only directions whose tilt from the equator is at most this (negative: tilt from the
        pole at most its absolute value); -91 keeps all.

    Returns
    -------
    OrientationGrid
        Directions in NESTED order.

    Raises
    ------
    InputError
        If the order or step is out of range, or no direction is left.

    Notes
    -----
    Source: RELION healpix_sampling.cpp, setOrientations and removeSymmetryEquivalentPoints.
    """
    if not 0 <= order <= MAX_ORDER:
        raise InputError(f"HEALPix order {order} is out of range; use 0 to {MAX_ORDER}")
    if not 0 <= oversampling <= MAX_ORDER:
        raise InputError(f"oversampling {oversampling} is out of range; use 0 to {MAX_ORDER}")
    wanted_deg = nominal_step_deg(order) if psi_step_deg is None else float(psi_step_deg)
    if not 0 < wanted_deg <= 360:
        raise InputError(f"psi step {wanted_deg:g} degrees must lie in (0, 360]")
    psi_deg = in_plane_angles(wanted_deg)
    pixel, rot_deg, tilt_deg = _different_directions(order, group, limit_tilt_deg)
    if len(pixel) == 0:
        raise InputError(
            f"HEALPix order {order} has no view direction in the asymmetric unit of {group.name} "
            f"within a tilt limit of {limit_tilt_deg:g} degrees; use a higher order or wider limit"
        )
    return OrientationGrid(
        order=order,
        oversampling=oversampling,
        group=group,
        psi_step_deg=360.0 / len(psi_deg),
        perturbation=float(perturbation),
        healpix_pixel=pixel,
        rot_deg=rot_deg,
        tilt_deg=tilt_deg,
        psi_deg=psi_deg,
    )


def in_plane_angles(step_deg: float) -> Float64Array:
    """Divide the circle into equal steps, not longer than the one wanted.

    Parameters
    ----------
    step_deg
        Wanted step, degrees.

    Returns
    -------
    Float64Array
        float64 (n_psi,) degrees from 0 on.

    Notes
    -----
    Source: RELION healpix_sampling.cpp, setOrientations.
    """
    n_psi = math.ceil(360.0 / step_deg - 1e-9)
    return np.arange(n_psi, dtype=np.float64) * (360.0 / n_psi)


@lru_cache(maxsize=8)
def _different_directions(
    order: int, group: PointGroup, limit_tilt_deg: float
) -> tuple[Int64Array, Float64Array, Float64Array]:
    """Return pixels, rot and tilt without symmetry-equivalents; grids of all iterations share them.

    The arrays are read-only.
    """
    rot_deg, tilt_deg = healpix.pixel_angles(order)
    pixel = np.flatnonzero(
        in_asymmetric_unit(group, rot_deg, tilt_deg) & _within_tilt_limit(tilt_deg, limit_tilt_deg)
    )
    if group.n_ops > 1 and 0 < len(pixel) < _SEAM_REMOVAL_BELOW:
        pixel = pixel[_first_of_orbits(directions(rot_deg[pixel], tilt_deg[pixel]), group, order)]
    found = pixel, rot_deg[pixel], tilt_deg[pixel]
    for array in found:
        array.flags.writeable = False
    return found


def _within_tilt_limit(tilt_deg: Float64Array, limit_tilt_deg: float) -> NDArray[np.bool_]:
    if limit_tilt_deg <= NO_TILT_LIMIT_DEG:
        return np.ones(len(tilt_deg), bool)
    from_equator_deg = np.abs(tilt_deg - 90.0)
    if limit_tilt_deg > 0:
        return np.asarray(from_equator_deg <= limit_tilt_deg)
    return np.asarray(from_equator_deg >= 90.0 - abs(limit_tilt_deg))


def _first_of_orbits(view: Float64Array, group: PointGroup, order: int) -> Int64Array:
    """Return the indices of directions that are not near a mate of a kept earlier one."""
    cos_near = math.cos(0.5 * healpix.max_pixel_radius_rad(order))
    chord = math.sqrt(2.0 - 2.0 * cos_near) * (1.0 + 1e-9)
    tree = cKDTree(view)
    pairs: set[tuple[int, int]] = set()  # (later, earlier)
    for operator in group.operators:
        mates = view @ operator
        # The few mates that fall back into the unit.
        rows = np.flatnonzero(np.isfinite(tree.query(mates, distance_upper_bound=chord)[0]))
        for row, near in zip(rows, tree.query_ball_point(mates[rows], chord), strict=True):
            cosines = view[near] @ mates[row]
            pairs |= {
                (int(row), k)
                for k, cosine in zip(near, cosines, strict=True)
                if k < row and cosine > cos_near
            }
    kept = np.ones(len(view), bool)
    for later, earlier in sorted(pairs):  # by the later one: `earlier` is settled
        kept[later] &= not kept[earlier]
    return np.flatnonzero(kept)
