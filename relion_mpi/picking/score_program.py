"""How good picks are: precision, recall, and the curve over thresholds."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.columns import Table
from relion_mpi.io.atomic import replacing
from relion_mpi.io.star import read_star, write_star
from relion_mpi.picking.matching import Coordinates, Counts, counts_at, curve
from relion_mpi.picking.micrographs import read_micrographs
from relion_mpi.plots.style import BLUE, VERMILION, legend, new_axis, plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.picking.score_options import PickScoreOptions

log = logging.getLogger(__name__)

X, Y, MERIT = "rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit"
SIZE_INCH = (6.4, 4.4)


def score_picks(options: PickScoreOptions) -> Counts:
    """Compare picks with the truth, and print one line.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    Counts
        At the threshold that was asked for.

    Raises
    ------
    InputError
        Files cannot be read, or no picks belong to any of them.
    """
    if options.border > 0 and options.i is None:
        raise InputError(
            "--border: found no micrographs, expected them as --i, for their sizes are needed"
        )
    sizes: dict[str, tuple[int, int]] = {}
    if options.i is not None:
        sizes = {Path(one.name).stem: one.shape for one in read_micrographs(options.i)}
    found = _picks_by_name(options)
    micrographs = [_one(path, found, sizes, options) for path in options.truth]
    thresholds, counts = curve(micrographs, options.cutoff)
    threshold = -np.inf if options.threshold is None else options.threshold
    if options.best and counts:
        threshold = float(thresholds[int(np.argmax([one.f1 for one in counts]))])
        log.info("best threshold %.4f", threshold)
    here = counts_at(micrographs, threshold, options.cutoff)
    log.info("%d particles, %d picks, %d pairs", here.n_truth, here.n_pick, here.n_pair)
    sys.stdout.write(
        f"precision {here.precision:.4f} recall {here.recall:.4f} fdr {here.fdr:.4f} "
        f"f1 {here.f1:.4f}\n"
    )
    if options.o is not None:
        _write(options.o, thresholds, counts, here)
    return here


def _picks_by_name(options: PickScoreOptions) -> dict[str, Path]:
    """Find the coordinate files by the name of their micrograph."""
    ending = f"_{options.pickname}.star"
    paths = sorted(options.picks.rglob(f"*{ending}")) if options.picks.is_dir() else []
    found: dict[str, Path] = {}
    for path in paths:
        name = path.name.removesuffix(ending)
        if name in found:
            raise InputError(
                f"{options.picks}: found {found[name]} and {path} for one micrograph, expected one "
                "file; give the folder of one job"
            )
        found[name] = path
    if not found:
        raise InputError(
            f"--picks {options.picks}: found no file *{ending}, expected the folder of a picking "
            "job; see --pickname"
        )
    return found


def _one(
    path: Path,
    found: dict[str, Path],
    sizes: dict[str, tuple[int, int]],
    options: PickScoreOptions,
) -> Coordinates:
    """Read what belongs to one micrograph."""
    stem = path.stem
    names = [stem, stem.rpartition("_")[0]]
    truth, _ = _read(path)
    picks, merit = np.empty((0, 2)), np.empty(0)
    name = next((one for one in names if one in found), None)
    if name is None:
        log.warning("%s: nothing was picked in this micrograph", path)
    else:
        picks, merit = _read(found[name])
    if options.border > 0:
        name = next((one for one in names if one in sizes), None)
        if name is None:
            raise InputError(
                f"{path}: found no micrograph {' or '.join(names)} in --i, expected it for its size"
            )
        truth = truth[_inside(truth, sizes[name], options.border)]
        inside = _inside(picks, sizes[name], options.border)
        picks, merit = picks[inside], merit[inside]
    return Coordinates(truth, picks, merit)


def _read(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read coordinates, and figures of merit, which are 0 where there are none."""
    tables = {k: one for k, one in read_star(path).items() if isinstance(one, pl.DataFrame)}
    name = next((k for k, one in tables.items() if {X, Y} <= set(one.columns)), None)
    if name is None:
        raise InputError(f"{path}: found no table with {X} and {Y}, expected coordinates")
    frame = tables[name]
    table = Table(path, name, frame, np.arange(1, frame.height + 1))
    points = np.stack([table.numbers(label, 0.0, finite=True) for label in (X, Y)], axis=1)
    return points, table.numbers(MERIT, 0.0, finite=True)


def _inside(
    points: NDArray[np.float64], shape: tuple[int, int], border: float
) -> NDArray[np.bool_]:
    last = np.array([shape[1], shape[0]]) - 1
    inside = (points >= border) & (points <= last - border)
    return inside[:, 0] & inside[:, 1]


def _write(root: Path, thresholds: NDArray[np.float64], counts: list[Counts], here: Counts) -> None:
    """Write the curve as numbers and as a picture."""
    root.parent.mkdir(parents=True, exist_ok=True)
    table = pl.DataFrame({
        "rlnAutopickFigureOfMerit": thresholds,
        "picks": [one.n_pick for one in counts],
        "pairs": [one.n_pair for one in counts],
        "precision": [one.precision for one in counts],
        "recall": [one.recall for one in counts],
        "fdr": [one.fdr for one in counts],
        "f1": [one.f1 for one in counts],
    })  # fmt: skip
    write_star(root.with_suffix(".star"), {"pick_score": table})
    with replacing(root.with_suffix(".csv")) as temporary:
        table.write_csv(temporary)
    axis = new_axis(*SIZE_INCH)
    axis.plot(table["recall"], table["precision"], color=BLUE, linewidth=1.6)
    label = f"precision {here.precision:.3f}, recall {here.recall:.3f}, F1 {here.f1:.3f}"
    axis.plot(here.recall, here.precision, "o", color=VERMILION, label=label, clip_on=False)
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    axis.set_title(f"{root.name}: picks above a threshold", fontsize=10)
    plain(axis)
    legend(axis, loc="lower left")
    with replacing(root.with_suffix(".png")) as temporary:
        axis.figure.savefig(temporary, format="png", dpi=130)
