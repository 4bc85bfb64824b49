"""Particles whose poses are taken as they are: only their classes are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.backend.protocol import LocalPrior, SearchGrid
from relion_mpi.estep.priors import listed_for_classes, relative_log
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.sampling.local import LocalSearch, local_orientations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.estep.plan import ParticleBatch
    from relion_mpi.sampling.orientations import OrientationGrid

NARROW_DEG = 1e-3
"""Width of a local search that finds nothing but the nearest orientation."""


@dataclass(frozen=True, slots=True)
class ExactPoses:
    """Poses of a batch.

    Attributes
    ----------
    grid : its orientations are the particles', its only shift is 0; parts of the batch share it
    remainder_pix : float64 (n_img, 2) offsets less the whole pixels of the recentring
    direction : int64 (n_img,) nearest coarse direction of the iteration's grid
    """

    grid: SearchGrid
    remainder_pix: NDArray[np.float64]
    direction: NDArray[np.int64]

    def chosen(self, rows: slice | NDArray[np.int64]) -> ExactPoses:
        """Return some of the poses; the grid stays, for lists of hypotheses refer to it.

        Parameters
        ----------
        rows
            Places in the batch.
        """
        return ExactPoses(self.grid, self.remainder_pix[rows], self.direction[rows])


def exact_poses(
    batch: ParticleBatch,
    orientations: OrientationGrid,
    recentred_pix: NDArray[np.int64],
    pixel_size_angst: float,
) -> ExactPoses:
    """Make a grid of a batch's own poses.

    Parameters
    ----------
    batch
        The particles.
    orientations
        Whose directions count the particles.
    recentred_pix : int64 (n_img, 2)
        Whole pixels by which images are moved.
    pixel_size_angst
        Of the images.
    """
    matrices = euler_to_matrix(*known_euler(batch.euler_deg, orientations).T)
    psi, shift = np.zeros(1), np.zeros((1, 2))
    direction = np.zeros(batch.n_img, np.int64)
    if not orientations.planar:
        near = local_orientations(orientations, matrices, NARROW_DEG)
        direction = near.orient[near.offsets[:-1]] // orientations.n_psi
    return ExactPoses(
        SearchGrid(matrices, psi, matrices, psi, shift, shift, one_batch=True),
        batch.origin_angst / pixel_size_angst - recentred_pix,
        direction,
    )


def known_euler(
    euler_deg: NDArray[np.float64], orientations: OrientationGrid
) -> NDArray[np.float64]:
    """Give the angles of particles that references know: of 2D ones only psi.

    Parameters
    ----------
    euler_deg : float64 (n, 3)
    orientations
        Grid of the references.

    Returns
    -------
    float64 (n, 3)
    """
    return euler_deg * [0.0, 0.0, 1.0] if orientations.planar else euler_deg


def class_prior(pdf_class: NDArray[np.float64], classes: NDArray[np.int64]) -> LocalPrior:
    """List each particle's own pose for each of its classes.

    Parameters
    ----------
    pdf_class : float64 (n_class,)
    classes : int64 (n_img, n) classes of each image

    Source
    ------
    RELION: with --skip_align the prior of a hypothesis is that of its class.
    """
    n_img, n = classes.shape
    own = LocalSearch(np.arange(n_img + 1), np.arange(n_img), np.zeros(n_img))
    listed = listed_for_classes(own, classes, n_img, np.zeros((n_img, 1)))
    log_class = relative_log(pdf_class)[classes] if n > 1 else np.zeros((n_img, 1))
    return LocalPrior(listed.offsets, listed.hypothesis, log_class.ravel(), listed.shift)
