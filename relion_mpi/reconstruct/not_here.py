"""Options of relion_reconstruct that are not taken, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_EWALD = "the Ewald sphere is not corrected for here"
_HELIX = "helical symmetry is not there"
_KERNEL = "the gridding kernel is RELION's default one"
_TRIAL = "it is for trials of the program, not for maps"

REASONS = {
    "ewald": _EWALD, "mask_diameter": _EWALD, "width_mask_edge": _EWALD,
    "reverse_curvature": _EWALD, "newbox": _EWALD, "sectors": _EWALD, "skip_mask": _EWALD,
    "skip_weighting": _EWALD,
    "nr_helical_asu": _HELIX, "helical_rise": _HELIX, "helical_twist": _HELIX,
    "NN": "images are put in place by linear interpolation only",
    "blob_r": _KERNEL, "blob_m": _KERNEL, "blob_a": _KERNEL,
    "subtract": "subtract first, with relion-mpi subtract",
    "refdim": "only maps are made; relion-mpi class2d makes averages of images",
    "angular_error": _TRIAL, "shift_error": _TRIAL, "reconstruct_noise": _TRIAL,
    "debug": _TRIAL, "debug_ori_size": _TRIAL, "debug_size": _TRIAL, "read_weights": _TRIAL,
    "write_debug_output": _TRIAL,
    "fom_weighting": "all particles have the weight that their CTF gives them",
    "fsc": "maps are not regularised here; relion-mpi postprocess weights a map by its FSC",
    "3d_rot": "subtomograms are not read",
    "reconstruct_ctf": "only images are reconstructed", "ctf2": "only images are reconstructed",
    "external_reconstruct": "no other program is called",
}  # fmt: skip
"""Name of a flag -> what to know."""


def refused(words: Sequence[str]) -> list[str]:
    """Return the words of a command line, if none of them is such an option.

    Parameters
    ----------
    words
        After the command's name.

    Raises
    ------
    InputError
        For the first one that is.
    """
    for word in words:
        name = word.partition("=")[0].removeprefix("--")
        reason = REASONS.get(name.replace("-", "_")) if word.startswith("--") else None
        if reason is not None:
            raise InputError(
                f"--{name}: found an option of relion_reconstruct that is not taken ({reason}); "
                "leave it out, or use relion_reconstruct"
            )
    return list(words)
