"""The averages of chosen 2D classes, as a table that other jobs read as templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.select.files import CLASSES, read_classes

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from relion_mpi.io.star import Block

_IMAGE = "rlnReferenceImage"


def selected_averages(model: Path, wanted: list[int]) -> dict[str, Block]:
    """List the averages of classes as RELION's class_averages.star does.

    Parameters
    ----------
    model
        `..._model.star` of a 2D classification.
    wanted
        Numbers of classes from 1.

    Returns
    -------
    dict
        The model's rows of these classes, in order.

    Raises
    ------
    InputError
        There is no such table, or its references are maps.
    """
    table: pl.DataFrame = read_classes(model)
    names = table[_IMAGE].to_list() if _IMAGE in table.columns else [""]
    if not all("@" in str(name) for name in names):
        raise InputError(
            f"{model}: found {_IMAGE} {names[0]}, expected images of a stack such as "
            "000001@run_it025_classes.mrcs: only 2D classes have averages; leave out "
            "--fn_sel_classavgs"
        )
    return {CLASSES: table[[number - 1 for number in wanted]]}
