"""Compare the poses, classes and weights of two particle tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from relion_mpi.compare.frame import Frame, fit_frame, in_hand, pose_errors_deg
from relion_mpi.compare.tables import matched_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.compare.tables import PoseTable
    from relion_mpi.geometry.symmetry import PointGroup

LIMITS_DEG = (1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class PoseComparison:
    """How two tables of the same particles agree.

    Attributes
    ----------
    n_a, n_b, n_common : number of particles
    frame : Frame
        Global rotation and hand, removed before anything is measured.
    translation_angst : float64 (3,) (x, y, z), see Frame; removed too
    angle_error_deg, shift_error_angst, raw_shift_error_angst : float64 (n_common,)
        Errors after removing frame and translation; the last one before removing the translation.
    within : share of particles within 1, 2 and 5 degrees
    confusion : int64 (n_class_a, n_class_b) number of particles
    partner : int64 (n_class_a,) class of b that belongs to each class of a, from 0; -1 for none
    class_share : share of particles in matched classes
    max_value_prob, norm_correction, n_significant : (a, b) of float64 (n_common,), None if absent
    """

    n_a: int
    n_b: int
    n_common: int
    frame: Frame
    translation_angst: NDArray[np.float64]
    angle_error_deg: NDArray[np.float64]
    shift_error_angst: NDArray[np.float64]
    raw_shift_error_angst: NDArray[np.float64]
    within: tuple[float, float, float]
    confusion: NDArray[np.int64]
    partner: NDArray[np.int64]
    class_share: float
    max_value_prob: tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]
    norm_correction: tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]
    n_significant: tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]

    @property
    def median_angle_deg(self) -> float:
        """Median angular error."""
        return float(np.median(self.angle_error_deg))

    @property
    def median_shift_angst(self) -> float:
        """Median shift error after removing the translation."""
        return float(np.median(self.shift_error_angst))


def compare_poses(a: PoseTable, b: PoseTable, group: PointGroup) -> PoseComparison:
    """Compare two tables of the same particles.

    Parameters
    ----------
    a, b
        Tables; rows are matched by image.
    group
        Symmetry that poses may differ by.

    Returns
    -------
    PoseComparison
        An angular error is the angle of the rotation between two poses, at the nearest mate.

    Raises
    ------
    InputError
        No image in common, or one that occurs twice.
    """
    rows_a, rows_b = matched_rows(a, b)
    rotation_a, rotation_b = a.rotation[rows_a], b.rotation[rows_b]
    frame = fit_frame(rotation_a, rotation_b, group)
    handed = in_hand(rotation_a, frame.mirrored)
    error, _ = pose_errors_deg(np.swapaxes(handed, 1, 2) @ rotation_b, frame.rotation,
                               group.operators)  # fmt: skip
    difference = a.origin_angst[rows_a] - b.origin_angst[rows_b]
    translation, left = _fit_translation(handed, difference, error, frame.rotation, group)
    confusion = _confusion(a.class_number[rows_a], b.class_number[rows_b])
    partner, share = best_assignment(confusion)
    within = [float((error <= limit).mean()) for limit in LIMITS_DEG]
    return PoseComparison(
        n_a=a.n, n_b=b.n, n_common=rows_a.size, frame=frame, translation_angst=translation,
        angle_error_deg=error, shift_error_angst=np.linalg.norm(left, axis=1),
        raw_shift_error_angst=np.linalg.norm(difference, axis=1),
        within=(within[0], within[1], within[2]), confusion=confusion, partner=partner,
        class_share=share,
        max_value_prob=_pair(a.max_value_prob, b.max_value_prob, rows_a, rows_b),
        norm_correction=_pair(a.norm_correction, b.norm_correction, rows_a, rows_b),
        n_significant=_pair(a.n_significant, b.n_significant, rows_a, rows_b),
    )  # fmt: skip


def best_assignment(confusion: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
    """Pair classes so that most particles agree.

    Parameters
    ----------
    confusion : int64 (n_class_a, n_class_b)
        Number of particles.

    Returns
    -------
    partner : int64 (n_class_a,)
        Column for each row; -1 where b has fewer classes.
    share : float
        Share of particles in paired classes.
    """
    rows, columns = linear_sum_assignment(confusion, maximize=True)
    partner = np.full(len(confusion), -1, np.int64)
    partner[rows] = columns
    return partner, float(confusion[rows, columns].sum() / max(confusion.sum(), 1))


def _confusion(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    # Tables before the first iteration hold class 0: no class, counted as the first.
    first, second = np.maximum(a, 1) - 1, np.maximum(b, 1) - 1
    table = np.zeros((int(first.max()) + 1, int(second.max()) + 1), np.int64)
    np.add.at(table, (first, second), 1)
    return table


def _fit_translation(
    handed: NDArray[np.float64],
    difference: NDArray[np.float64],
    error_deg: NDArray[np.float64],
    frame: NDArray[np.float64],
    group: PointGroup,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit the shift between the maps' origins; return it (in a's frame) and what is left.

    A map moved by t moves its projection by (A t)_xy. Only moves along what the group leaves in
    place can be told: all for C1, the axis for Cn, none for others; the mean of the operators
    projects onto that space.
    """
    invariant = group.operators.mean(axis=0)
    design = (handed @ (frame @ invariant))[:, :2]
    trusted = error_deg <= max(float(np.median(error_deg)), 1.0)
    weight = trusted.astype(np.float64)
    u = np.zeros(3)
    for _ in range(20):
        root = np.sqrt(weight)[:, None]
        u = np.linalg.lstsq(
            (design * root[:, :, None]).reshape(-1, 3), (difference * root).ravel(), rcond=1e-6
        )[0]
        residual = np.linalg.norm(difference - design @ u, axis=1)
        scale = max(float(np.median(residual[trusted])), 1e-6)
        weight = trusted / (1.0 + (residual / scale) ** 2)
    return frame @ (invariant @ u), difference - design @ u


def _pair(
    a: NDArray[np.float64] | None,
    b: NDArray[np.float64] | None,
    rows_a: NDArray[np.int64],
    rows_b: NDArray[np.int64],
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    return None if a is None else a[rows_a], None if b is None else b[rows_b]
