"""FSC curves of two half-maps: plain, masked, with random phases, corrected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from relion_mpi.fourier.phase_randomisation import randomise_phases
from relion_mpi.fourier.sections import transform_correlation

if TYPE_CHECKING:
    from numpy.typing import NDArray

FSC_OF_RESOLUTION = 0.143
SHELLS_BEFORE_CORRECTION = 2
"""Next to the first random shell the mask mixes random and true phases."""
WORST_RESOLUTION_ANGST = 999.0
PROTEIN_SHARE = 0.476
"""Of a mask's volume that is protein; the rest is solvent (cisTEM)."""
PROTEIN_DALTON_PER_CUBIC_ANGST = 0.81


@dataclass(frozen=True, slots=True)
class MaskedCurves:
    """What a mask adds.

    Attributes
    ----------
    masked, randomised, corrected : float64 (n // 2 + 1,)
    first_random : shell from which phases were random
    """

    masked: NDArray[np.float64]
    randomised: NDArray[np.float64]
    corrected: NDArray[np.float64]
    first_random: int


def half_transform(volume: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Transform a map, divided by the number of voxels; the phase origin is voxel 0.

    Parameters
    ----------
    volume : float32 (n, n, n)

    Returns
    -------
    complex64 (n, n, n // 2 + 1)
    """
    transform: NDArray[np.complex64] = fft.rfftn(volume, workers=-1, norm="forward")
    return transform


def volume_of(transform: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Transform back; the transform is used up.

    Parameters
    ----------
    transform : complex64 (n, n, n // 2 + 1)

    Returns
    -------
    float32 (n, n, n)
    """
    n = transform.shape[0]
    volume: NDArray[np.float32] = fft.irfftn(
        transform, s=(n, n, n), workers=-1, norm="forward", overwrite_x=True
    )
    return volume


def randomised_masked_fsc(
    transforms: list[NDArray[np.complex64]],
    mask: NDArray[np.float32],
    first_shell: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Correlate masked maps whose phases are random from a shell on.

    Parameters
    ----------
    transforms : two complex64 (n, n, n // 2 + 1)
        Of the unmasked half-maps. Both are used up, and the list is emptied to free them.
    mask : float32 (n, n, n)
    first_shell
        First shell with random phases.
    rng
        Source of the phases.

    Returns
    -------
    float64 (n // 2 + 1,)
    """
    changed = []
    while transforms:
        transform = transforms.pop(0)
        randomise_phases(transform, first_shell, rng)
        volume = volume_of(transform)
        del transform
        volume *= mask
        changed.append(half_transform(volume))
        del volume
    return transform_correlation(*changed)


def corrected_fsc(
    masked: NDArray[np.float64], randomised: NDArray[np.float64], first_random: int
) -> NDArray[np.float64]:
    """Take out what the mask alone correlates.

    Parameters
    ----------
    masked, randomised : float64 (n_shell,)
    first_random
        First shell with random phases; the correction begins two shells beyond.

    Returns
    -------
    float64 (n_shell,)
        (masked - randomised) / (1 - randomised), may be below 0.

    Source
    ------
    Chen et al. 2013, Ultramicroscopy 135:24; RELION Postprocessing::calculateFSCtrue.
    """
    corrected = masked.copy()
    beyond = slice(first_random + SHELLS_BEFORE_CORRECTION, None)
    rest = np.maximum(1.0 - randomised[beyond], 1e-12)
    corrected[beyond] = (masked[beyond] - randomised[beyond]) / rest
    return corrected


def fsc_within_particle(fsc: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Estimate the FSC within the particle from that of the whole box.

    Parameters
    ----------
    fsc : float64 (n_shell,)
        Unmasked.
    factor
        Volume of the box over that of the particle.

    Returns
    -------
    float64 (n_shell,)

    Source
    ------
    Grant et al. 2018, eLife 7:e35383.
    """
    return factor * fsc / (1.0 + (factor - 1.0) * fsc)


def shell_of_resolution(fsc: NDArray[np.float64]) -> int:
    """Return the last shell before the curve first falls below 0.143.

    Parameters
    ----------
    fsc : float64 (n_shell,)

    Returns
    -------
    int
        0 if the first shell is below already.
    """
    below = np.flatnonzero(fsc < FSC_OF_RESOLUTION)
    return max(int(below[0]) - 1, 0) if below.size else fsc.size - 1


def shell_resolutions(box_size: int, pixel_size_angst: float) -> NDArray[np.float64]:
    """Return the resolution of every shell, 999 for shell 0.

    Parameters
    ----------
    box_size
        Voxels.
    pixel_size_angst
        Angstrom.

    Returns
    -------
    float64 (box_size // 2 + 1,) Angstrom
    """
    shells = np.arange(1, box_size // 2 + 1)
    return np.concatenate([[WORST_RESOLUTION_ANGST], box_size * pixel_size_angst / shells])
