"""Everything before the first iteration: particles, half-sets, reference, model, schedule."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.backend.gpu.device import room_of_kind
from relion_mpi.backend.limits import Limits
from relion_mpi.dataset.batches import make_batches
from relion_mpi.dataset.halfsets import assign_half_sets
from relion_mpi.dataset.particles import read_particles
from relion_mpi.estep.plan import ImageOptions
from relion_mpi.fourier.masks import lowpass
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.model.compat import NAMES
from relion_mpi.model.state import Accuracy, HalfModel, Model
from relion_mpi.mstep.spectra import reference_tau2
from relion_mpi.refine.batch_size import batch_size_for
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.class_options import ClassOptions
from relion_mpi.refine.class_references import load_references, with_classes
from relion_mpi.refine.class_schedule import (
    NO_ORDER,
    ClassSchedule,
    InitialSchedule,
    PlanarSchedule,
)
from relion_mpi.refine.continuing import names_sha256, restore_particles, saved_to_continue
from relion_mpi.refine.fit_checks import (
    check_combination,
    check_output_root,
    fitted_to_particles,
)
from relion_mpi.refine.gpu_fit import GpuFit, fit
from relion_mpi.refine.gpu_job import gpu_job
from relion_mpi.refine.gpu_report import say_fit
from relion_mpi.refine.initial_model_options import InitialModelOptions
from relion_mpi.refine.mini_batches import MiniBatches
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.planning import orientation_grid
from relion_mpi.refine.reference import load_reference, solvent_masks
from relion_mpi.refine.schedule import BaseSchedule, Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from relion_mpi.backend.gpu.binding import Room
    from relion_mpi.dataset.batches import Batch
    from relion_mpi.dataset.particles import Particles
    from relion_mpi.geometry.symmetry import PointGroup
    from relion_mpi.refine.checkpoint import Saved
    from relion_mpi.refine.common_options import CommonOptions

log = logging.getLogger(__name__)

MOST_PLANAR, MOST = 5, 100
"""Coarse samples of a particle that are kept for each class, images or volumes, in mini-batches."""
BATCHES_OF_MINI = 4
"""Batches that the smallest mini-batch has, so that several ranks have work."""


@dataclass(slots=True)
class Start:
    """A refinement ready to begin.

    Attributes
    ----------
    options : with the seed and diameter filled in
    particles : with half-sets; all in the first one where there is one only
    group : point group
    model : initial; noise spectra are still to be estimated
    schedule : initial sampling
    solvent, inner : masks
    images : how images are treated
    batches : of particles, the same in every iteration
    names_sha256 : checksum of the image names
    saved : the state to go on from, where a run is continued
    gpu : how all this fits a GPU, where the work is done on one
    """

    options: CommonOptions
    particles: Particles
    group: PointGroup
    model: Model
    schedule: BaseSchedule
    solvent: NDArray[np.float64]
    inner: NDArray[np.float64] | None
    images: ImageOptions
    batches: list[Batch]
    names_sha256: str
    saved: Saved | None = None
    gpu: GpuFit | None = None

    @property
    def limits(self) -> Limits:
        """Of the workers' temporary arrays."""
        return Limits() if self.gpu is None else self.gpu.limits

    @property
    def mstep_bytes(self) -> int:
        """Memory of a GPU that the master's M-step needs."""
        return 0 if self.gpu is None else self.gpu.need.mstep

    @property
    def predicted_bytes(self) -> int:
        """Memory of a GPU that a worker will need; 0 where there is none."""
        return 0 if self.gpu is None else self.gpu.need.working


