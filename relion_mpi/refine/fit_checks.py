"""Whether the options fit each other, the particles, and the folder they write to."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from relion_mpi.core.errors import InputError
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.options import RefineOptions

if TYPE_CHECKING:
    from pathlib import Path

    from relion_mpi.dataset.particles import Particles
    from relion_mpi.refine.common_options import CommonOptions

T = TypeVar("T", bound="CommonOptions")

log = logging.getLogger(__name__)

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")


def check_combination(options: CommonOptions) -> None:
    """Refuse options that exclude each other.

    Raises
    ------
    InputError
        Names both.
    """
    if (
        isinstance(options, RefineOptions)
        and options.solvent_correct_fsc
        and options.solvent_mask is None
    ):
        msg = "--solvent_correct_fsc needs a mask: give one with --solvent_mask"
        raise InputError(msg)
    if isinstance(options, Class3DOptions) and options.skip_align and options.sigma_ang > 0:
        msg = "--sigma_ang searches near poses that --skip_align keeps: give one of the two"
        raise InputError(msg)
    if isinstance(options, Class3DOptions) and options.grad and options.fast_subsets:
        msg = "--fast_subsets and --grad both choose the particles of an iteration: give one"
        raise InputError(msg)
    if options.precision == "tf32" and options.gpu is None:
        msg = "--precision tf32 is arithmetic of GPUs: give --gpu too, or leave it at float32"
        raise InputError(msg)


def check_output_root(root: Path) -> None:
    """Refuse a root name under which files cannot be written; nothing is written here.

    Raises
    ------
    InputError
        A part of the path is a file, or its folder may not be written to.
    """
    if root.is_dir():
        log.warning(
            "--o %s is a folder: files will stand beside it as %s_...; give %s/run to have them in "
            "it", root, root.name, root,
        )  # fmt: skip
    folder = root.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        msg = (
            f"--o {root}: its folder cannot be made (Not a directory): {folder} is a file; choose "
            "another name"
        )
        raise InputError(msg)
    if not os.access(folder, os.W_OK | os.X_OK):
        msg = f"--o {root}: {folder} may not be written to; choose another, or change its mode"
        raise InputError(msg)


def fitted_to_particles(options: T, particles: Particles) -> T:
    """Fill in the particle diameter and check what depends on the box and pixel size.

    Parameters
    ----------
    options
        As given.
    particles
        Box and pixel size of the model are those of the first optics group.

    Returns
    -------
    T
        With a positive diameter and a low-pass that is not beyond Nyquist.

    Raises
    ------
    InputError
        A length does not fit the box, or there is no defocus to correct for.
    """
    box_size = int(particles.optics.box_size[0])
    pixel_size = float(particles.optics.pixel_size_angst[0])
    if options.ctf and "rlnDefocusU" not in particles.frame.columns:
        msg = (
            f"{particles.path}: found no column rlnDefocusU, expected the defocus of each particle "
            "to correct for; add it, or give --no-ctf"
        )
        raise InputError(msg)
    if isinstance(options, Class3DOptions):
        _check_poses(options, particles)
    if isinstance(options, Class2DOptions) and options.skip_align and options.continue_ is None:
        _check_angles(particles, ANGLES[2:], "--skip_align")
    options = _with_diameter(options, box_size, pixel_size)
    return _with_low_pass(options, box_size, pixel_size)


def _check_poses(options: Class3DOptions, particles: Particles) -> None:
    """Refuse to keep poses, or to search near them, where the file has none."""
    if not (options.skip_align or options.sigma_ang > 0) or options.continue_ is not None:
        return
    _check_angles(particles, ANGLES, "--skip_align" if options.skip_align else "--sigma_ang")


def _check_angles(particles: Particles, names: tuple[str, ...], asked: str) -> None:
    missing = [name for name in names if name not in particles.frame.columns]
    if missing:
        raise InputError(
            f"{particles.path}: found no column {', '.join(missing)}, expected the angles of each "
            f"particle for {asked}; leave it out, or give the particles of an earlier job"
        )


def _with_diameter(options: T, box_size: int, pixel_size: float) -> T:
    largest = (box_size - options.maskedge) * pixel_size
    if largest <= 0:
        msg = (
            f"--maskedge {options.maskedge:g} is not smaller than the box ({box_size} pixels); "
            "about 5 is usual"
        )
        raise InputError(msg)
    if options.particle_diameter <= 0:
        return replace(options, particle_diameter=largest)
    if options.particle_diameter > box_size * pixel_size:
        msg = (
            f"--particle_diameter {options.particle_diameter:g} is larger than the box "
            f"({box_size * pixel_size:g} A); give at most {largest:g}"
        )
        raise InputError(msg)
    return options


def _with_low_pass(options: T, box_size: int, pixel_size: float) -> T:
    """Hold --ini_high against the longest and the shortest period of the box."""
    nyquist, longest = 2 * pixel_size, box_size * pixel_size
    if 0 < options.ini_high < nyquist:
        log.warning(
            "--ini_high %g is beyond the Nyquist frequency of the particles (%g A); %g is taken",
            options.ini_high, nyquist, nyquist,
        )  # fmt: skip
        return replace(options, ini_high=nyquist)
    if options.ini_high > longest:
        msg = (
            f"--ini_high {options.ini_high:g} is longer than the box ({longest:g} A), so that "
            "nothing of the reference is left; give less, 60 or so"
        )
        raise InputError(msg)
    return options
