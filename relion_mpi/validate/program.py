"""The checks of a refinement's start, one after the other, without the refinement."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.core.progress import Progress
from relion_mpi.dataset.halfsets import assign_half_sets
from relion_mpi.dataset.particles import read_particles
from relion_mpi.dataset.pixel_scan import scan_pixels
from relion_mpi.dataset.quarantine import Quarantine
from relion_mpi.doctor.table import Line, State, as_text
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.refine.fit_checks import check_output_root, fitted_to_particles
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.reference import load_mask, load_reference
from relion_mpi.validate.findings import Findings
from relion_mpi.validate.sample import sample_images

if TYPE_CHECKING:
    from relion_mpi.dataset.particles import Particles
    from relion_mpi.validate.options import ValidateOptions

log = logging.getLogger(__name__)

_N_LISTED = 20


def validate(options: ValidateOptions) -> int:
    """Check, print the table.

    Parameters
    ----------
    options
        What to check.

    Returns
    -------
    int
        Exit status: 1 if a run would be refused or ended.
    """
    findings = judge(options)
    log.info("%s", as_text(findings.lines))
    return int(findings.has_problem)


def judge(options: ValidateOptions) -> Findings:
    """Make the table's lines.

    Parameters
    ----------
    options
        What to check.

    Returns
    -------
    Findings
        Each check does what the start of a run does; those that need the particles are left out
        where these cannot be read.
    """
    found = Findings()
    found.check("symmetry", lambda: _symmetry(options.sym))
    if options.o is not None:
        root = options.o
        if found.check("output", lambda: _output(root)) is None:
            return found
    particles = found.check("particles", lambda: _particles(options.i))
    if particles is None:
        return found
    found.check("half-sets", lambda: (True, assign_half_sets(particles, 0)))
    run = found.check("options", lambda: _fitted(options, particles))
    box_size = int(particles.optics.box_size[0])
    pixel_size = float(particles.optics.pixel_size_angst[0])
    if options.ref is not None:
        asked = _run_options(options)
        found.check("reference", lambda: (
            load_reference(asked, box_size, pixel_size) is not None, str(options.ref)
        ))  # fmt: skip
    if options.mask is not None:
        mask = options.mask
        found.check("mask", lambda: (
            load_mask(mask, box_size, pixel_size) is not None, str(mask)
        ))  # fmt: skip
    if run is not None:
        _images(found, options, run, particles)
    return found


def _output(root: Path) -> tuple[bool, str]:
    check_output_root(root)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--o {root}: its folder cannot be made ({error.strerror})") from error
    return True, f"{root}_... can be written"


def _symmetry(name: str) -> tuple[bool, str]:
    group = point_group(name)
    return True, f"{group.name}, {group.n_ops} rotation(s)"


def _particles(path: Path) -> tuple[Particles, str]:
    p = read_particles(path)
    boxes = sorted({int(box) for box in p.optics.box_size})
    sizes = sorted({float(size) for size in p.optics.pixel_size_angst})
    return p, (
        f"{p.n_particles} particles in {len(p.stack_paths)} stack(s), "
        f"{len(p.scale_group_names)} micrograph group(s), {p.optics.n_groups} optics group(s), "
        f"box {', '.join(map(str, boxes))}, {', '.join(f'{size:g}' for size in sizes)} A a pixel"
    )


def _run_options(options: ValidateOptions) -> RefineOptions:
    """Return the options of the run to come; what it would write to does not matter."""
    return RefineOptions(
        i=options.i, o=options.o or Path("run"), ref=options.ref or Path(),
        ref_angpix=options.ref_angpix, sym=options.sym, solvent_mask=options.mask,
        particle_diameter=options.particle_diameter, ini_high=options.ini_high, ctf=options.ctf,
    )  # fmt: skip


def _fitted(options: ValidateOptions, particles: Particles) -> tuple[RefineOptions, str]:
    run = fitted_to_particles(_run_options(options), particles)
    return run, f"particle diameter {run.particle_diameter:g} A, low-pass {run.ini_high:g} A"


def _images(
    found: Findings, options: ValidateOptions, run: RefineOptions, particles: Particles
) -> None:
    """Look at pixels: the sample tells the background, the full scan every unusable image."""
    path = None if options.o is None else options.o.with_name(f"{options.o.name}_quarantine.star")
    bad = Quarantine(particles, path)

    def sample() -> tuple[bool, str]:
        rows, flags = sample_images(particles, run)
        bad.add(rows, flags)
        return True, f"{rows.size} looked at, {bad.n_bad} unusable"

    def scan() -> tuple[bool, str]:
        threads = options.j or len(os.sched_getaffinity(0))
        with Progress(particles.n_particles, "Images") as progress:
            flags = scan_pixels(particles, threads, progress.update)
        bad.add(np.arange(flags.size), flags)
        return True, f"all {flags.size} looked at, {bad.n_bad} unusable"

    found.check("sample", sample)
    if options.full:
        found.check("images", scan)
    if bad.n_bad:
        bad.write()
        found.lines += [Line("unusable", State.NOTE, text) for text in _listed(bad)]


def _listed(bad: Quarantine) -> list[str]:
    """Write a line for each unusable image, up to a number that can be read."""
    table = bad.table().select("rowInFile", "rlnImageName", "rlnComment")
    lines = [f"row {row}: {name}: {why}" for row, name, why in table.head(_N_LISTED).iter_rows()]
    if bad.path is not None:
        lines.append(f"all {table.height} are in {bad.path}")
    elif table.height > _N_LISTED:
        lines.append(f"and {table.height - _N_LISTED} more: --o ROOT writes all of them to a file")
    return lines
