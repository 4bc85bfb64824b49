"""A batch with everything that the host can make ready before the device is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from relion_mpi.backend.protocol import GlobalPrior, LocalPrior

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import ImageMask, Likelihood, OpticsArrays
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
    """

    batch: ParticleBatch
    images: NDArray[np.floating[Any]]
    recentring: Recentring
    factor: NDArray[np.float64]
    mask: ImageMask
    optics: OpticsArrays
    prior: GlobalPrior | LocalPrior
    likelihood: Likelihood

    def part(self, first: int, last: int) -> Prepared:
        """Return the particles from first to last, last excluded.

        Parameters
        ----------
        first, last
            Places in the batch.
        """
        rows = slice(first, last)
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
            _prior_part(self.prior, first, last),
            self.likelihood,
        )


def _prior_part(prior: GlobalPrior | LocalPrior, first: int, last: int) -> GlobalPrior | LocalPrior:
    if isinstance(prior, GlobalPrior):
        return GlobalPrior(prior.direction, prior.shift[first:last])
    offsets = prior.offsets[first : last + 1]
    listed = slice(int(offsets[0]), int(offsets[-1]))
    return LocalPrior(
        offsets - offsets[0], prior.orient[listed], prior.log_prior[listed], prior.shift[first:last]
    )
