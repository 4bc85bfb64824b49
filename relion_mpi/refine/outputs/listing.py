"""Values of a STAR list, as text that RELION reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_RESOLUTION_ANGST = 999.0


def listing(values: Mapping[str, object]) -> dict[str, str]:
    """Format the values of a list.

    Parameters
    ----------
    values
        Label to value: flags become 0 or 1, None the word that RELION uses for no file, numbers
        the fewest digits that read back the same.

    Returns
    -------
    dict
        Label to text, in the same order.
    """
    return {f"rln{label}": _text(value) for label, value in values.items()}


def resolution_angst(per_angst: float) -> float:
    """Return a resolution in Angstrom, 999 for none.

    Parameters
    ----------
    per_angst
        Spatial frequency, 1/Angstrom.

    Returns
    -------
    float
        Angstrom; finite, as not every reader of STAR files takes `inf` for a number.
    """
    return 1.0 / per_angst if per_angst > 0 and math.isfinite(per_angst) else NO_RESOLUTION_ANGST


def _text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return repr(float(value))
    return str(value)
