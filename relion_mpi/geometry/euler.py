"""Rotations as RELION's ZYZ Euler angles and as matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]

# Below this sine of the tilt RELION treats rot and psi as one angle (16 times the float32 epsilon).
GIMBAL_SINE = 16.0 * float(np.finfo(np.float32).eps)


def euler_to_matrix(rot_deg: ArrayLike, tilt_deg: ArrayLike, psi_deg: ArrayLike) -> Float64Array:
    """Return the rotation matrices A = Rz(psi) Ry(tilt) Rz(rot) of coordinate axes.

    Parameters
    ----------
    rot_deg, tilt_deg, psi_deg
        float64 (n,) degrees; broadcast against each other (scalars give n = 1).

    Returns
    -------
    Float64Array
        float64 (n, 3, 3). A map point `p` is seen at `(A p)_xy`; row 3 is the view direction.

    Notes
    -----
    Source: RELION euler.cpp, Euler_angles2matrix.
    """
    # Sines before broadcasting: often one of the angles is the same for all.
    rot, tilt, psi = (
        np.radians(np.atleast_1d(np.asarray(a, float))) for a in (rot_deg, tilt_deg, psi_deg)
    )
    ca, cb, cg = np.cos(rot), np.cos(tilt), np.cos(psi)
    sa, sb, sg = np.sin(rot), np.sin(tilt), np.sin(psi)
    matrices = np.empty((*np.broadcast_shapes(rot.shape, tilt.shape, psi.shape), 3, 3))
    matrices[..., 0, 0] = cg * cb * ca - sg * sa
    matrices[..., 0, 1] = cg * cb * sa + sg * ca
    matrices[..., 0, 2] = -cg * sb
    matrices[..., 1, 0] = -sg * cb * ca - cg * sa
    matrices[..., 1, 1] = -sg * cb * sa + cg * ca
    matrices[..., 1, 2] = sg * sb
    matrices[..., 2, 0] = sb * ca
    matrices[..., 2, 1] = sb * sa
    matrices[..., 2, 2] = cb
    return matrices


def matrix_to_euler(matrices: ArrayLike) -> Float64Array:
    """Return the Euler angles of rotation matrices.

    Parameters
    ----------
    matrices
        float64 (n, 3, 3) or (3, 3).

    Returns
    -------
    Float64Array
        float64 (n, 3) degrees: rot, tilt, psi; rot and psi in [-180, 180], tilt in [0, 180]. At
        tilt 0 and 180 only one in-plane angle is defined: rot is then 0.

    Notes
    -----
    Source: RELION euler.cpp, Euler_matrix2angles. Its sign of sin(tilt) is always positive, because
    psi is taken from both elements of the third column.
    """
    a = np.asarray(matrices, np.float64).reshape(-1, 3, 3)
    sine = np.hypot(a[:, 0, 2], a[:, 1, 2])
    gimbal = sine <= GIMBAL_SINE
    up = a[:, 2, 2] > 0
    rot = np.where(gimbal, 0.0, np.arctan2(a[:, 2, 1], a[:, 2, 0]))
    tilt = np.where(gimbal, np.where(up, 0.0, np.pi), np.arctan2(sine, a[:, 2, 2]))
    psi_pole = np.where(
        up, np.arctan2(-a[:, 1, 0], a[:, 0, 0]), np.arctan2(a[:, 1, 0], -a[:, 0, 0])
    )
    psi = np.where(gimbal, psi_pole, np.arctan2(a[:, 1, 2], -a[:, 0, 2]))
    return np.asarray(np.degrees(np.stack([rot, tilt, psi], axis=1)))


def directions(rot_deg: ArrayLike, tilt_deg: ArrayLike) -> Float64Array:
    """Return the view directions, the third rows of the rotation matrices.

    Parameters
    ----------
    rot_deg, tilt_deg
        float64 (n,) degrees.

    Returns
    -------
    Float64Array
        float64 (n, 3) unit vectors (x, y, z).

    Notes
    -----
    Source: RELION euler.cpp, Euler_angles2direction.
    """
    rot, tilt = np.broadcast_arrays(
        *(np.radians(np.atleast_1d(np.asarray(a, np.float64))) for a in (rot_deg, tilt_deg))
    )
    sine = np.sin(tilt)
    view: Float64Array = np.stack([sine * np.cos(rot), sine * np.sin(rot), np.cos(tilt)], axis=-1)
    return view


def mean_axis_distance_deg(a: ArrayLike, b: ArrayLike, operators: ArrayLike) -> Float64Array:
    """Return the mean angle between the axes of two rotations, at the closest symmetry mate.

    Parameters
    ----------
    a, b
        float64 (n, 3, 3) rotations.
    operators
        float64 (n_ops, 3, 3) rotations R of the point group of the map: `b` and `b R` see the same
        projection.

    Returns
    -------
    Float64Array
        float64 (n,) degrees: the minimum over R of the mean of the angles between rows of `a` and
        of `b R`.

    Notes
    -----
    Source: RELION healpix_sampling.cpp, calculateAngularDistance.
    """
    first, second = np.broadcast_arrays(
        np.asarray(a, np.float64).reshape(-1, 3, 3), np.asarray(b, np.float64).reshape(-1, 3, 3)
    )
    mates = np.asarray(operators, np.float64).reshape(-1, 3, 3)
    if len(mates) == 1:
        return np.asarray(np.degrees(_mean_axis_angle(first, second @ mates[0])))
    # The sum of the three cosines of every mate.
    trace = (second.transpose(0, 2, 1) @ first).reshape(-1, 9) @ mates.reshape(-1, 9).T
    closest = trace.argmax(axis=1)
    best = _mean_axis_angle(first, second @ mates[closest])
    # Which mate is closest depends on the single angles, but few can be. The squared chords of the
    # axes sum to s = 6 - 2 trace, no rotation gives one axis more than half of that, and arcs are
    # longer than chords: the mean angle is sqrt(2 s) / 3 at least.
    trace[np.arange(len(trace)), closest] = -np.inf
    row, mate = np.nonzero(trace > (3.0 - 2.25 * best**2 - 1e-9)[:, None])
    np.minimum.at(best, row, _mean_axis_angle(first[row], second[row] @ mates[mate]))
    return np.asarray(np.degrees(best))


def _mean_axis_angle(first: Float64Array, second: Float64Array) -> Float64Array:
    cosines = np.einsum("nij,nij->ni", first, second)
    return np.asarray(np.arccos(np.clip(cosines, -1.0, 1.0)).mean(axis=1))
