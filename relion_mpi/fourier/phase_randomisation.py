"""Random phases beyond a shell, in place and section by section."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.fourier.sections import sections_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def randomise_phases(
    transform: NDArray[np.complexfloating], first_shell: int, rng: np.random.Generator
) -> None:
    """Give all coefficients from a shell on random phases and leave their amplitudes.

    Parameters
    ----------
    transform : complex (n, n, n // 2 + 1)
        Of a real volume with even n; changed in place. It stays one of a real volume: phases in
        the planes x = 0 and x = n / 2 are drawn for pairs.
    first_shell
        Coefficients at or beyond this radius are changed.
    rng
        Source of the phases.

    Source
    ------
    Chen et al. 2013, Ultramicroscopy 135:24; RELION randomizePhasesBeyond, which draws those two
    planes without regard to pairs.
    """
    n = transform.shape[0]
    sections = sections_of(n)
    dtype = transform.real.dtype.type
    edges = np.stack([_odd_turns(n, rng) for _ in range(2)], axis=-1).astype(dtype)
    for k, section in enumerate(transform):
        # A phase turned by a uniformly random angle is uniformly random.
        turns: NDArray[np.floating] = rng.random(section.shape, np.float32).astype(
            dtype, copy=False
        )
        turns[:, [0, -1]] = edges[k]
        turns *= dtype(2.0 * np.pi)
        turns[sections.squared_radius(k) < first_shell**2] = 0
        turned = np.empty_like(section)
        np.cos(turns, out=turned.real)
        np.sin(turns, out=turned.imag)
        section *= turned


def _odd_turns(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw turns u(z, y) in 0..1, uniform each, with u(-z, -y) = -u(z, y) modulo 1."""
    drawn = rng.random((n, n))
    mirrored = np.roll(drawn[::-1, ::-1], (1, 1), (0, 1))
    odd: NDArray[np.float64] = (drawn - mirrored) % 1.0
    return odd
