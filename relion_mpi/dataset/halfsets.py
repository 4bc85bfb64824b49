"""The two half-sets of gold-standard refinement."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from relion_mpi.dataset.particles import Particles

log = logging.getLogger(__name__)


def assign_half_sets(particles: Particles, seed: int) -> str:
    """Keep the half-sets of the STAR file if it has both, else split evenly at random.

    Parameters
    ----------
    particles
        Their `half` is set to 1 or 2.
    seed
        Of the random split; the same seed and number of particles give the same split.

    Returns
    -------
    str
        One sentence for the log.

    Raises
    ------
    InputError
        Fewer than two particles.

    Notes
    -----
    Source: RELION 3.1 exp_model.cpp:divideParticlesInRandomHalves; it draws each particle's half on
    its own, so that its halves differ in size, and stops where one half is empty.
    """
    n = particles.n_particles
    n_first, n_second = (int((particles.half == half).sum()) for half in (1, 2))
    if n_first and n_second:
        return f"Half-sets of {n_first} and {n_second} particles are those of the STAR file."
    if n < 2:
        raise InputError(
            f"{particles.path}: found {n} particle, expected two or more to make two half-sets; "
            "give more particles"
        )
    if n_first or n_second:
        only = 1 if n_first else 2
        log.warning(
            "%s: rlnRandomSubset is %d for every particle; half-sets are drawn anew",
            particles.path, only,
        )  # fmt: skip
    order = np.random.default_rng(seed).permutation(n)
    half = np.full(n, 2, dtype=np.int8)
    half[order[: (n + 1) // 2]] = 1
    particles.half = half
    return (
        f"Half-sets of {(n + 1) // 2} and {n // 2} particles were drawn at random with seed {seed}."
    )
