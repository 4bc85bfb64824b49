"""The original images of particles from which something was subtracted."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.columns import Table
from relion_mpi.dataset.stack_index import find_images
from relion_mpi.io.star import read_star, write_star
from relion_mpi.subtract.output import IMAGE, ORIGINAL

if TYPE_CHECKING:
    from relion_mpi.subtract.options import SubtractOptions

log = logging.getLogger(__name__)

REVERTED = "original.star"


def revert(options: SubtractOptions) -> None:
    """Write a table whose images are the original ones, all else kept.

    Parameters
    ----------
    options
        --revert and --o.

    Raises
    ------
    InputError
        The table has no original images, or they are not there.
    """
    path = options.revert
    assert path is not None
    blocks = read_star(path)
    frame = blocks.get("particles")
    if not isinstance(frame, pl.DataFrame) or not {IMAGE, ORIGINAL} <= set(frame.columns):
        raise InputError(
            f"--revert {path}: found no particles with {IMAGE} and {ORIGINAL}, expected the table "
            "of a subtraction; choose another"
        )
    names = frame[IMAGE], frame[ORIGINAL]
    frame = frame.with_columns(names[1].alias(IMAGE), names[0].alias(ORIGINAL))
    table = Table(path, "particles", frame, np.arange(1, frame.height + 1))
    images = find_images(table, Path.cwd())
    optics = blocks.get("optics")
    if isinstance(optics, pl.DataFrame) and "rlnImageSize" in optics.columns:
        side = np.array([header.nx for header in images.headers])[images.stack_file]
        group = table.integers("rlnOpticsGroup", 1)
        sizes = optics["rlnImageSize"].to_numpy().copy()
        for row, number in enumerate(optics["rlnOpticsGroup"]):
            mine = np.unique(side[group == number])
            if mine.size > 1:
                raise InputError(
                    f"--revert {path}: found original images of {mine.tolist()} pixels in optics "
                    f"group {number}, expected one size; revert the parts one by one"
                )
            sizes[row] = mine[0] if mine.size else sizes[row]
        blocks["optics"] = optics.with_columns(pl.Series("rlnImageSize", sizes))
    options.o.mkdir(parents=True, exist_ok=True)
    write_star(options.o / REVERTED, {**blocks, "particles": frame})
    log.info(
        "%s: %d particles; origins are those of the table: if the subtraction recentred them, they "
        "are those of the subtracted images", options.o / REVERTED, frame.height,
    )  # fmt: skip
