"""Options that contradict each other, or that are not there."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from relion_mpi.extract.options import ExtractOptions

_HELICAL = (
    "helix", "helical_outer_diameter", "helical_tubes", "helical_nr_asu", "helical_rise",
    "helical_bimodal_angular_priors", "helical_cut_into_segments",
)  # fmt: skip
_CTF = ("premultiply_ctf", "premultiply_extract_size", "ctf_intact_first_peak", "phase_flip")


def check_options(options: ExtractOptions) -> None:
    """Check what was asked for, without looking at files.

    Parameters
    ----------
    options
        What was asked for.

    Raises
    ------
    InputError
        Options that are not there, are missing or contradict each other.
    """
    if _given(options, _HELICAL):
        raise InputError(
            f"{_given(options, _HELICAL)}: helical segments are not extracted here; use "
            "relion_preprocess for these"
        )
    if _given(options, _CTF):
        raise InputError(
            f"{_given(options, _CTF)}: images are not multiplied by their CTF here; leave it out, "
            "or use relion_preprocess for these"
        )
    if options.project3d:
        raise InputError("--project3d: sub-tomograms are not read here; use relion_preprocess")
    if options.operate_on is not None:
        return
    if not options.extract:
        raise InputError("found neither --extract nor --operate_on, expected one of them; add it")
    if options.i is None:
        raise InputError("--i is required with --extract: STAR file of the micrographs")
    if options.extract_size <= 0 or options.extract_size % 2:
        raise InputError(
            f"--extract_size {options.extract_size}: expected an even number of pixels above 0"
        )
    _check_again(options)


def _check_again(options: ExtractOptions) -> None:
    """Check what goes with --reextract_data_star."""
    if options.recenter and options.reset_offsets:
        raise InputError(
            "found --recenter and --reset_offsets, expected one of them: the second one leaves "
            "windows where they are; leave it out to move them"
        )
    alone = [
        f"--{name}"
        for name in ("recenter", "reset_offsets", "keep_ctfs_micrographs")
        if getattr(options, name)
    ]
    if alone and options.reextract_data_star is None:
        raise InputError(
            f"found {', '.join(alone)} without --reextract_data_star, expected the _data.star of a "
            "refinement; add it"
        )


def _given(options: ExtractOptions, names: tuple[str, ...]) -> str:
    """Return the flags among some that are there."""
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    return ", ".join(f"--{name}" for name in names if getattr(options, name) != defaults[name])
