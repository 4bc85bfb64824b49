"""What a worker must know to do the E-step of one iteration."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.model.compat import OWN, Compat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import Metric
    from relion_mpi.dataset.optics_groups import OpticsGroups
    from relion_mpi.sampling.orientations import OrientationGrid
    from relion_mpi.sampling.translations import TranslationGrid


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How particle images are treated; the same in every iteration.

    Attributes
    ----------
    particle_diameter_angst : of the soft mask
    mask_edge_pix : width of its edge
    zero_mask : fill the outside with its mean instead of noise
    apply_ctf, intact_until_first_peak, phase_flipped, only_flip_phases : as RELION's options
    correct_norm, correct_scale : as RELION's --norm and --scale
    adaptive_fraction, max_significants : of the significance cut
    random_seed : seeds everything random, with iteration and particle
    compat : what is done as RELION does it
    """

    particle_diameter_angst: float
    mask_edge_pix: float = 5.0
    zero_mask: bool = True
    apply_ctf: bool = True
    intact_until_first_peak: bool = False
    phase_flipped: bool = False
    only_flip_phases: bool = False
    correct_norm: bool = True
    correct_scale: bool = True
    adaptive_fraction: float = 0.999
    max_significants: int = 0
    random_seed: int = 0
    compat: Compat = OWN


@dataclass(frozen=True, slots=True)
class HalfPlan:
    """Parameters of one half-set that the E-step uses.

    Attributes
    ----------
    sigma2_noise : float64 (n_optics, n_shell)
    scale : float64 (n_group,)
    avg_norm : mean norm correction
    pdf_direction : float64 (n_class, n_dir), sum 1; a class with zeros only takes no part
    sigma2_offset_angst2 : prior variance of offsets
    data_vs_prior : float64 (n_class, n_shell)
    n_particles : of the half-set
    """

    sigma2_noise: NDArray[np.float64]
    scale: NDArray[np.float64]
    avg_norm: float
    pdf_direction: NDArray[np.float64]
    sigma2_offset_angst2: float
    data_vs_prior: NDArray[np.float64]
    n_particles: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One iteration's E-step.

    Attributes
    ----------
    iteration : counted from 1
    box_size, pixel_size_angst, padding : of the model
    current_size, coarse_size : pixels of the model used in the second and first pass
    metric : "gauss" or "cc"
    orientations, translations : the grids, perturbation included
    local_sigma_deg : width of local searches, or None for global ones
    optics : optics groups
    halves : one HalfPlan per half-set; a single one where there are none
    images : how images are treated
    seeded : each particle takes part in one random class only
    skip_align : poses are the particles' own; only their classes are found
    """

    iteration: int
    box_size: int
    pixel_size_angst: float
    padding: int
    current_size: int
    coarse_size: int
    metric: Metric
    orientations: OrientationGrid
    translations: TranslationGrid
    local_sigma_deg: float | None
    optics: OpticsGroups
    halves: tuple[HalfPlan, ...]
    images: ImageOptions
    seeded: bool = False
    skip_align: bool = False

    @property
    def r_max(self) -> int:
        """Last shell of the references."""
        return self.current_size // 2

    @property
    def planar(self) -> bool:
        """References are 2D: a rotation is psi alone, whatever else particles say."""
        return self.orientations.planar


@dataclass(frozen=True, slots=True)
class ParticleBatch:
    """Particles of one half-set and one optics group, with all a worker needs but the pixels.

    Attributes
    ----------
    number : of the batch among those of the run, or -1 for a selection that is none of them
    half : index into the plan's halves
    optics_group : index of the optics group
    particle : int64 (n,) row of each particle in the table, for seeds and messages
    stack_file, image_index : int64 (n,) where the images are
    scale_group : int64 (n,)
    ctf : float64 (n, 6): defocus U, V (Angstrom), angle (deg), B-factor, scale, phase shift (deg)
    euler_deg : float64 (n, 3) last rot, tilt, psi
    prior_euler_deg : float64 (n, 3) centre of local searches: given priors, else the last angles
    origin_angst : float64 (n, 2) last offsets
    origin_prior_angst : float64 (n, 2)
    norm_correction : float64 (n,)
    """

    number: int
    half: int
    optics_group: int
    particle: NDArray[np.int64]
    stack_file: NDArray[np.int64]
    image_index: NDArray[np.int64]
    scale_group: NDArray[np.int64]
    ctf: NDArray[np.float64]
    euler_deg: NDArray[np.float64]
    prior_euler_deg: NDArray[np.float64]
    origin_angst: NDArray[np.float64]
    origin_prior_angst: NDArray[np.float64]
    norm_correction: NDArray[np.float64]

    @property
    def n_img(self) -> int:
        """Number of particles."""
        return self.particle.size

    def part(self, places: slice | NDArray[np.bool_] | NDArray[np.int64]) -> ParticleBatch:
        """Return some of the particles.

        Parameters
        ----------
        places
            Which of the batch: anything that numpy takes for one axis.
        """
        cut: dict[str, Any] = {}
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            cut[name] = value if isinstance(value, int) else value[places]
        return ParticleBatch(**cut)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What the E-step found for a batch.

    Attributes
    ----------
    euler_deg : float64 (n, 3)
    origin_angst : float64 (n, 2)
    class_number : int64 (n,) from 1
    norm_correction, log_likelihood, max_value_prob : float64 (n,)
    n_significant : int64 (n,)
    n_slices : slices back-projected for the whole batch
    """

    euler_deg: NDArray[np.float64]
    origin_angst: NDArray[np.float64]
    class_number: NDArray[np.int64]
    norm_correction: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    max_value_prob: NDArray[np.float64]
    n_significant: NDArray[np.int64]
    n_slices: int

    def followed_by(self, other: BatchResult) -> BatchResult:
        """Return both results as one."""
        joined: dict[str, Any] = {}
        for name in (f.name for f in fields(self)):
            mine, theirs = getattr(self, name), getattr(other, name)
            joined[name] = mine + theirs if name == "n_slices" else np.concatenate([mine, theirs])
        return BatchResult(**joined)

    def in_order(self, places: NDArray[np.int64]) -> BatchResult:
        """Return the results of the same particles in another order.

        Parameters
        ----------
        places : int64 (n,)
            Where each of them is now.
        """
        names = [f.name for f in fields(self) if f.name != "n_slices"]
        return replace(self, **{name: getattr(self, name)[places] for name in names})
