"""A batch with everything that the host can make ready before the device is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.backend.protocol import GlobalPrior, LocalPrior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import ImageMask, Likelihood, OpticsArrays
    from relion_mpi.estep.exact_poses import ExactPoses
    from relion_mpi.estep.plan import ParticleBatch


@dataclass(frozen=True, slots=True)
class Recentring:
    """Whole-pixel offsets applied to the images, and what remains to be searched.

    Attributes
    ----------
    pix : int64 (n_img, 2) applied
    angst : float64 (n_img, 2) the same in Angstrom
    """

    pix: NDArray[np.int64]
    angst: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `relion_mpi.estep.expectation.Expectation.prepare` made of a batch.

    Attributes
    ----------
    batch : the particles
    images : float32 or float16 (n_img, box, box) as read
    recentring : whole-pixel offsets
    factor : float64 (n_img,) that brings the images to the model's norm
    mask, optics, prior, likelihood : for the backend
    poses : of particles that are not aligned
    """

    batch: ParticleBatch
    images: NDArray[np.floating[Any]]
    recentring: Recentring
    factor: NDArray[np.float64]
    mask: ImageMask
    optics: OpticsArrays
    prior: GlobalPrior | LocalPrior
    likelihood: Likelihood
    poses: ExactPoses | None = None

    @property
    def start_angst(self) -> NDArray[np.float64]:
        """Offsets at a shift of 0, float64 (n_img, 2)."""
        return self.recentring.angst if self.poses is None else self.batch.origin_angst

    def chosen(self, rows: slice | NDArray[np.int64]) -> Prepared:
        """Return some of the particles.

        Parameters
        ----------
        rows
            Places in the batch.
        """
        fill, coefficients = self.mask.fill, self.optics.ctf_coefficients
        return Prepared(
            self.batch.part(rows),
            self.images[rows],
            Recentring(self.recentring.pix[rows], self.recentring.angst[rows]),
            self.factor[rows],
            self.mask if fill is None else replace(self.mask, fill=fill[rows]),
            replace(
                self.optics,
                scale=self.optics.scale[rows],
                ctf_coefficients=None if coefficients is None else coefficients[rows],
            ),
            _prior_of(self.prior, rows),
            self.likelihood,
            None if self.poses is None else self.poses.chosen(rows),
        )


def _prior_of(
    prior: GlobalPrior | LocalPrior, rows: slice | NDArray[np.int64]
) -> GlobalPrior | LocalPrior:
    if isinstance(prior, GlobalPrior):
        return GlobalPrior(prior.direction, prior.shift[rows])
    first, size = prior.offsets[:-1][rows], np.diff(prior.offsets)[rows]
    offsets = np.concatenate([[0], np.cumsum(size)])
    listed = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], size)
    return LocalPrior(
        offsets, prior.hypothesis[listed], prior.log_prior[listed], prior.shift[rows]
    )