def make_start(options: CommonOptions, rooms: Sequence[Room] = ()) -> Start:
    """Read and check everything that a refinement needs.

    Parameters
    ----------
    options
        Checked one by one.
    rooms
        Of the GPUs that workers use; the work is made to fit the smallest.

    Raises
    ------
    InputError
        For the first thing that cannot be used; nothing has been written then.
    """
    if options.random_seed < 0:
        options = replace(options, random_seed=secrets.randbelow(2**31))
        log.info("--random_seed %d was drawn", options.random_seed)
    check_combination(options)
    check_output_root(options.o)
    if isinstance(options, ClassOptions):
        options = with_classes(options)
    saved = None if options.continue_ is None else saved_to_continue(options)
    group = point_group(options.sym)
    particles = read_particles(options.i)
    box_size = int(particles.optics.box_size[0])
    pixel_size = float(particles.optics.pixel_size_angst[0])
    options = fitted_to_particles(options, particles)
    if saved is None:
        model, schedule = _beginning(options, particles, group)
    else:
        restore_particles(particles, saved)
        model, schedule = saved.model, saved.schedule
    solvent, inner = solvent_masks(options, box_size, pixel_size, options.particle_diameter)
    size = options.batch or _batch_size(options, particles.n_particles, box_size)
    gpu = _fitted_to_gpu(options, particles, model, size, rooms)
    if gpu is not None:
        size = gpu.job.batch_size
    return Start(
        options, particles, group, model, schedule, solvent, inner, image_options(options),
        make_batches(particles, size, options.random_seed), names_sha256(particles), saved, gpu,
    )  # fmt: skip


