"""Point groups of chiral particles: operators and asymmetric units, with RELION's axes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relion_mpi.core.errors import InputError
from relion_mpi.geometry.euler import directions

Float64Array = NDArray[np.float64]
Axis = tuple[float, float, float]

PHI = (1.0 + math.sqrt(5.0)) / 2.0
# Rotation about y (degrees) that takes the axes of I2 to those of each icosahedral setting.
_ICOSAHEDRAL_TURN_DEG = {
    "I1": -90.0,
    "I2": 0.0,
    "I3": -math.degrees(math.atan(1.0 / PHI)),
    "I4": math.degrees(math.atan(1.0 / PHI)),
}
_SUPPORTED = "C1, C2, ..., D1, D2, ..., T, O, I (= I2), I1, I2, I3, I4"
# RELION's bounding planes are written with six digits, and its tests are inclusive.
_PLANE_TOLERANCE = 1e-6
_ANGLE_TOLERANCE_DEG = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class PointGroup:
    """A group of rotations that leave the map unchanged.

    Attributes
    ----------
    name
        Canonical name in upper case, for example `C1`, `D7`, `I1`.
    operators
        float64 (n_ops, 3, 3) rotations, the identity first.
    """

    name: str
    operators: Float64Array

    @property
    def n_ops(self) -> int:
        """Number of rotations, the identity included."""
        return len(self.operators)


def axis_rotation(axis: Axis, angle_deg: float) -> Float64Array:
    """Return the rotation of points about an axis through the origin.

    Parameters
    ----------
    axis
        Direction (x, y, z), of any length but zero.
    angle_deg
        Angle in degrees, counter-clockwise when the axis points to the viewer.

    Returns
    -------
    Float64Array
        float64 (3, 3).

    Notes
    -----
    Source: Rodrigues' formula.
    """
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = math.radians(angle_deg)
    return np.asarray(
        np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * (cross @ cross)
    )


def point_group(name: str) -> PointGroup:
    """Return the point group with a RELION name.

    Parameters
    ----------
    name
        C1.., D1.., T, O, I (the same as I2), I1, I2, I3 or I4, in upper or lower case.

    Returns
    -------
    PointGroup
        Canonical name and operators.

    Raises
    ------
    InputError
        If the name is unknown, or a group with mirror planes.

    Notes
    -----
    Source: RELION symmetries.cpp (axes of the generators).
    """
    return _build(_canonical(name))


@lru_cache(maxsize=32)
def _build(canonical: str) -> PointGroup:
    operators = _closure(_generators(canonical))
    operators.setflags(write=False)
    return PointGroup(canonical, operators)


def _canonical(name: str) -> str:
    text = name.strip().upper()
    if text == "I":
        return "I2"
    if text in {"T", "O", *_ICOSAHEDRAL_TURN_DEG}:
        return text
    if (match := re.fullmatch(r"([CD])0*([1-9]\d{0,2})", text)) is not None:
        return match[1] + match[2]
    if re.fullmatch(r"C[IS]|[CD]\d+[VH]|S\d+|T[DH]|OH|I[1-5]?H", text):
        raise InputError(
            f"symmetry {name!r} is not supported: it contains mirror planes or an inversion, "
            f"which proteins and nucleic acids cannot have; use one of {_SUPPORTED}"
        )
    raise InputError(f"symmetry {name!r} is not a point group; expected one of {_SUPPORTED}")


def _generators(canonical: str) -> list[Float64Array]:
    kind = canonical[0]
    z_axis: Axis = (0.0, 0.0, 1.0)
    if kind in "CD":
        generators = [axis_rotation(z_axis, 360.0 / int(canonical[1:]))]
        return generators if kind == "C" else [*generators, axis_rotation((1.0, 0.0, 0.0), 180.0)]
    if kind == "T":
        return [axis_rotation(z_axis, 120.0), axis_rotation((0.0, math.sqrt(2.0), 1.0), 180.0)]
    if kind == "O":
        return [axis_rotation((1.0, 1.0, 1.0), 120.0), axis_rotation(z_axis, 90.0)]
    turn = icosahedral_turn(canonical)
    five_fold = axis_rotation((1.0, 0.0, PHI), 72.0)
    return [turn @ g @ turn.T for g in (axis_rotation(z_axis, 180.0), five_fold)]


def icosahedral_turn(canonical: str) -> Float64Array:
    """Return the rotation, float64 (3, 3), from the axes of I2 to those of another setting.

    Parameters
    ----------
    canonical
        I1, I2, I3 or I4.
    """
    return axis_rotation((0.0, 1.0, 0.0), _ICOSAHEDRAL_TURN_DEG[canonical])


def _closure(generators: list[Float64Array]) -> Float64Array:
    """Return all products of the generators, the identity first."""
    found = [np.eye(3)]
    for element in found:  # the list grows while it is read, until no product is new
        for generator in generators:
            product = generator @ element
            if np.abs(np.stack(found) - product).max(axis=(1, 2)).min() > 1e-4:
                found.append(product)
    operators = np.stack(found)
    for exact in (0.0, 0.5, -0.5, 1.0, -1.0):  # removes the rounding errors of chains of products
        operators[np.abs(operators - exact) < 1e-12] = exact
    return operators


def in_asymmetric_unit(
    group: PointGroup, rot_deg: ArrayLike, tilt_deg: ArrayLike
) -> NDArray[np.bool_]:
    """Tell which view directions lie in RELION's asymmetric unit of the group.

    Parameters
    ----------
    group
        Point group.
    rot_deg, tilt_deg
        float64 (n,) degrees.

    Returns
    -------
    NDArray[np.bool_]
        bool (n,). Every direction has a symmetry mate in the unit; only mates on the border occur
        twice.

    Notes
    -----
    Source: RELION healpix_sampling.cpp, removeSymmetryEquivalentPointsGeometric. Differs for T,
    where RELION's test loses the border at rot 90, although its mates are on the same border.
    """
    rot, tilt = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(a, np.float64)) for a in (rot_deg, tilt_deg))
    )
    kind = group.name[0]
    if kind in "CD":
        centre = 0.0 if kind == "C" else 90.0
        offset = (rot - centre + 180.0) % 360.0 - 180.0
        inside = np.abs(offset) <= 180.0 / int(group.name[1:]) + _ANGLE_TOLERANCE_DEG
        return inside if kind == "C" else inside & (tilt <= 90.0 + _ANGLE_TOLERANCE_DEG)
    view = directions(rot, tilt)
    inside = np.all(view @ _unit_planes(group.name).T >= -_PLANE_TOLERANCE, axis=1)
    if (
        kind == "O"
    ):  # the borders at rot 45 and 135 are mates of each other; RELION keeps the second
        pole = view[:, 2] > 1.0 - _PLANE_TOLERANCE**2
        inside = inside & ((view[:, 1] - view[:, 0] > _PLANE_TOLERANCE) | pole)
    return np.asarray(inside)


@lru_cache(maxsize=8)
def _unit_planes(canonical: str) -> Float64Array:
    """Return the inward normals, float64 (n, 3), of the planes that bound the asymmetric unit."""
    if canonical == "T":
        r2 = math.sqrt(2.0)
        # Limits of rot, 90 and 150 degrees, as planes: x <= 0 and y >= -x tan(30).
        return np.array(
            [
                [-1.0, 0.0, 0.0],
                [r2 / 3, r2 / (3 * math.sqrt(3)), math.sqrt(16.0 / 27)],
                [0.5, math.sqrt(0.75), 0.0],
            ]
        )
    if canonical == "O":
        return np.array([[0.0, -1.0, 1.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    if canonical == "I4":  # RELION uses another one of the 60 equivalent triangles in this setting
        short, long = 1.0 / math.hypot(1.0, PHI), PHI / math.hypot(1.0, PHI)
        tilted = 0.5 * short / PHI
        return np.array([[-short, 0.0, -long], [tilted, -0.5, long], [tilted, 0.5, long]])
    i2 = np.array([[0.0, 1.0, 0.0], [-0.5, -PHI / 2, 0.5 / PHI], [0.5, -PHI / 2, 0.5 / PHI]])
    return i2 @ icosahedral_turn(canonical).T
