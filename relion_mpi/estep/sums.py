"""What a worker adds up over the batches of one half-set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.model.statistics import Statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import Backend
    from relion_mpi.estep.plan import ParticleBatch, Plan


class HalfSums:
    """Running sums of one half-set on one worker: a volume on the device, the rest here.

    Parameters
    ----------
    backend
        Owns the volume.
    plan
        Gives the shapes.
    """

    def __init__(self, backend: Backend, plan: Plan) -> None:
        self._backend = backend
        self._plan = plan
        half = plan.halves[0]
        n_class, n_dir = half.pdf_direction.shape
        self.handle = backend.new_sums(n_class, n_dir, plan.r_max, plan.padding)
        self.statistics = Statistics.empty(
            *half.sigma2_noise.shape, half.scale.size, n_class, n_dir
        )

    def add(
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
    ) -> None:
        """Add one batch.

        Parameters
        ----------
        batch
            Its particles.
        noise : float64 (n_img, n_shell) weighted squared residuals
        gated : two float64 (n_img,), cross and power terms of the scale estimate
        class_weight : float64 (n_img, n_class)
        offset2 : weighted squared offsets, square Angstrom
        norm, evidence, pmax : float64 (n_img,)
        n_slices : slices back-projected
        n_significant : int64 (n_img,)
        """
        s = self.statistics
        s.noise[batch.optics_group] += noise.sum(axis=0)
        s.optics_weight[batch.optics_group] += class_weight.sum()
        scale = np.ones(batch.n_img)
        if self._plan.images.correct_scale:
            scale = np.maximum(self._plan.halves[batch.half].scale[batch.scale_group], 0.001)
        np.add.at(s.cross, batch.scale_group, gated[0] / scale)
        np.add.at(s.power, batch.scale_group, gated[1] / scale**2)
        s.class_weight += class_weight.sum(axis=0)
        s.totals[:7] += (
            offset2, norm.sum(), evidence.sum(), pmax.sum(), batch.n_img, n_slices,
            n_significant.sum(),
        )  # fmt: skip

    def arrays(self) -> list[NDArray[np.floating[Any]]]:
        """Bring everything to the host: the volume and the packed statistics."""
        host = self._backend.fetch_sums(self.handle)
        self.statistics.direction_weight[...] = host.direction_weight
        return [host.volume.reshape(-1), self.statistics.packed()]