def _batch_size(options: CommonOptions, n_particles: int, box_size: int) -> int:
    """Choose the particles of a batch; a mini-batch is of several."""
    size = batch_size_for(n_particles, box_size, on_gpu=options.gpu is not None)
    if isinstance(options, ClassOptions) and options.grad:
        size = min(size, max(MiniBatches.of(options, n_particles).sizes[0] // BATCHES_OF_MINI, 16))
    return size


def _beginning(
    options: CommonOptions, particles: Particles, group: PointGroup
) -> tuple[Model, BaseSchedule]:
    """Assign half-sets, and make the model and the sampling of a new run."""
    box_size = int(particles.optics.box_size[0])
    pixel_size = float(particles.optics.pixel_size_angst[0])
    if options.n_half == 1:
        particles.half = np.ones(particles.n_particles, np.int8)
    if isinstance(options, ClassOptions):
        maps = load_references(options, box_size, pixel_size)
    else:
        log.info("%s", assign_half_sets(particles, options.random_seed))
        maps = load_reference(options, box_size, pixel_size)[None]
    if options.ini_high > 0:
        maps = np.stack([lowpass(one, pixel_size, options.ini_high) for one in maps])
    schedule = first_schedule(options, pixel_size)
    grid = orientation_grid(schedule, group)
    return _model(options, particles, maps, grid.n_dir), schedule


def _fitted_to_gpu(
    options: CommonOptions, particles: Particles, model: Model, size: int, rooms: Sequence[Room]
) -> GpuFit | None:
    """Make the work fit the smallest GPU, and say what it will need."""
    if not rooms:
        return None
    job = gpu_job(
        options, model.box_size, model.pixel_size_angst, n_class=model.n_class, batch_size=size,
        n_optics=particles.optics.n_groups,
    )  # fmt: skip
    smallest = min(rooms, key=lambda room: room.n_bytes)
    of_kind = room_of_kind(min(room.total_bytes for room in rooms)) if job.deterministic else 0
    found = fit(smallest.n_bytes, job, smallest.n_sharing, of_kind)
    say_fit(found, rooms, size)
    return found


def image_options(options: CommonOptions) -> ImageOptions:
    """Pick what the E-step needs to know about image treatment."""
    return ImageOptions(
        particle_diameter_angst=options.particle_diameter,
        mask_edge_pix=options.maskedge,
        zero_mask=options.zero_mask,
        apply_ctf=options.ctf,
        intact_until_first_peak=options.ctf_intact_first_peak,
        phase_flipped=options.ctf_phase_flipped,
        only_flip_phases=options.only_flip_phases,
        correct_norm=options.norm,
        correct_scale=options.scale,
        adaptive_fraction=options.adaptive_fraction,
        max_significants=_most_significant(options),
        random_seed=options.random_seed,
        compat=NAMES[options.compat],
    )


def _most_significant(options: CommonOptions) -> int:
    """Return how many coarse samples a particle may keep, 0 for any number.

    Source
    ------
    RELION 5's --maxsig of -1, which limits them with mini-batches: a vague first reference would
    keep nearly all.
    """
    if options.maxsig > 0 or not (isinstance(options, ClassOptions) and options.grad):
        return max(options.maxsig, 0)
    return (MOST_PLANAR if options.is_planar else MOST) * options.K


def first_schedule(options: CommonOptions, pixel_size_angst: float) -> BaseSchedule:
    """Make the initial sampling.

    Parameters
    ----------
    options
        Of the run.
    pixel_size_angst
        Of the model.
    """
    common: dict[str, Any] = {
        "healpix_order": options.healpix_order,
        "oversampling": options.oversampling,
        "offset_range_angst": options.offset_range * pixel_size_angst,
        "offset_step_angst": options.offset_step * pixel_size_angst,
        "perturbation_factor": options.perturb,
        "incr_size": options.incr_size,
    }
    if isinstance(options, ClassOptions):
        if options.skip_align:  # one pass, at the full image size
            common["oversampling"] = 0
        common |= {"local_order": NO_ORDER, "highres_limit_angst": options.strict_highres_exp}
    if isinstance(options, Class2DOptions):
        return PlanarSchedule(**common, psi_step_deg=options.psi_step)
    if isinstance(options, InitialModelOptions):
        return InitialSchedule(**common)
    if isinstance(options, Class3DOptions):
        return ClassSchedule(
            **common,
            local_sigma_deg=options.sigma_ang if options.sigma_ang > 0 else None,
        )
    assert isinstance(options, RefineOptions)
    return Schedule(
        **common,
        local_order=options.auto_local_healpix_order,
        ignore_angles=options.auto_ignore_angles,
        resolution_angles=options.auto_resol_angles,
    )


def _model(
    options: CommonOptions, particles: Particles, maps: NDArray[np.float64], n_dir: int
) -> Model:
    """Make the model before the noise is known."""
    n_class, box_size = maps.shape[:2]
    pixel_size = float(particles.optics.pixel_size_angst[0])
    n_shell = box_size // 2 + 1
    n_group = len(particles.scale_group_names)
    halves = []
    for half in range(1, options.n_half + 1):
        mine = particles.half == half
        model = HalfModel(
            maps=maps,
            sigma2_noise=np.ones((particles.optics.n_groups, n_shell)),
            scale=np.ones(n_group),
            avg_norm=1.0,
            pdf_class=np.full(n_class, 1.0 / n_class),
            pdf_direction=np.full((n_class, n_dir), 1.0 / n_dir / n_class),
            sigma2_offset_angst2=options.offset**2,
            tau2=np.zeros((n_class, n_shell)),
            sigma2=np.zeros((n_class, n_shell)),
            data_vs_prior=np.zeros((n_class, n_shell)),
            coverage=np.zeros((n_class, n_shell)),
            fsc=np.zeros(n_shell),
            optics_particles=np.zeros(particles.optics.n_groups),
            group_particles=np.bincount(particles.scale_group[mine], minlength=n_group),
            orientability=np.zeros((n_class, n_shell)),
        )
        take_references(model, maps, options)
        halves.append(model)
    return Model(
        box_size, pixel_size, options.pad, halves, 0.0, box_size, Accuracy.unknown(n_class)
    )


def take_references(half: HalfModel, maps: NDArray[np.float64], options: CommonOptions) -> None:
    """Begin from maps: round them for the E-step, and keep the power that they had before.

    Parameters
    ----------
    half
        Its maps and prior spectra are replaced.
    maps : float64 (n_class, box, box, box) or (n_class, box, box)
    options
        Of the run.
    """
    dtype = np.float64 if options.precision == "float64" else np.float32
    half.maps = maps.astype(dtype)
    # Rounding is noise beyond the low-pass, where there is no power to hide it.
    half.tau2 = np.stack([reference_tau2(one) for one in maps])


def start_spectra(model: Model, schedule: BaseSchedule, options: CommonOptions) -> None:
    """Turn the references' power into priors, and set the first resolution: the noise is known.

    Source
    ------
    RELION initialiseDataVersusPrior and updateCurrentResolution.
    """
    for half in model.halves:
        weight = half.optics_particles / max(half.optics_particles.sum(), 1)
        noise = weight @ half.sigma2_noise
        n_particles = half.group_particles.sum()
        slices = np.maximum(2.0 * np.arange(model.n_shell), 1.0)  # of a shell of a volume
        observations = n_particles / (1.0 if model.is_planar else slices)
        half.tau2 = options.tau2_fudge * half.tau2
        half.data_vs_prior = half.pdf_class[:, None] * (observations * half.tau2 / noise)
    if options.ini_high > 0:
        model.current_resolution = model.shell_of(options.ini_high) / model.box_angst
    else:
        model.current_resolution = schedule.resolution(
            model.halves[0].data_vs_prior, model.box_angst
        )
