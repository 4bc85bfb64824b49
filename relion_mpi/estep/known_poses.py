"""Back-projection of particles whose poses are known: an E-step that searches nothing.

With a reference of zeros each particle belongs wholly to its own pose, so what is summed is its
image, multiplied by its CTF, in the place that its pose says.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.backend.protocol import ImageMask, Likelihood, LocalPrior, Quanta, SearchGrid
from relion_mpi.estep.exact_poses import class_prior
from relion_mpi.estep.geometry import batch_optics, image_geometry
from relion_mpi.estep.quanta import step_for
from relion_mpi.geometry.euler import euler_to_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import Backend, ImageGeometry, OpticsArrays
    from relion_mpi.dataset.optics_groups import OpticsGroups
    from relion_mpi.estep.plan import ImageOptions, ParticleBatch


@dataclass(frozen=True, slots=True)
class PosedPlan:
    """What a worker must know to back-project.

    Attributes
    ----------
    box_size, pixel_size_angst, padding : of the map
    r_max : last shell of the map
    optics : optics groups
    images : its CTF switches are used
    variance : of a component of the images' transforms, about; a power of two. Sums are divided by
        it, so that the steps they are rounded to are as fine as the images allow
    largest_scale : of a particle's CTF
    n_particles : of all half-sets
    n_half : half-sets that are kept apart
    """

    box_size: int
    pixel_size_angst: float
    padding: int
    r_max: int
    optics: OpticsGroups
    images: ImageOptions
    variance: float
    largest_scale: float
    n_particles: int
    n_half: int = 1


@dataclass(frozen=True, slots=True)
class Posed:
    """A batch ready for the device.

    Attributes
    ----------
    images : float32 (n_img, box, box) of mean 0
    """

    batch: ParticleBatch
    images: NDArray[np.float32]
    optics: OpticsArrays
    grid: SearchGrid
    prior: LocalPrior


def power_of_two(variance: float) -> float:
    """Return the power of two nearest to a variance, 1 where there is none."""
    return 2.0 ** round(math.log2(variance)) if variance > 0 else 1.0


class KnownPoses:
    """Sums of a worker, and how batches are added to them; several threads may add at once.

    Parameters
    ----------
    backend
        Does the arithmetic.
    plan
        The same on all workers.

    Notes
    -----
    Source: RELION reconstructor.cpp, backprojectOneParticle. Images are moved by their whole
    offsets in Fourier space, and their means are taken out, as there.
    """

    def __init__(self, backend: Backend, plan: PosedPlan) -> None:
        self.backend, self.plan = backend, plan
        self._nothing = backend.no_references(plan.r_max, plan.padding)
        quanta = _quanta(plan)
        self._sums = [
            backend.new_sums(1, 0, plan.r_max, plan.padding, quanta) for _ in range(plan.n_half)
        ]
        self._geometry: dict[int, ImageGeometry] = {}
        self._lock = threading.Lock()

    def prepare(self, batch: ParticleBatch, images: NDArray[np.floating[Any]]) -> Posed:
        """Do what needs no device.

        Parameters
        ----------
        batch
            Particles of one optics group and half-set.
        images : float32 or float16 (n_img, box, box)
            Their images as read.
        """
        matrices, none = euler_to_matrix(*batch.euler_deg.T), np.zeros(1)
        still = np.zeros((1, 2))
        means = images.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
        return Posed(
            batch,
            np.asarray(images - means, np.float32),
            batch_optics(
                self.plan.optics, batch, self._pixels(batch.optics_group), np.ones(batch.n_img),
                self.plan.images,
            ),
            SearchGrid(matrices, none, matrices, none, still, still, one_batch=True),
            class_prior(np.ones(1), np.zeros((batch.n_img, 1), np.int64)),
        )  # fmt: skip

    def add(self, posed: Posed) -> None:
        """Back-project a batch into the sums of its half-set.

        Parameters
        ----------
        posed
            From `prepare`.
        """
        backend, plan, batch = self.backend, self.plan, posed.batch
        geometry = self._pixels(batch.optics_group)
        pixel_size = float(plan.optics.pixel_size_angst[batch.optics_group])
        box = geometry.box_size
        whole = Likelihood("gauss", np.full(geometry.n_shell, plan.variance), 1.0)
        handle = backend.prepare(
            posed.images, np.zeros((batch.n_img, 2), np.int64), np.ones(batch.n_img),
            ImageMask(2.0 * box, 1.0), geometry, posed.optics, batch.origin_angst / pixel_size,
        )  # fmt: skip
        found = backend.search_local(handle, self._nothing, posed.grid, posed.prior, whole)
        posterior, _ = backend.search_fine(handle, self._nothing, posed.grid, found, whole)
        sums = self._sums[batch.half]
        backend.accumulate(handle, self._nothing, posed.grid, posterior, whole, sums)

    def volumes(self) -> list[NDArray[np.floating[Any]]]:
        """Bring the sums of each half-set to the host, where they are alone afterwards.

        Returns
        -------
        list of float (1, n_kept, 3)
            Rows of `relion_mpi.fourier.half_ball`, divided by the plan's variance.
        """
        fetched = []
        while self._sums:
            fetched.append(self.backend.fetch_sums(self._sums.pop(0)).volume)
        return fetched

    def _pixels(self, group: int) -> ImageGeometry:
        """Return the pixels of an optics group, those of all shells of the map."""
        plan = self.plan
        with self._lock:
            if group not in self._geometry:
                size = 2 * plan.r_max
                self._geometry[group] = image_geometry(
                    plan.optics, group, plan.box_size, plan.pixel_size_angst, size, size
                )
            return self._geometry[group]


def _quanta(plan: PosedPlan) -> Quanta:
    """Bound what a voxel can collect: every particle once, as in `relion_mpi.estep.quanta`."""
    n, scale = max(plan.n_particles, 1), max(plan.largest_scale, 1.0)
    return Quanta(
        data=step_for(n * scale / math.sqrt(plan.variance)),
        weight=step_for(n * scale**2 / plan.variance),
        share=step_for(n),
    )
