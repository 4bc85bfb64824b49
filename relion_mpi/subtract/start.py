"""Everything before the first image: particles, what is subtracted from each, checks."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.particles import read_particles
from relion_mpi.estep.plan import ImageOptions
from relion_mpi.estep.sums import MIN_SCALE
from relion_mpi.refine.fit_checks import check_output_root
from relion_mpi.refine.reference import load_mask
from relion_mpi.subtract.framing import centre_of_mass
from relion_mpi.subtract.predict import PredictionPlan
from relion_mpi.subtract.source import find_source, read_maps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from relion_mpi.dataset.particles import Particles
    from relion_mpi.subtract.options import SubtractOptions
    from relion_mpi.subtract.source import Source

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """A subtraction ready to begin.

    Attributes
    ----------
    maps : float32 (n_map, box, box, box) that are subtracted
    number : int64 (n,) map of each particle
    factor, gain : float64 (n,) of each image and of its projection
    point_angst : float64 (3,) (x, y, z) that images are centred on, or None
    """

    options: SubtractOptions
    particles: Particles
    plan: PredictionPlan
    maps: NDArray[np.float32]
    number: NDArray[np.int64]
    factor: NDArray[np.float64]
    gain: NDArray[np.float64]
    point_angst: NDArray[np.float64] | None


def make_start(options: SubtractOptions) -> Start:
    """Read and check everything that a subtraction needs.

    Parameters
    ----------
    options
        Checked one by one.

    Raises
    ------
    InputError
        For the first thing that cannot be used; nothing has been written then.
    """
    if options.i is None:
        raise InputError("--i is required: the optimiser of a refinement, or particles with --ref")
    if options.new_box > 0 and options.new_box % 2:
        raise InputError(f"--new_box {options.new_box}: found an odd number, expected an even one")
    if options.recenter_on_mask and options.center is not None:
        raise InputError(
            "--recenter_on_mask: found a --center_x, --center_y or --center_z as well, expected "
            "one centre; leave one of them out"
        )
    if options.recenter_on_mask and options.mask is None:
        raise InputError("--recenter_on_mask: found no --mask, expected one; give it")
    check_output_root(options.o / "particles_subtracted.star")
    source = find_source(options)
    particles = read_particles(source.particles)
    if options.mask is None and not options.ssnr:
        log.warning("no --mask: the whole map is subtracted")
    number, gain, factor = _of_particles(source, particles, options)
    optics = particles.optics
    on = source.ctf
    images = ImageOptions(
        source.box_size * source.pixel_size_angst,
        apply_ctf="apply_ctf" in on,
        intact_until_first_peak="intact_until_first_peak" in on,
        phase_flipped="phase_flipped" in on,
        only_flip_phases="only_flip_phases" in on,
    )
    plan = PredictionPlan(
        source.box_size, source.pixel_size_angst, source.padding, source.r_max, optics, images
    )
    return Start(
        options, particles, plan, read_maps(source, options), number, factor, gain,
        _point(source, options),
    )  # fmt: skip


def _of_particles(
    source: Source, particles: Particles, options: SubtractOptions
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Find each particle's map, the factor of its projection, and that of its image."""
    n, n_class = particles.n_particles, len(source.halves[0].maps)
    half = np.zeros(n, np.int64)
    if len(source.halves) > 1:
        if not particles.half.all():
            raise InputError(
                f"{particles.path}: found no column rlnRandomSubset, expected the half-set of each "
                "particle, for the half-sets of the run have a map each; give the particles of the "
                "run, or a map for all of them as --ref"
            )
        half = particles.half.astype(np.int64) - 1
    classes = np.zeros(n, np.int64) if options.ignore_class else particles.class_number - 1
    wrong = (classes < 0) | (classes >= n_class)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{particles.path}, row {particles.row_number[row]}: rlnClassNumber is "
            f"{particles.class_number[row]}, expected 1 to {n_class}, the maps that there are; "
            "give particles of this run, or --ignore_class"
        )
    norm, scale = np.ones(n), np.ones(n)
    for h, one in enumerate(source.halves):
        mine = half == h
        if source.norm and mine.any():
            norms = particles.norm_correction[mine]
            norm[mine] = norms / (one.avg_norm if one.avg_norm is not None else norms.mean())
        if one.scale:
            scale[mine] = _scales(one.scale, particles)[mine]
    # The projection is brought to the image's grey scale, or the image to the map's.
    if options.compat == "relion3" or options.ssnr:
        return half * n_class + classes, scale, 1.0 / norm
    return half * n_class + classes, scale * norm, np.ones(n)


def _scales(scale: Mapping[str, float], particles: Particles) -> NDArray[np.float64]:
    """Look the intensity scale of each particle's group up."""
    missing = [name for name in particles.scale_group_names if name not in scale]
    if missing:
        raise InputError(
            f"{particles.path}: found the group '{missing[0]}' (rlnGroupName or "
            "rlnMicrographName), expected groups of which the model has an intensity scale; give "
            "particles of this run"
        )
    of_group = np.array([scale[name] for name in particles.scale_group_names])
    found: NDArray[np.float64] = np.maximum(of_group, MIN_SCALE)[particles.scale_group]
    return found


def _point(source: Source, options: SubtractOptions) -> NDArray[np.float64] | None:
    """Return what images are centred on, in Angstrom, or None."""
    place = options.center
    if options.recenter_on_mask:
        assert options.mask is not None
        mask = load_mask(options.mask, source.box_size, source.pixel_size_angst)
        place = centre_of_mass(mask)
    if place is None:
        return None
    log.info("Particles are centred on (%.2f, %.2f, %.2f) pixels", *place)
    return np.array(place) * source.pixel_size_angst
