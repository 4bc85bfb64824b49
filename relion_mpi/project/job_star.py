"""job.star: what RELION's interface would show of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from relion_mpi.project.commands import input_nodes, named
from relion_mpi.project.kinds import PROCESSES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relion_mpi.io.star import Block
    from relion_mpi.project.commands import Command
    from relion_mpi.project.place import Place

_DEGREES = (30, 15, 7.5, 3.7, 1.8, 0.9, 0.5, 0.2, 0.1)
_MOST_PARAMETERS = 10


def _step(field: str) -> Callable[[Any], str]:
    """Say a step as the interface does: that of the second pass."""
    return lambda options: _text(getattr(options, field) / 2**options.oversampling)


def _order(field: str) -> Callable[[Any], str]:
    def text(options: Any) -> str:
        at = getattr(options, field) + options.oversampling - 1
        return f"{_DEGREES[min(max(at, 0), len(_DEGREES) - 1)]:g} degrees"

    return text


# The interface's variable -> the option that it stands for, or how to find its value.
_SAYS: dict[str, str | Callable[[Any], str]] = {
    "fn_img": "i", "fn_cont": "continue_", "fn_ref": "ref", "fn_mask": "solvent_mask",
    "ini_high": "ini_high", "sym_name": "sym", "particle_diameter": "particle_diameter",
    "do_ctf_correction": "ctf", "ctf_intact_first_peak": "ctf_intact_first_peak",
    "do_zero_mask": "zero_mask", "do_solvent": "flatten_solvent",
    "do_solvent_fsc": "solvent_correct_fsc", "auto_faster": "auto_ignore_angles",
    "nr_classes": "K", "nr_iter": lambda options: _text(options.last_iteration),
    "tau_fudge": "tau2_fudge",
    "highres_limit": "strict_highres_exp", "do_fast_subsets": "fast_subsets",
    "skip_gridding": "skip_gridding", "offset_range": "offset_range",
    "do_preread_images": "preread_images", "gpu_ids": "gpu",
    "offset_step": _step("offset_step"), "psi_sampling": _step("psi_step"),
    "sampling": _order("healpix_order"), "auto_local_sampling": _order("auto_local_healpix_order"),
    "dont_skip_align": lambda options: _text(not options.skip_align),
    "ref_correct_greyscale": lambda options: _text(not options.firstiter_cc),
    "do_pad1": lambda options: _text(options.pad == 1),
    "do_local_ang_searches": lambda options: _text(options.sigma_ang > 0),
    "use_gpu": lambda options: _text(options.gpu is not None),
    "nr_threads": lambda options: _text(max(options.j, 1)),
    "fn_in": "i", "lowpass_filter": "lowpass", "angpix": "angpix",
    "inimask_threshold": "ini_threshold", "extend_inimask": "extend_inimask",
    "width_mask_edge": "width_soft_edge", "fn_mtf": "mtf", "mtf_angpix": "mtf_angpix",
    "do_auto_bfac": "auto_bfac", "autob_lowres": "autob_lowres",
    "do_skip_fsc_weighting": "skip_fsc_weighting", "low_pass": "low_pass",
}  # fmt: skip

_ITERATING = (
    "fn_img", "fn_cont", "particle_diameter", "do_ctf_correction", "ctf_intact_first_peak",
    "offset_range", "offset_step", "do_preread_images", "use_gpu", "gpu_ids", "nr_threads",
)  # fmt: skip
_WITH_MAPS = (*_ITERATING, "sym_name", "sampling", "skip_gridding", "do_pad1")
_WITH_REFERENCE = (
    *_WITH_MAPS, "fn_ref", "fn_mask", "ini_high", "ref_correct_greyscale", "do_zero_mask",
)  # fmt: skip
_CLASSES = (
    "nr_classes", "nr_iter", "tau_fudge", "highres_limit", "do_fast_subsets", "dont_skip_align",
    "do_zero_mask",
)  # fmt: skip
_VARIABLES = {
    "Refine3D": (*_WITH_REFERENCE, "auto_local_sampling", "do_solvent_fsc", "auto_faster"),
    "Class3D": (*_WITH_REFERENCE, *_CLASSES, "do_local_ang_searches"),
    "Class2D": (*_ITERATING, *_CLASSES, "psi_sampling"),
    "InitialModel": (*_WITH_MAPS, "nr_classes", "do_solvent"),
    "MaskCreate": (
        "fn_in", "lowpass_filter", "angpix", "inimask_threshold", "extend_inimask",
        "width_mask_edge",
    ),
    "PostProcess": (
        "fn_in", "fn_mask", "angpix", "fn_mtf", "mtf_angpix", "do_auto_bfac", "autob_lowres",
        "do_skip_fsc_weighting", "low_pass",
    ),
}  # fmt: skip
"""Variables of a kind of job; RELION fills in others itself."""


def job_star(
    place: Place, name: str, command: Command, options: Any, words: Sequence[str], *, numbers: bool
) -> dict[str, Block]:
    """Make the tables of job.star.

    Parameters
    ----------
    place
        Folder of the job; its kind decides which variables there are.
    name
        Command as it was typed.
    command
        What is told of it.
    options
        Its options.
    words
        Words after the command.
    numbers
        Whether kinds are numbers, as in RELION 3.1, or labels.

    Returns
    -------
    dict
        For `relion_mpi.io.star.write_star`.
    """
    kind = PROCESSES[place.kind]
    continued = int(getattr(options, "continue_", None) is not None)
    general: dict[str, str] = (
        {"rlnJobType": str(kind.number)} if numbers else {"rlnJobTypeLabel": kind.label}
    )
    general["rlnJobIsContinue"] = str(continued)
    if not numbers:
        general["rlnJobIsTomo"] = "0"
    if place.kind == "External":
        values = _external(name, command, options, words)
    elif place.kind == "Select":
        values = {"fn_data": named(input_nodes(command, options), "particles")}
    elif place.kind == command.kind:
        values = _own(place.kind, options)
    else:
        values = {}
    values.setdefault("other_args", "")
    table = {"rlnJobOptionVariable": list(values), "rlnJobOptionValue": list(values.values())}
    return {
        "job": general,
        "joboptions_values": pl.DataFrame(table, schema=dict.fromkeys(table, pl.String)),
    }


def _own(kind: str, options: Any) -> dict[str, str]:
    values = {}
    for variable in _VARIABLES.get(kind, ()):
        says = _SAYS[variable]
        if variable == "fn_mask" and kind == "PostProcess":
            says = "mask"
        try:
            values[variable] = _text(getattr(options, says)) if isinstance(says, str) else says(
                options
            )
        except (AttributeError, TypeError):  # there is no such option, or a line leaves it open
            continue
    return values


def _external(
    name: str, command: Command, options: Any, words: Sequence[str]
) -> dict[str, str]:
    nodes = input_nodes(command, options)
    values = {
        "fn_exe": f"relion-mpi {name}",
        "in_part": named(nodes, "particles"),
        "in_3dref": named(nodes, "map") or named(nodes, "half map"),
        "in_mask": named(nodes, "mask"),
    }
    known = {f"--{field}" for field, _ in command.inputs}
    known |= {f"--{command.output}", "--j", "--pipeline_control"}
    rest = [pair for pair in _pairs(words) if pair[0] not in known]
    for number, (flag, value) in enumerate(rest[:_MOST_PARAMETERS], 1):
        values[f"param{number}_label"] = flag.lstrip("-")
        values[f"param{number}_value"] = value
    values["other_args"] = " ".join(f"{flag} {value}" for flag, value in rest[_MOST_PARAMETERS:])
    return values


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Put flags and what follows them together."""
    pairs: list[tuple[str, str]] = []
    for word in words:
        if word.startswith("--"):
            flag, _, value = word.partition("=")
            pairs.append((flag, value))
        elif pairs:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]} {word}".strip())
    return pairs


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)
