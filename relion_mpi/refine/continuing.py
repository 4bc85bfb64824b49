"""Go on with a run from the state that one of its iterations left."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, declarations, options_as_dict
from relion_mpi.refine.checkpoint import read_command, read_options, read_state
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.initial_model_options import InitialModelOptions
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.outputs.names import (
    OPTIMISER,
    STATE,
    newest_optimiser,
    state_beside,
    states_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relion_mpi.dataset.particles import Particles
    from relion_mpi.refine.checkpoint import Saved
    from relion_mpi.refine.common_options import CommonOptions

log = logging.getLogger(__name__)

MAY_CHANGE = (
    "o", "j", "gpu", "free_gpu_memory", "auto_iter_max", "iter", "tau2_fudge", "solvent_mask",
    "preread_images", "preread_half", "precision", "batch", "checkpoint_minutes", "scratch_dir",
    "keep_free_scratch", "reuse_scratch", "keep_scratch", "report",
)  # fmt: skip
"""Options that may be given anew; the others would make it another run."""

COLUMNS = (
    "half", "rot_deg", "tilt_deg", "psi_deg", "origin_angst", "class_number", "norm_correction",
    "log_likelihood", "max_value_prob", "n_significant",
)  # fmt: skip
"""Columns of Particles that are not what the particle file says."""

_GROUPS = ("scale_group", "optics_group")
_NEEDED_IN_LINES = {
    "refine3d": ("auto_refine", "split_random_halves"), "initialmodel": ("denovo_3dref", "grad"),
}  # fmt: skip
_COMMANDS = {
    RefineOptions: "refine3d", Class3DOptions: "class3d", Class2DOptions: "class2d",
    InitialModelOptions: "initialmodel",
}  # fmt: skip
_NO_VALUE = "None"  # RELION's word for an option that is taken back
AUTO = "auto"
"""Word after --continue for the newest state of --o, or a new run where there is none."""


def with_saved_options(words: Sequence[str], cls: type[Any]) -> list[str]:
    """Add the options of the run that is continued to a command line that has --continue.

    Parameters
    ----------
    words
        Words after the command.
    cls
        Dataclass of the command's options.

    Returns
    -------
    list of str
        The same words without --continue; else a whole line in which given options come first.

    Raises
    ------
    InputError
        There is nothing to go on from, or a word cannot be read.
    """
    parser = OptionParser("relion-mpi")
    add_to_parser(parser, cls)
    given = vars(parser.read(words))
    if given["continue_"] == AUTO:
        found = _newest(given["o"])
        if found is None:
            return _without_continue(words)
        given["continue_"] = str(found)
    if not isinstance(given["continue_"], str):
        return list(words)
    state = state_to_read(given["continue_"])
    saved, command = read_options(state), read_command(state)
    if _COMMANDS.get(cls, command) != command:
        raise InputError(
            f"--continue {given['continue_']}: it is a run of {command}, expected one of "
            f"{_COMMANDS[cls]}; go on with relion-mpi {command}"
        )
    line = []
    for name, said in declarations(cls).items():
        value = given[name]
        if not isinstance(value, str | bool | list):  # not given
            value = True if name in _NEEDED_IN_LINES.get(command, ()) else saved.get(name)
        if value is None or (value == _NO_VALUE and name in MAY_CHANGE):
            continue
        if isinstance(value, bool):
            line += [said.flag] if value else [str(said.negate)] if said.negate else []
        else:
            line.append(f"{said.flag}={value}")
    return line


def _newest(root: Any) -> Path | None:
    """Return the optimiser file whose state was written last, of the run with this --o."""
    if not isinstance(root, str):
        raise InputError(
            f"--continue {AUTO}: found no --o, expected that of the run, whose newest state is "
            "looked for; give --o, or the run_itNNN_optimiser.star to go on from"
        )
    return newest_optimiser(Path(root))


def _without_continue(words: Sequence[str]) -> list[str]:
    kept = [word for word in words if word != f"--continue={AUTO}"]
    if "--continue" in kept:
        place = kept.index("--continue")
        del kept[place : place + 2]
    return kept


def state_to_read(optimiser: str | Path) -> Path:
    """Find the state beside an optimiser file.

    Parameters
    ----------
    optimiser
        run_itNNN_optimiser.star.

    Returns
    -------
    Path
        The state file; it exists.

    Raises
    ------
    InputError
        There is no such file, or no state beside it.
    """
    path = state_beside(optimiser)
    if path is None:
        raise InputError(
            f"--continue {optimiser}: found another name, expected one that ends with "
            f"_itNNN{OPTIMISER}; give the optimiser file of the iteration to go on from"
        )
    if path.is_file():
        return path
    root = path.with_name(path.name.removesuffix(STATE).rpartition("_it")[0])
    left = [str(one.with_name(one.name.replace(STATE, OPTIMISER))) for _, one in states_of(root)]
    cure = f"go on from {' or '.join(left)}" if left else (
        "a run of RELION is continued by relion_refine; otherwise start anew with --i, --ref and "
        "--o"
    )  # fmt: skip
    what = "there is no such file and" if not path.with_name(
        path.name.replace(STATE, OPTIMISER)
    ).is_file() else "found"  # fmt: skip
    raise InputError(
        f"--continue {optimiser}: {what} no {path.name} beside it, which relion-mpi writes for the "
        f"last two iterations; {cure}"
    )


def words_to_go_on(optimiser: Path, root: Path) -> list[str]:
    """Return the options with which a run that ended early is continued.

    Parameters
    ----------
    optimiser
        Of its last iteration; of the run before where it ended within its first one.
    root
        Its --o.
    """
    before = optimiser.with_name(optimiser.name.removesuffix(OPTIMISER).rpartition("_it")[0])
    is_new = before.resolve() != root.resolve()
    return ["--continue", str(optimiser), *(["--o", str(root)] if is_new else [])]


def saved_to_continue(options: CommonOptions) -> Saved:
    """Read the state to go on from and hold the options against it.

    Parameters
    ----------
    options
        With --continue.

    Returns
    -------
    Saved
        The state.

    Raises
    ------
    InputError
        The state is broken, an option is not the run's, or no iteration is left to do.
    """
    assert options.continue_ is not None
    saved = read_state(state_to_read(options.continue_))
    _refuse_changes(options, saved)
    if saved.iteration >= options.last_iteration:
        flag = "--auto_iter_max" if isinstance(options, RefineOptions) else "--iter"
        raise InputError(
            f"--continue {options.continue_}: iteration {saved.iteration} was the last one of "
            f"{flag} {options.last_iteration}; give a larger {flag} to go on"
        )
    final = options.o.with_name(f"{options.o.name}_data.star")
    if final.exists():
        log.warning(
            "%s is there: a run of this name has finished; what follows iteration %d is done "
            "again and the final files are replaced", final, saved.iteration,
        )  # fmt: skip
    log.info("Going on after iteration %d: %s", saved.iteration, saved.path)
    return saved


def restore_particles(particles: Particles, saved: Saved) -> None:
    """Give particles the values that the run had found for them.

    Parameters
    ----------
    particles
        As read from the particle file; changed in place.
    saved
        State of the run.

    Raises
    ------
    InputError
        The file's particles are not those of the run.
    """
    columns = saved.run.particles
    n_saved = columns["half"].size
    if particles.n_particles != n_saved:
        found = f"found {particles.n_particles} particles, expected {n_saved}"
    elif names_sha256(particles) != saved.run.names_sha256:
        found = "found other image names, or another order of them"
    elif any(not np.array_equal(getattr(particles, name), columns[name]) for name in _GROUPS):
        found = "found other optics groups or micrographs"
    else:
        set_columns(particles, columns)
        return
    raise InputError(
        f"{particles.path}: {found} than when {saved.path} was written; put the file of that run "
        "back, or start anew without --continue"
    )


def set_columns(particles: Particles, columns: Mapping[str, Any]) -> None:
    """Give particles the values of `particle_columns`.

    Parameters
    ----------
    particles
        Changed in place.
    columns
        Array by name; become the particles' own.
    """
    for name in COLUMNS:
        setattr(particles, name, columns[name])


def particle_columns(particles: Particles) -> dict[str, Any]:
    """Copy what `restore_particles` needs.

    Parameters
    ----------
    particles
        Of the run.

    Returns
    -------
    dict
        Array by name.
    """
    return {name: getattr(particles, name).copy() for name in COLUMNS + _GROUPS}


def names_sha256(particles: Particles) -> str:
    """Return a checksum of the image names in their order.

    Parameters
    ----------
    particles
        Of the run.

    Returns
    -------
    str
        Hexadecimal.
    """
    names = particles.frame["rlnImageName"].to_list()
    return hashlib.sha256("\n".join(map(str, names)).encode()).hexdigest()


def _refuse_changes(options: CommonOptions, saved: Saved) -> None:
    """Refuse an option whose new value would make it another run."""
    said = declarations(type(options))
    for name, value in options_as_dict(options).items():
        before = saved.options.get(name, value)
        if name in MAY_CHANGE or name not in saved.options or value == before:
            continue
        allowed = ", ".join(said[one].flag for one in MAY_CHANGE if one in said)
        raise InputError(
            f"{said[name].flag}: found {value}, but the run that is continued has {before}; leave "
            f"it out, or start anew without --continue (only {allowed} may change)"
        )
