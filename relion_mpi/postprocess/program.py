"""From two half-maps to a sharpened map, its resolution and the curves behind it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.fourier.sections import scale_by_radius, sections_of, transform_correlation
from relion_mpi.fourier.shells import shell_of_frequency
from relion_mpi.io.cube import read_cube
from relion_mpi.postprocess.curves import (
    PROTEIN_DALTON_PER_CUBIC_ANGST,
    PROTEIN_SHARE,
    MaskedCurves,
    corrected_fsc,
    half_transform,
    randomised_masked_fsc,
    shell_of_resolution,
    shell_resolutions,
    volume_of,
)
from relion_mpi.postprocess.findings import Findings
from relion_mpi.postprocess.inputs import (
    chosen_pixel_size,
    other_half,
    read_like,
    read_mask,
    read_mtf,
)
from relion_mpi.postprocess.outputs import prepare_folder, write_findings, write_volume
from relion_mpi.postprocess.sharpening import lowpass_factor, sharpen

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.postprocess.options import PostprocessOptions

log = logging.getLogger(__name__)

_HIGH_RANDOM_FSC = 0.1


@dataclass(frozen=True, slots=True)
class _Halves:
    """Two half-maps as they were read; the lists are emptied as the maps are used up."""

    names: tuple[Path, Path]
    volumes: list[NDArray[np.float32]]
    box_size: int
    pixel_size_angst: float


def postprocess(options: PostprocessOptions) -> Findings:
    """Correlate two half-maps, sharpen their mean and write all of it.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    Findings

    Raises
    ------
    InputError
        Files cannot be read or written, do not fit each other, or options contradict each other.

    Source
    ------
    RELION Postprocessing::run.
    """
    _check(options)
    halves = _read(options)
    curve = None if options.mtf is None else read_mtf(options.mtf)
    mask = None
    if options.mask is not None:
        log.info("  + input mask:                    %s", options.mask)
        mask = read_mask(options.mask, options.i, halves.box_size)
    prepare_folder(options.o)
    transforms = [half_transform(volume) for volume in halves.volumes]
    unmasked = transform_correlation(*transforms)
    mean = transforms[0] + transforms[1]
    mean *= np.float32(0.5)
    masked = None
    if mask is None:
        halves.volumes.clear()
        transforms.clear()
    else:
        masked = _masked_curves(halves, transforms, mask, unmasked, options)
    fsc, resolution = _decide(unmasked, masked, halves, options)
    sharpened = sharpen(mean, halves.pixel_size_angst, fsc, options, curve)
    factor = sharpened.factor
    filtered = _lowpass(halves, resolution, options)
    if filtered is not None:
        scale_by_radius(mean, filtered)
        factor = factor * filtered
    write_volume(options.o, volume_of(mean), mask, halves.pixel_size_angst)
    del mean
    if options.half_maps:
        _write_halves(options, halves, factor, mask)
    findings = Findings(
        halves=halves.names, mask=options.mask, box_size=halves.box_size,
        pixel_size_angst=halves.pixel_size_angst, unmasked=unmasked, masked=masked, fsc=fsc,
        resolution_angst=resolution, bfactor=sharpened.bfactor, guinier=sharpened.guinier,
        mask_factor=_factor_of_mask(mask, halves.pixel_size_angst),
        molweight=options.molweight if options.molweight > 0 else None,
    )  # fmt: skip
    write_findings(options.o, findings)
    log.info("  + FINAL RESOLUTION:              %.6g", resolution)
    return findings


def _check(options: PostprocessOptions) -> None:
    if options.auto_bfac and options.adhoc_bfac != 0:
        raise InputError(
            f"found --auto_bfac and --adhoc_bfac {options.adhoc_bfac:g}, expected one of them; "
            "leave the other out"
        )
    if not options.o.name:
        raise InputError(f"--o {options.o}: expected the root of file names; add one")


def _read(options: PostprocessOptions) -> _Halves:
    names = (options.i, options.i2 or other_half(options.i))
    log.info("== Reading input half-reconstructions:")
    for number, name in enumerate(names, 1):
        log.info("  + half%d-map:                     %s", number, name)
    first, of_header = read_cube(names[0])
    pixel_size = chosen_pixel_size(names[0], options.angpix, of_header)
    second = read_like(names[1], names[0], first.shape[0])
    return _Halves(names, [first, second], first.shape[0], pixel_size)


def _first_random_shell(
    unmasked: NDArray[np.float64], halves: _Halves, options: PostprocessOptions
) -> int:
    """Find the shell from which phases are to be random."""
    if options.randomize_at > 0:
        shell = int(halves.box_size * halves.pixel_size_angst / options.randomize_at)
        if not 1 <= shell < unmasked.size:
            raise InputError(
                f"--randomize_at_A {options.randomize_at:g}: found shell {shell}, expected 1 to "
                f"{unmasked.size - 1}; choose a resolution between the box and Nyquist"
            )
        return shell
    below = np.flatnonzero(unmasked[1:] < options.randomize_at_fsc)
    if below.size == 0:
        raise InputError(
            f"{halves.names[0]}: found an unmasked FSC of {unmasked[1:].min():.3g} or more at all "
            f"shells, expected one that falls below {options.randomize_at_fsc:g}; say from where "
            "to randomise phases with --randomize_at_A or --randomize_at_fsc"
        )
    return int(below[0]) + 1


def _masked_curves(
    halves: _Halves,
    transforms: list[NDArray[np.complex64]],
    mask: NDArray[np.float32],
    unmasked: NDArray[np.float64],
    options: PostprocessOptions,
) -> MaskedCurves:
    """Use up the maps and their transforms."""
    first_shell = _first_random_shell(unmasked, halves, options)
    seed = options.random_seed if options.random_seed >= 0 else None
    log.info("== Masking input maps ...")
    masked_transforms = []
    while halves.volumes:
        volume = halves.volumes.pop(0)
        volume *= mask
        masked_transforms.append(half_transform(volume))
        del volume
    masked = transform_correlation(*masked_transforms)
    masked_transforms.clear()
    start = halves.box_size * halves.pixel_size_angst / first_shell
    log.info("  + randomize phases beyond:       %.6g Angstroms", start)
    random = randomised_masked_fsc(transforms, mask, first_shell, np.random.default_rng(seed))
    return MaskedCurves(masked, random, corrected_fsc(masked, random, first_shell), first_shell)


def _decide(
    unmasked: NDArray[np.float64],
    masked: MaskedCurves | None,
    halves: _Halves,
    options: PostprocessOptions,
) -> tuple[NDArray[np.float64], float]:
    """Choose the curve that counts, and read its resolution."""
    resolutions = shell_resolutions(halves.box_size, halves.pixel_size_angst)
    plain = shell_of_resolution(unmasked)
    if masked is None:
        return unmasked, float(resolutions[plain])
    shell = shell_of_resolution(masked.corrected)
    if plain > shell and not options.force_mask:
        log.warning(
            "the unmasked FSC reaches %.4g A, the corrected one %.4g A: the mask is not used for "
            "the resolution and the weights; make it wider or softer, or add --force_mask",
            resolutions[plain], resolutions[shell],
        )  # fmt: skip
        return unmasked, float(resolutions[plain])
    if masked.randomised[shell] > _HIGH_RANDOM_FSC:
        log.warning(
            "maps with random phases correlate by %.2f at the resolution, expected at most %g: "
            "the resolution may be wrong; use a softer mask with less detail",
            masked.randomised[shell], _HIGH_RANDOM_FSC,
        )  # fmt: skip
    return masked.corrected, float(resolutions[shell])


def _lowpass(
    halves: _Halves, resolution: float, options: PostprocessOptions
) -> NDArray[np.float64] | None:
    if options.low_pass == 0:
        return None
    cutoff = options.low_pass if options.low_pass > 0 else resolution
    log.info("== Low-pass filtering final map ...")
    log.info("  + filter frequency:              %.6g", cutoff)
    shell = shell_of_frequency(cutoff, halves.box_size, halves.pixel_size_angst)
    return lowpass_factor(sections_of(halves.box_size).radius(), shell, options.filter_edge_width)


def _factor_of_mask(mask: NDArray[np.float32] | None, pixel_size_angst: float) -> float | None:
    """Return the volume of the box over that of protein in the mask."""
    if mask is None:
        return None
    n_inside = int(np.count_nonzero(mask > 0.5))
    if n_inside == 0:
        return None
    factor = PROTEIN_SHARE * mask.size / n_inside
    kilodalton = n_inside * pixel_size_angst**3 * PROTEIN_DALTON_PER_CUBIC_ANGST / 1000.0
    log.info("  + fraction f (solvent mask based): %.6g", factor)
    log.info("  + molecular weight inside protein mask: %.6g kDa", kilodalton)
    return factor


def _write_halves(
    options: PostprocessOptions,
    halves: _Halves,
    factor: NDArray[np.float64],
    mask: NDArray[np.float32] | None,
) -> None:
    """Read the half-maps again: to keep them would take more memory than all else."""
    for number, name in enumerate(halves.names, 1):
        transform = half_transform(read_cube(name)[0])
        scale_by_radius(transform, factor)
        root = options.o.with_name(f"{options.o.name}_half{number}")
        write_volume(root, volume_of(transform), mask, halves.pixel_size_angst)
