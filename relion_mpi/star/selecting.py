"""Rows that are kept: by a number, by text, by what their images look like."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.core.progress import Progress
from relion_mpi.dataset.stack_index import find_images
from relion_mpi.star.table import IMAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.star.options import StarOptions
    from relion_mpi.star.table import StarTable

log = logging.getLogger(__name__)


def within_range(table: StarTable, options: StarOptions) -> NDArray[np.bool_]:
    """Tell whose number lies within --minval and --maxval, both included.

    Parameters
    ----------
    table
        Rows.
    options
        Column and bounds.

    Returns
    -------
    bool (n_rows,)
    """
    assert options.select is not None
    values = table.numbers(options.select, "--select")
    return (values >= options.minval) & (values <= options.maxval)


def with_text(table: StarTable, options: StarOptions) -> NDArray[np.bool_]:
    """Tell whose text has --select_include, or has not --select_exclude.

    Parameters
    ----------
    table
        Rows.
    options
        Column and text.

    Returns
    -------
    bool (n_rows,)

    Raises
    ------
    InputError
        Not exactly one text is given.
    """
    assert options.select_by_str is not None
    text = table.column(options.select_by_str, "--select_by_str").cast(pl.String)
    included, excluded = options.select_include, options.select_exclude
    if (included is None) == (excluded is None):
        raise InputError(
            f"--select_by_str {options.select_by_str}: found "
            f"{'neither' if included is None else 'both'} of --select_include and "
            "--select_exclude, expected one"
        )
    there = text.str.contains(included or excluded or "", literal=True).to_numpy()
    return np.asarray(there if included is not None else ~there, np.bool_)


def like_the_others(table: StarTable, options: StarOptions) -> NDArray[np.bool_]:
    """Tell whose image has a mean and a standard deviation within the ensemble's.

    Parameters
    ----------
    table
        Rows.
    options
        Column of images and number of standard deviations.

    Returns
    -------
    bool (n_rows,)

    Raises
    ------
    InputError
        An image cannot be read.

    Notes
    -----
    Source: relion_star_handler --discard_on_stats, with which tests compare.
    """
    label = table.column(options.discard_label, "--discard_label").name
    rows = table.checked()
    if label != IMAGE:
        names = rows.frame[label]
        rows = type(rows)(
            rows.path, rows.name, rows.frame.with_columns(names.alias(IMAGE)), rows.row_numbers
        )
    images = find_images(rows, Path.cwd())
    means, deviations = np.empty(rows.frame.height), np.empty(rows.frame.height)
    order = np.lexsort((images.image_index, images.stack_file))
    with Progress(order.size, "Statistics of images") as progress:
        for file in range(len(images.paths)):
            header = images.headers[file]
            with images.paths[file].open("rb") as handle:
                for row in order[images.stack_file[order] == file]:
                    start = int(images.image_index[row]) * header.image_bytes
                    handle.seek(header.data_offset + start)
                    pixels = np.fromfile(handle, header.dtype, header.ny * header.nx)
                    means[row] = pixels.mean(dtype=np.float64)
                    deviations[row] = pixels.std(dtype=np.float64)
                    progress.update()
    good = np.ones(order.size, np.bool_)
    for name, values in (("mean", means), ("standard deviation", deviations)):
        centre, spread = values.mean(), values.std()
        log.info("%s of an image: %.6g, standard deviation %.6g", name, centre, spread)
        good &= np.abs(values - centre) <= options.discard_sigma * spread
    return good
