"""Draw what is true of each particle, independent of how many are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from relion_mpi.optics.ctf import CtfParameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.simulate.options import SimulateOptions

PARTICLES_PER_MICROGRAPH = 75
PREFERRED_CONE_DEG = 15.0
ASTIGMATISM_ANGST = 150.0
HEIGHT_ANGST = 100.0
# Streams of random numbers below one seed.
POSES, NOISE, MICROGRAPHS = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Truth:
    """True values of n particles; offsets are RELION's origins, what centres the particle.

    Attributes
    ----------
    rot_deg, tilt_deg, psi_deg : float64 (n,)
    origin_angst : float64 (n, 2) (x, y)
    class_index, optics_group, micrograph : int64 (n,) from 0
    ctf : CtfParameters of the n particles
    """

    rot_deg: NDArray[np.float64]
    tilt_deg: NDArray[np.float64]
    psi_deg: NDArray[np.float64]
    origin_angst: NDArray[np.float64]
    class_index: NDArray[np.int64]
    optics_group: NDArray[np.int64]
    micrograph: NDArray[np.int64]
    ctf: CtfParameters

    @property
    def n(self) -> int:
        """Number of particles."""
        return self.rot_deg.size


def draw_truth(options: SimulateOptions, n_class: int) -> Truth:
    """Draw poses, classes and optics.

    Parameters
    ----------
    options
        Seed, counts, spread of origins and the optics are used.
    n_class
        Number of classes; particles fall into them with equal chances.

    Returns
    -------
    Truth
        A particle's pose depends on the seed and its index alone. Values are rounded as they are
        written to files, so that the images agree with the table exactly.
    """
    n = options.n
    u = np.random.default_rng((options.seed, POSES)).random((n, 10))
    tilt: NDArray[np.float64] = np.degrees(np.arccos(2.0 * u[:, 1] - 1.0))
    cone = np.abs(PREFERRED_CONE_DEG * _normal(u[:, 8]))
    tilt = np.where(u[:, 7] < options.preferred, np.minimum(cone, 180.0), tilt)
    origin = options.offset_sigma * options.angpix * np.stack([_normal(u[:, 3]), _normal(u[:, 4])])
    micrograph, defocus, angle = _micrographs(options)
    height = HEIGHT_ANGST * _normal(u[:, 5])
    mean = np.clip(defocus.mean(axis=1) + height, options.defocus_min, options.defocus_max)
    half_difference = 0.5 * (defocus[:, 0] - defocus[:, 1])

    def all_of(value: float) -> NDArray[np.float64]:
        return np.full(n, value)

    ctf = CtfParameters(
        np.round(mean + half_difference, 2), np.round(mean - half_difference, 2), angle,
        all_of(options.voltage), all_of(options.cs), all_of(options.amplitude_contrast),
        all_of(0.0), all_of(1.0), all_of(0.0),
    )  # fmt: skip
    return Truth(
        rot_deg=np.round(360.0 * u[:, 0] - 180.0, 4),
        tilt_deg=np.round(tilt, 4),
        psi_deg=np.round(360.0 * u[:, 2] - 180.0, 4),
        origin_angst=np.round(origin.T, 4),
        class_index=np.minimum((u[:, 6] * n_class).astype(np.int64), n_class - 1),
        optics_group=micrograph % options.n_optics,
        micrograph=micrograph,
        ctf=ctf,
    )


def n_micrographs(options: SimulateOptions) -> int:
    """Return how many micrographs the particles come from.

    Parameters
    ----------
    options
        `n_micrographs`, or one for every 75 particles if that is 0.

    Returns
    -------
    int
        At least 1 and at most the number of particles.
    """
    asked = options.n_micrographs or round(options.n / PARTICLES_PER_MICROGRAPH)
    return max(1, min(options.n, asked))


def _micrographs(
    options: SimulateOptions,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Give each particle its micrograph, defocus (U, V) and azimuth."""
    n_mic = n_micrographs(options)
    micrograph = np.arange(options.n, dtype=np.int64) * n_mic // options.n
    u = np.random.default_rng((options.seed, MICROGRAPHS)).random((n_mic, 3))
    mean = options.defocus_min + u[:, 0] * (options.defocus_max - options.defocus_min)
    astigmatism = np.abs(ASTIGMATISM_ANGST * _normal(u[:, 1]))
    defocus = np.stack([mean + astigmatism, mean - astigmatism], axis=1)
    return micrograph, defocus[micrograph], np.round(180.0 * u[:, 2], 3)[micrograph]


def _normal(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn uniform numbers into normal ones, one to one (a rejection method would not be)."""
    return np.asarray(ndtri(np.clip(uniform, 1e-12, 1.0 - 1e-12)))
