"""Bring one map onto another: rotation, translation and hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from relion_mpi.compare.frame import MIRROR
from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.fourier.resample import fourier_resized
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.geometry.healpix import pixel_angles

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEARCH_BOX = 24
LEVELS = (24, 40, 64, 96)
N_KEPT = 6
GOOD_CORRELATION = 0.85
N_STEPS = 25


@dataclass(frozen=True, slots=True)
class Alignment:
    """A point p of map b is the point `M (rotation p + translation)` of map a.

    Attributes
    ----------
    rotation : float64 (3, 3) acting on (x, y, z)
    translation_angst : float64 (3,) (x, y, z)
    mirrored : M is diag(1, 1, -1) if true, else the identity
    """

    rotation: NDArray[np.float64]
    translation_angst: NDArray[np.float64]
    mirrored: bool = False

    @property
    def hand(self) -> NDArray[np.float64]:
        """The matrix M."""
        return MIRROR if self.mirrored else np.eye(3)


IDENTITY = Alignment(np.eye(3), np.zeros(3))


def moved(
    volume: NDArray[np.floating], pixel_size_angst: float, alignment: Alignment, order: int = 3
) -> NDArray[np.float32]:
    """Put map b into the frame of map a.

    Parameters
    ----------
    volume : float (n, n, n)
    pixel_size_angst
        Angstrom.
    alignment
        From b to a.
    order
        Of the splines; 1 is linear.

    Returns
    -------
    float32 (n, n, n)
        0 where b has no voxels.
    """
    centre = np.full(3, volume.shape[0] // 2, np.float64)
    # p_b = F^T (M p_a - t); arrays count (z, y, x).
    back = (alignment.rotation.T @ alignment.hand)[::-1, ::-1]
    shift = -(alignment.rotation.T @ alignment.translation_angst)[::-1] / pixel_size_angst
    return np.asarray(
        ndimage.affine_transform(
            volume, back, offset=centre - back @ centre + shift, order=order, output=np.float32
        )
    )


def align(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    pixel_size_angst: float,
    start: Alignment | None = None,
    search: bool = False,
) -> Alignment:
    """Find how b has to be moved to agree with a.

    Parameters
    ----------
    a, b : float (n, n, n)
    pixel_size_angst
        Angstrom, of both.
    start
        Where the local search begins, for example from poses. Without it the maps as they are
        come first, then all rotations (15 degrees apart, both hands) at low resolution.
    search
        Try all rotations even where the maps agree well after steps from where they are, as compact
        maps of another orientation or hand may.

    Returns
    -------
    Alignment
        Best linear correlation after Gauss-Newton steps on ever finer grids.
    """
    if start is None:
        start, correlation = _stepped(a, b, pixel_size_angst, IDENTITY, LEVELS[0])
        if search or correlation < GOOD_CORRELATION:
            start = _searched(a, b, pixel_size_angst)
    for side in LEVELS:
        start, _ = _stepped(a, b, pixel_size_angst, start, side)
        if side >= a.shape[0]:
            break
    return start


def _coarse(volume: NDArray[np.floating], side: int) -> NDArray[np.float32]:
    side = min(side, volume.shape[0])
    small = fourier_resized(volume, side)
    return (small * soft_sphere(side, side / 2 - 3, 3, 3)).astype(np.float32)


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    power = float(np.sqrt((a * a).sum(dtype=np.float64) * (b * b).sum(dtype=np.float64)))
    return float((a * b).sum(dtype=np.float64)) / power if power > 0 else 0.0


def _stepped(
    a: NDArray[np.floating], b: NDArray[np.floating], pixel_size_angst: float,
    start: Alignment, side: int,
) -> tuple[Alignment, float]:  # fmt: skip
    """Refine an alignment on a grid of `side` voxels as long as the correlation rises."""
    target, source = _coarse(a, side), _coarse(b, side)
    pixel = pixel_size_angst * a.shape[0] / target.shape[0]
    best, image = start, moved(source, pixel, start)
    correlation = _correlation(target, image)
    for _ in range(N_STEPS):
        trial = _gauss_newton(target, image, pixel, best)
        trial_image = moved(source, pixel, trial)
        trial_correlation = _correlation(target, trial_image)
        if trial_correlation <= correlation + 1e-9:
            break
        best, image, correlation = trial, trial_image, trial_correlation
    return best, correlation


def _gauss_newton(
    target: NDArray[np.float32], image: NDArray[np.float32], pixel: float, now: Alignment
) -> Alignment:
    """Make one step: image(p + w x p + tau) is expanded to first order and fitted to the target."""
    n = target.shape[0]
    axis = (np.arange(n) - n // 2).astype(np.float32)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    gz, gy, gx = np.gradient(image)
    columns = [y * gz - z * gy, z * gx - x * gz, x * gy - y * gx, gx, gy, gz, image]
    design = np.stack([*(c.ravel() for c in columns), np.ones(n**3, np.float32)])
    normal = (design @ design.T).astype(np.float64)
    fitted = np.linalg.lstsq(normal, (design @ target.ravel()).astype(np.float64), rcond=1e-9)[0]
    scale = fitted[6] if fitted[6] > 1e-6 else 1.0
    turn = fitted[:3] / scale
    turn *= min(1.0, 0.3 / max(float(np.linalg.norm(turn)), 1e-12))
    tau = now.hand @ (fitted[3:6] / scale * pixel)
    spin = now.hand @ Rotation.from_rotvec(turn).as_matrix() @ now.hand
    return Alignment(spin.T @ now.rotation, spin.T @ (now.translation_angst - tau), now.mirrored)


def _searched(
    a: NDArray[np.floating], b: NDArray[np.floating], pixel_size_angst: float
) -> Alignment:
    """Try all rotations and both hands at low resolution; translations come from the FFT."""
    target, source = _coarse(a, SEARCH_BOX), _coarse(b, SEARCH_BOX)
    n = target.shape[0]
    pixel = pixel_size_angst * a.shape[0] / n
    conjugate = fft.rfftn(target - target.mean()).conj()
    rot, tilt = pixel_angles(2)
    psi = np.arange(0.0, 360.0, 15.0)
    directions, spins = euler_to_matrix(rot, tilt, 0.0), euler_to_matrix(0.0, 0.0, psi)
    rotations = (spins[None] @ directions[:, None]).reshape(-1, 3, 3)
    found: list[tuple[float, Alignment]] = []
    for mirrored in (False, True):
        for rotation in rotations:
            turned = moved(source, pixel, Alignment(rotation, np.zeros(3), mirrored), order=1)
            peaks = fft.irfftn(conjugate * fft.rfftn(turned), s=turned.shape)
            best = int(peaks.argmax())
            height = float(peaks.flat[best]) / max(float(turned.std()), 1e-12)
            index = np.array(np.unravel_index(best, peaks.shape))
            index = np.where(index > n // 2, index - n, index)[::-1] * pixel
            hand = MIRROR if mirrored else np.eye(3)
            found.append((height, Alignment(rotation, -hand @ index, mirrored)))
    found.sort(key=lambda pair: -pair[0])
    refined = [_stepped(a, b, pixel_size_angst, start, LEVELS[1]) for _, start in found[:N_KEPT]]
    return max(refined, key=lambda pair: pair[1])[0]
