"""Time reading and writing a particle table of a million rows, beside starfile on a small one.

Run: python benchmarks/io/star_million.py [rows]
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import starfile

from relion_mpi.io.star import read_star, write_star

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("star_million")
N_STARFILE = 20_000
FLOATS = (
    "CoordinateX CoordinateY DefocusU DefocusV DefocusAngle PhaseShift CtfBfactor CtfScalefactor "
    "CtfFigureOfMerit CtfMaxResolution AngleRot AngleTilt AnglePsi OriginXAngst OriginYAngst "
    "NormCorrection LogLikeliContribution MaxValueProbDistribution AutopickFigureOfMerit"
).split()


def particle_table(n: int) -> pl.DataFrame:
    """Make a table of `n` rows and 27 columns, floats with six decimals as RELION writes them."""
    rng = np.random.default_rng(1)
    index, micrograph = np.arange(n) % 200 + 1, np.arange(n) // 200
    frame = pl.DataFrame({"i": index, "m": micrograph})
    name = pl.format("MotionCorr/job002/Movies/mic_{}.mrc", pl.col("m"))
    image = pl.format("{}@Extract/job010/Movies/mic_{}.mrcs", pl.col("i"), pl.col("m"))
    frame = frame.select(image.alias("rlnImageName"), name.alias("rlnMicrographName"))
    floats = {f"rln{x}": np.round(rng.uniform(-180, 20000, n), 6) for x in FLOATS}
    integers = {
        "rlnOpticsGroup": np.ones(n, np.int64),
        "rlnGroupNumber": micrograph + 1,
        "rlnClassNumber": rng.integers(1, 7, n),
        "rlnRandomSubset": rng.integers(1, 3, n),
        "rlnNrOfSignificantSamples": rng.integers(1, 500, n),
        "rlnBeamTiltClass": np.ones(n, np.int64),
    }
    return frame.with_columns(**floats, **integers)


def pad_like_relion(source: Path, target: Path) -> None:
    """Widen every value to 13 characters, the layout that RELION itself writes."""
    with source.open() as lines, target.open("w") as out:
        for line in lines:
            words = line.split()
            wide = len(words) > 2
            out.write(" ".join(f"{word:>12}" for word in words) + " \n" if wide else line)


def timed(what: str, action: Callable[[], object]) -> None:
    """Run `action` once and log the seconds."""
    start = time.perf_counter()
    action()
    log.info("%-44s %6.2f s", what, time.perf_counter() - start)


def main() -> None:
    """Write, read, pad, read again; then starfile on its share."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    frame = particle_table(n)
    with tempfile.TemporaryDirectory() as folder:
        plain, padded, small = (Path(folder) / f"{x}.star" for x in ("plain", "padded", "small"))
        timed(f"write_star {n} x {frame.width}", lambda: write_star(plain, {"particles": frame}))
        log.info("%-44s %6.0f MB", "file", plain.stat().st_size / 1e6)
        timed("read_star, own layout", lambda: read_star(plain))
        pad_like_relion(plain, padded)
        log.info("%-44s %6.0f MB", "file", padded.stat().st_size / 1e6)
        timed("read_star, RELION's padded layout", lambda: read_star(padded))
        write_star(small, {"particles": frame.head(N_STARFILE)})
        table = starfile.read(small)
        timed(f"starfile.read {N_STARFILE} rows", lambda: starfile.read(small))
        timed(f"starfile.write {N_STARFILE} rows", lambda: starfile.write(table, small))


if __name__ == "__main__":
    main()
