"""Images that maps would give at known poses, as refinement models them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import fft

from relion_mpi.estep.geometry import batch_optics, ctf_parameters, image_geometry
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.optics.ctf import ctf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import Backend, ImageGeometry
    from relion_mpi.dataset.optics_groups import OpticsGroups
    from relion_mpi.estep.plan import ImageOptions, ParticleBatch


@dataclass(frozen=True, slots=True)
class PredictionPlan:
    """What is needed beside maps and particles.

    Attributes
    ----------
    box_size, pixel_size_angst, padding : of the maps
    r_max : last shell of the maps that is used
    optics : optics groups
    images : its CTF switches are used
    """

    box_size: int
    pixel_size_angst: float
    padding: int
    r_max: int
    optics: OpticsGroups
    images: ImageOptions


class Predictor:
    """Draws particles from maps.

    Parameters
    ----------
    backend
        Draws the slices.
    plan
        The same on all workers.
    maps : float32 (n_map, box, box, box)
    """

    def __init__(
        self, backend: Backend, plan: PredictionPlan, maps: NDArray[np.float32]
    ) -> None:
        self._backend, self._plan = backend, plan
        self._references = backend.load_references(maps, plan.r_max, plan.padding)
        self._geometry: dict[int, ImageGeometry] = {}

    def geometry(self, group: int) -> ImageGeometry:
        """Return the pixels of an optics group's images that maps reach."""
        plan = self._plan
        if group not in self._geometry:
            size = 2 * plan.r_max
            self._geometry[group] = image_geometry(
                plan.optics, group, plan.box_size, plan.pixel_size_angst, size, size
            )
        return self._geometry[group]

    def transforms(
        self, batch: ParticleBatch, number: NDArray[np.int64], gain: NDArray[np.float64]
    ) -> NDArray[np.complex128]:
        """Predict the transforms of particles, where they lie in their images.

        Parameters
        ----------
        batch
            Of one optics group.
        number : int64 (n_img,)
            Each one's map.
        gain : float64 (n_img,)
            Factor of each one.

        Returns
        -------
        complex128 (n_img, n_pix)
            Divided by the number of pixels, origin at the centre of the image.

        Notes
        -----
        Source: RELION MlOptimiser::getAllSquaredDifferences and storeWeightedSums, the projection
        that is compared with the image; aberrations and offsets are put on the projection here, in
        place of being taken off the image.
        """
        plan, geometry = self._plan, self.geometry(batch.optics_group)
        matrices = euler_to_matrix(*batch.euler_deg.T)
        values = np.empty((batch.n_img, geometry.n_pix), np.complex128)
        for one in np.unique(number):
            rows = np.flatnonzero(number == one)
            values[rows] = self._backend.project(
                self._references, matrices[rows], geometry, int(one)
            )
        optics = batch_optics(plan.optics, batch, geometry, gain, plan.images)
        values *= gain[:, None]
        if optics.ctf_coefficients is not None:
            transfer = ctf(
                ctf_parameters(plan.optics, batch), geometry.freq_x, geometry.freq_y,
                gamma_offset=optics.gamma_offset,
                intact_until_first_peak=optics.intact_until_first_peak,
                phase_flipped=optics.phase_flipped,
                only_flip_phases=optics.only_flip_phases,
            )  # fmt: skip
            values *= transfer**2 if optics.premultiplied else transfer
        if optics.phase is not None:
            values *= optics.phase.conj()
        pixel_size = float(plan.optics.pixel_size_angst[batch.optics_group])
        # Offsets bring the content to the centre; it lies at minus them.
        place = batch.origin_angst @ np.stack([geometry.x, geometry.y]).astype(np.float64)
        values *= np.exp(2j * np.pi / (geometry.box_size * pixel_size) * place)
        return values


def images_of(
    values: NDArray[np.complexfloating[Any, Any]], geometry: ImageGeometry
) -> NDArray[np.float64]:
    """Make images of listed coefficients, float64 (n_img, box, box).

    Parameters
    ----------
    values : complex (n_img, n_pix)
        From `Predictor.transforms`.
    geometry
        Where they belong.
    """
    box, x, y = geometry.box_size, geometry.x, geometry.y
    half = np.zeros((values.shape[0], box, box // 2 + 1), np.complex128)
    half[:, y, x] = values
    mates = (x == 0) & (y > 0)
    half[:, -y[mates], 0] = values[:, mates].conj()
    drawn = fft.irfft2(half, s=(box, box), norm="forward", overwrite_x=True)
    images: NDArray[np.float64] = fft.fftshift(drawn, axes=(1, 2))
    return images
