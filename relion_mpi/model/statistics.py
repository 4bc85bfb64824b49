"""Sums over particles that are not volumes: what the E-step hands to the M-step."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(slots=True)
class Statistics:
    """Sums that are not volumes, all float64; additive over batches and ranks.

    Attributes
    ----------
    noise : (n_optics, n_shell) squared residuals
    optics_weight : (n_optics,) particles behind them
    cross, power : (n_group,) sums of Re(conj(R) X) and |R|^2 without the scale applied
    class_weight : (n_class,)
    direction_weight : (n_class, n_dir)
    totals : (8,) offset2, norm, log evidence, Pmax, particles, slices, significant samples, spare
    """

    noise: NDArray[np.float64]
    optics_weight: NDArray[np.float64]
    cross: NDArray[np.float64]
    power: NDArray[np.float64]
    class_weight: NDArray[np.float64]
    direction_weight: NDArray[np.float64]
    totals: NDArray[np.float64]

    @classmethod
    def empty(
        cls, n_optics: int, n_shell: int, n_group: int, n_class: int, n_dir: int
    ) -> Statistics:
        """Make zeros."""
        return cls(
            np.zeros((n_optics, n_shell)),
            np.zeros(n_optics),
            np.zeros(n_group),
            np.zeros(n_group),
            np.zeros(n_class),
            np.zeros((n_class, n_dir)),
            np.zeros(8),
        )

    def packed(self) -> NDArray[np.float64]:
        """Return everything as one vector, for the reduction."""
        return np.concatenate([getattr(self, f.name).ravel() for f in fields(self)])

    def fill_from(self, vector: NDArray[np.float64]) -> None:
        """Set everything from a vector of `packed`."""
        start = 0
        for f in fields(self):
            array = getattr(self, f.name)
            array[...] = vector[start : start + array.size].reshape(array.shape)
            start += array.size

    @property
    def n_particles(self) -> float:
        """Number of particles summed."""
        return float(self.totals[4])
