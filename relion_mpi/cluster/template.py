"""Fill a batch script that has the variables of RELION's interface."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_VARIABLE = re.compile(r"XXX([A-Za-z]+\d*)XXX")


def filled(path: Path, values: Mapping[str, str]) -> str:
    """Fill a template; no field stays empty.

    Parameters
    ----------
    path
        Of the template.
    values
        By name of the variable, without XXX.

    Returns
    -------
    str
        The script. Lines of #SBATCH whose value is empty are left out.

    Raises
    ------
    InputError
        The file cannot be read, has no XXXcommandXXX, or a variable that is not known.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"--template {path}: cannot be read ({error.strerror})") from error
    names = set(_VARIABLE.findall(text))
    if "command" not in names:
        raise InputError(f"--template {path}: found no XXXcommandXXX, expected it once")
    unknown = sorted(names - set(values))
    if unknown:
        raise InputError(
            f"--template {path}: found XXX{unknown[0]}XXX, expected some of "
            f"{', '.join(f'XXX{name}XXX' for name in values)}; put a value in its place"
        )
    lines = []
    for line in text.splitlines():
        used = _VARIABLE.findall(line)
        if line.startswith("#SBATCH") and any(not values[name] for name in used):
            continue
        lines.append(_VARIABLE.sub(lambda match: values[match[1]], line))
    return "\n".join([*lines, ""])
