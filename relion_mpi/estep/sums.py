"""What a worker adds up over the batches of one half-set."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.estep.quanta import rounded, statistics_steps, volume_quanta
from relion_mpi.model.statistics import Statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import Backend
    from relion_mpi.estep.plan import ParticleBatch, Plan


MIN_SCALE = 0.001
"""Smallest intensity scale a projection is multiplied by (RELION's floor)."""


class HalfSums:
    """Running sums of one half-set on one worker: a volume on the device, the rest here.

    Parameters
    ----------
    backend
        Owns the volume.
    plan
        Gives the shapes.
    half_index
        Which half-set.

    Notes
    -----
    What a batch adds is rounded (`relion_mpi.estep.quanta`), so sums over all batches are the same
    to the last bit whichever ranks did them. Several threads may add at once.
    """

    def __init__(self, backend: Backend, plan: Plan, half_index: int) -> None:
        self._backend = backend
        self._plan = plan
        half = plan.halves[half_index]
        n_class, n_dir = half.pdf_direction.shape
        self.handle = backend.new_sums(
            # Orientations of exact poses are none of the directions: they are counted here.
            n_class, 0 if plan.skip_align else n_dir, plan.r_max, plan.padding,
            volume_quanta(plan, half), planar=plan.planar,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._steps = statistics_steps(plan, half)
        n_optics, n_shell = half.sigma2_noise.shape
        self.statistics = Statistics.empty(n_optics, n_shell, half.scale.size, n_class, n_dir)

    def add(  # noqa: PLR0913 - one name for each thing a batch found
        self,
        batch: ParticleBatch,
        *,
        noise: NDArray[np.float64],
        gated: tuple[NDArray[np.float64], NDArray[np.float64]],
        class_weight: NDArray[np.float64],
        offset2: float,
        norm: NDArray[np.float64],
        evidence: NDArray[np.float64],
        pmax: NDArray[np.float64],
        n_slices: int,
        n_significant: NDArray[np.int64],
        direction: NDArray[np.int64] | None = None,
    ) -> None:
        """Add one batch.

        Parameters
        ----------
        batch
            Its particles.
        noise : float64 (n_shell,) weighted squared residuals of all images
        gated : two float64 (n_img,), cross and power terms of the scale estimate
        class_weight : float64 (n_img, n_class)
        offset2 : weighted squared offsets, square Angstrom
        norm, evidence, pmax : float64 (n_img,)
        n_slices : slices back-projected
        n_significant : int64 (n_img,)
        direction : int64 (n_img,) where the backend does not count directions
        """
        step, g = self._steps, batch.optics_group
        scale = np.ones(batch.n_img)
        if self._plan.images.correct_scale:
            scale = np.maximum(self._plan.halves[batch.half].scale[batch.scale_group], MIN_SCALE)
        groups, member = np.unique(batch.scale_group, return_inverse=True)
        cross = np.bincount(member, gated[0] / scale).astype(np.float64)
        power = np.bincount(member, gated[1] / scale**2).astype(np.float64)
        totals = np.array([
            offset2, norm.sum(), evidence.sum(), pmax.sum(), batch.n_img, n_slices,
            n_significant.sum(), 0.0,
        ])  # fmt: skip
        s = self.statistics
        with self._lock:
            s.noise[g] += rounded(noise, step.noise[g])
            s.optics_weight[g] += rounded(class_weight.sum(), step.optics_weight[g])
            s.cross[groups] += rounded(cross, step.cross[groups])
            s.power[groups] += rounded(power, step.power[groups])
            s.class_weight += rounded(class_weight.sum(axis=0), step.class_weight)
            if direction is not None:
                np.add.at(s.direction_weight.T, direction, rounded(class_weight, step.class_weight))
            s.totals += rounded(totals, step.totals)

    def arrays(self) -> list[NDArray[np.floating[Any]]]:
        """Bring everything to the host: the volume and the packed statistics."""
        host = self._backend.fetch_sums(self.handle)
        if not self._plan.skip_align:
            self.statistics.direction_weight[...] = host.direction_weight
        return [host.volume.reshape(-1), self.statistics.packed()]
