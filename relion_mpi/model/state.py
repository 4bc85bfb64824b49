"""The model of a refinement: maps, spectra, priors and what has been found so far."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(slots=True)
class HalfModel:
    """Everything that is estimated from one half-set (or from all data when there is one).

    Attributes
    ----------
    maps : (n_class, box, box, box), or (n_class, box, box) where they are images, in the precision
        of the E-step, which they are made for: rounded when they are finished
    sigma2_noise : float64 (n_optics, n_shell) noise power per Fourier component
    scale : float64 (n_group,) intensity scale of each scale group
    avg_norm : mean norm correction
    pdf_class : float64 (n_class,) sums to 1
    pdf_direction : float64 (n_class, n_dir) sums to 1 over classes and directions
    sigma2_offset_angst2 : variance of the origin offsets
    tau2, sigma2, data_vs_prior, coverage : float64 (n_class, n_shell), see mstep.spectra
    fsc : float64 (n_shell,) gold-standard FSC, zeros before the first one
    log_likelihood, ave_pmax : of the last iteration
    optics_particles : float64 (n_optics,) particles behind each noise spectrum
    group_particles : int64 (n_group,)
    orientability : float64 (n_class, n_shell), share of each shell in the angular accuracy
    """

    maps: NDArray[np.floating[Any]]
    sigma2_noise: NDArray[np.float64]
    scale: NDArray[np.float64]
    avg_norm: float
    pdf_class: NDArray[np.float64]
    pdf_direction: NDArray[np.float64]
    sigma2_offset_angst2: float
    tau2: NDArray[np.float64]
    sigma2: NDArray[np.float64]
    data_vs_prior: NDArray[np.float64]
    coverage: NDArray[np.float64]
    fsc: NDArray[np.float64]
    optics_particles: NDArray[np.float64]
    group_particles: NDArray[np.int64]
    orientability: NDArray[np.float64]
    log_likelihood: float = 0.0
    ave_pmax: float = 0.0

    @property
    def n_class(self) -> int:
        """Number of classes."""
        return int(self.maps.shape[0])

    def reset_directions(self, n_dir: int) -> None:
        """Forget the distribution of directions, keeping that of the classes."""
        self.pdf_direction = np.repeat(self.pdf_class[:, None] / n_dir, n_dir, axis=1)


@dataclass(slots=True)
class Accuracy:
    """Expected accuracies of assignments, per class and best.

    Attributes
    ----------
    rotation_deg, translation_angst : float64 (n_class,), 999 where not known
    """

    rotation_deg: NDArray[np.float64]
    translation_angst: NDArray[np.float64]

    @classmethod
    def unknown(cls, n_class: int) -> Accuracy:
        """Make the value used before the first estimate."""
        return cls(np.full(n_class, 999.0), np.full(n_class, 999.0))

    @property
    def best_rotation_deg(self) -> float:
        """Smallest over the classes."""
        return float(self.rotation_deg.min())

    @property
    def best_translation_angst(self) -> float:
        """Smallest over the classes."""
        return float(self.translation_angst.min())


@dataclass(slots=True)
class Model:
    """The whole state of a refinement that is not per particle.

    Attributes
    ----------
    box_size, pixel_size_angst : of the maps
    padding : oversampling of the transforms
    halves : one HalfModel per half-set
    current_resolution : 1/Angstrom
    current_size : pixels used in the last iteration
    accuracy : expected accuracies
    """

    box_size: int
    pixel_size_angst: float
    padding: int
    halves: list[HalfModel]
    current_resolution: float
    current_size: int
    accuracy: Accuracy

    @property
    def n_shell(self) -> int:
        """Length of the spectra."""
        return self.box_size // 2 + 1

    @property
    def n_class(self) -> int:
        """Number of classes."""
        return self.halves[0].n_class

    @property
    def is_planar(self) -> bool:
        """Whether the maps are images."""
        return self.halves[0].maps.ndim == 3

    @property
    def box_angst(self) -> float:
        """Side of the box in Angstrom."""
        return self.box_size * self.pixel_size_angst

    def snapshot(self) -> Model:
        """Copy everything but the maps, which an iteration replaces and never changes."""
        return copy.deepcopy(self, {id(half.maps): half.maps for half in self.halves})

    def shell_of(self, resolution_angst: float) -> int:
        """Return the shell nearest to a resolution in Angstrom."""
        return int(np.floor(self.box_angst / resolution_angst + 0.5))
