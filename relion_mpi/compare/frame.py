"""The one rotation (and hand) by which the maps of two refinements differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.geometry.symmetry import PointGroup

MIRROR = np.diag([1.0, 1.0, -1.0])
N_CANDIDATES, N_SCORED, N_REFINED = 200, 1000, 5
SCALE_DEG = 5.0
# A mirror image explains poses as well as chance does; only clearly better is another hand.
HAND_MARGIN = 1.2


@dataclass(frozen=True, slots=True)
class Frame:
    """A point p of map b is the point `M (rotation p + translation)` of map a.

    Attributes
    ----------
    rotation : float64 (3, 3)
    mirrored : M is diag(1, 1, -1) if true (the maps have opposite hands), else the identity
    score : 0..1, how well the poses agree, mean of 1 / (1 + (error / 5 deg)^2)
    """

    rotation: NDArray[np.float64]
    mirrored: bool
    score: float

    @property
    def angle_deg(self) -> float:
        """Angle of the rotation."""
        cosine = (np.trace(self.rotation) - 1.0) / 2.0
        return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def in_hand(rotation: NDArray[np.float64], mirrored: bool) -> NDArray[np.float64]:
    """Return the poses that a mirrored map needs to give the same images.

    Parameters
    ----------
    rotation : float64 (n, 3, 3)
    mirrored
        False returns `rotation` itself.

    Returns
    -------
    float64 (n, 3, 3)
    """
    return MIRROR @ rotation @ MIRROR if mirrored else rotation


def pose_errors_deg(
    relative: NDArray[np.float64], frame: NDArray[np.float64], operators: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Measure how far each pose is from the frame times its nearest symmetry mate.

    Parameters
    ----------
    relative : float64 (n, 3, 3)
        Transposed pose in a, times pose in b.
    frame : float64 (3, 3)
    operators : float64 (n_ops, 3, 3)

    Returns
    -------
    error_deg : float64 (n,)
    operator : int64 (n,)
    """
    mates = (frame @ operators).reshape(-1, 9)
    trace = relative.reshape(-1, 9) @ mates.T
    best = trace.argmax(axis=1)
    cosine = (np.take_along_axis(trace, best[:, None], axis=1)[:, 0] - 1.0) / 2.0
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))), best


def fit_frame(
    a: NDArray[np.float64], b: NDArray[np.float64], group: PointGroup, seed: int = 0
) -> Frame:
    """Find the frame that brings most poses together, modulo a point group.

    Parameters
    ----------
    a, b : float64 (n, 3, 3)
        Poses of the same particles.
    group
        Symmetry of the map.
    seed
        Of the particles that are tried.

    Returns
    -------
    Frame
        The copy with the smallest angle. Every particle proposes a frame (so all frames that the
        group allows are tried); the proposals that most particles support are refined, each hand
        on its own.
    """
    rng = np.random.default_rng(seed)
    n = len(a)
    scored = rng.permutation(n)[:N_SCORED]
    proposing = rng.permutation(n)[:N_CANDIDATES]
    best: Frame | None = None
    for mirrored in (False, True):
        relative = np.swapaxes(in_hand(a, mirrored), 1, 2) @ b
        candidates = [np.eye(3), *relative[proposing]]
        scores = [_score(relative[scored], one, group.operators) for one in candidates]
        for index in np.argsort(scores)[::-1][:N_REFINED]:
            rotation = _refined(relative, candidates[int(index)], group.operators)
            score = _score(relative, rotation, group.operators)
            margin = HAND_MARGIN if mirrored and best is not None and not best.mirrored else 1.0
            if best is None or score > margin * best.score:
                best = Frame(rotation, mirrored, score)
    assert best is not None
    copies = best.rotation @ group.operators
    smallest = int(np.trace(copies, axis1=1, axis2=2).argmax())
    return Frame(copies[smallest], best.mirrored, best.score)


def _score(
    relative: NDArray[np.float64], frame: NDArray[np.float64], operators: NDArray[np.float64]
) -> float:
    error, _ = pose_errors_deg(relative, frame, operators)
    return float((1.0 / (1.0 + (error / SCALE_DEG) ** 2)).mean())


def _refined(
    relative: NDArray[np.float64], frame: NDArray[np.float64], operators: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Average the frames that the particles propose, far ones counting little."""
    for _ in range(30):
        error, operator = pose_errors_deg(relative, frame, operators)
        scale = max(float(np.median(error)), 0.1)
        scale = min(scale, SCALE_DEG)
        weight = 1.0 / (1.0 + (error / scale) ** 2) ** 2
        proposed = relative @ np.swapaxes(operators[operator], 1, 2)
        new = _nearest_rotation(np.einsum("n,nij->ij", weight, proposed))
        moved = float(np.abs(new - frame).max())
        frame = new
        if moved < 1e-9:
            break
    return frame


def _nearest_rotation(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    u, _, vt = np.linalg.svd(matrix)
    return np.asarray(u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt)
