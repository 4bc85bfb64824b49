"""Everything before the first image is back-projected: which particles, which map."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.batches import make_batches
from relion_mpi.dataset.particles import read_particles
from relion_mpi.dataset.stacks import StackReader
from relion_mpi.estep.known_poses import PosedPlan, power_of_two
from relion_mpi.estep.plan import ImageOptions
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.refine.batch_size import batch_size_for
from relion_mpi.refine.fit_checks import check_output_root

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.dataset.batches import Batch
    from relion_mpi.dataset.particles import Particles
    from relion_mpi.geometry.symmetry import PointGroup
    from relion_mpi.reconstruct.options import ReconstructOptions

log = logging.getLogger(__name__)

SAMPLE = 64
"""Images that tell the variance."""


@dataclass(frozen=True, slots=True)
class Start:
    """A reconstruction ready to begin.

    Attributes
    ----------
    particles : all of the file; `half` is 0 for those that are left out
    batches : of those that are taken
    """

    options: ReconstructOptions
    particles: Particles
    batches: list[Batch]
    plan: PosedPlan
    group: PointGroup


def make_start(options: ReconstructOptions) -> Start:
    """Read and check everything that a reconstruction needs.

    Parameters
    ----------
    options
        Checked one by one.

    Raises
    ------
    InputError
        For the first thing that cannot be used; nothing has been written then.
    """
    if options.halves and options.subset in (1, 2):
        raise InputError(
            f"--halves --subset {options.subset}: found both, expected one; --halves writes the "
            "maps of both half-sets"
        )
    check_output_root(options.o)
    if options.o.is_dir():
        raise InputError(f"--o {options.o}: found a folder, expected the name of a map")
    group = point_group(options.sym)
    particles = read_particles(options.i, image_folder=options.img)
    _choose(particles, options)
    optics = particles.optics
    box = int(optics.box_size[0])
    pixel = options.angpix if options.angpix > 0 else float(optics.pixel_size_angst[0])
    r_max = box // 2
    if options.maxres > 0:
        r_max = min(math.ceil(box * pixel / options.maxres), r_max)
    if not options.ctf and particles.defocus_u_angst.any():
        log.warning("%s has CTFs, which are not corrected for without --ctf", options.i)
    size = batch_size_for(particles.n_particles, box, on_gpu=options.gpu is not None)
    chosen = [batch for batch in make_batches(particles, size, 0) if batch.half]
    batches = [type(one)(k, one.half, one.particles) for k, one in enumerate(chosen)]
    plan = PosedPlan(
        box, pixel, options.pad, r_max, optics, _image_options(options, box * pixel),
        _variance(particles), float(np.abs(particles.ctf_scale).max()),
        int(np.count_nonzero(particles.half)), 2 if options.halves else 1,
    )  # fmt: skip
    return Start(options, particles, batches, plan, group)


def _choose(particles: Particles, options: ReconstructOptions) -> None:
    """Set `half`: 0 for particles that are left out, else the place of their sums from 1."""
    columns, path = particles.frame.columns, particles.path
    wanted = np.ones(particles.n_particles, np.bool_)
    by_half = options.halves or options.subset in (1, 2)
    if by_half and "rlnRandomSubset" not in columns:
        flag = "--halves" if options.halves else f"--subset {options.subset}"
        raise InputError(
            f"{path}: found no column rlnRandomSubset, expected the half-set of each particle for "
            f"{flag}; take the particles of a refinement, or leave {flag} out"
        )
    if options.class_ > 0:
        if "rlnClassNumber" not in columns:
            raise InputError(
                f"{path}: found no column rlnClassNumber, expected the class of each particle for "
                f"--class {options.class_}; take the particles of a classification"
            )
        wanted &= particles.class_number == options.class_
    if options.subset in (1, 2):
        wanted &= particles.half == options.subset
    half = particles.half if options.halves else np.ones_like(particles.half)
    particles.half = np.where(wanted, half, 0).astype(np.int8)
    for number in (1, 2) if options.halves else (1,):
        if not (particles.half == number).any():
            of = f" in half-set {number}" if options.halves else ""
            raise InputError(
                f"{path}: found no particle{of} that --subset {options.subset} and --class "
                f"{options.class_} leave, expected one or more; change them"
            )


def _image_options(options: ReconstructOptions, diameter_angst: float) -> ImageOptions:
    return ImageOptions(
        diameter_angst,
        apply_ctf=options.ctf,
        intact_until_first_peak=options.ctf_intact_first_peak,
        phase_flipped=options.ctf_phase_flipped,
        only_flip_phases=options.only_flip_phases,
        correct_norm=False,
        correct_scale=False,
    )


def _variance(particles: Particles) -> float:
    """Measure a component's variance on some images that are the same in any order of rows."""
    stack, section = particles.stack_file, particles.image_index
    rank = np.argsort(np.argsort([str(path) for path in particles.stack_paths]))[stack]
    rows = np.flatnonzero(particles.half)
    rows = rows[np.lexsort((section[rows], rank[rows]))]
    # As many as have one size: a reader reads no others at once.
    rows = rows[particles.optics_group[rows] == particles.optics_group[rows[0]]][:SAMPLE]
    with StackReader(particles.stack_headers) as reader:
        images = reader.read(stack[rows], section[rows])
    with np.errstate(invalid="ignore", over="ignore"):
        variance: NDArray[np.float64] = images.var(axis=(1, 2), dtype=np.float64)
    usable = variance[np.isfinite(variance)]
    return power_of_two(float(np.median(usable)) / (2 * images.shape[1] ** 2) if usable.size else 0)
