"""Seconds that operations on a large particle table take.

    python benchmarks/io/star_operations.py [rows]

Each is a whole command, start of the program included. relion_star_handler does the same beside it
on a fiftieth of the rows, where it is installed.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from relion_mpi.io.star import write_star

OPERATIONS = {
    "combine two halves": ("--combine", "--i", "{half} {half}"),
    "split in 10": ("--i", "{all}", "--split", "--nr_split", "10"),
    "select a range": ("--i", "{all}", "--select", "rlnDefocusU", "--maxval", "15000"),
    "select by text": (
        "--i", "{all}", "--select_by_str", "rlnMicrographName", "--select_include", "7",
    ),
    "multiply": ("--i", "{all}", "--operate", "rlnDefocusU", "--multiply_by", "1.1"),
    "remove near ones": ("--i", "{all}", "--remove_duplicates", "50"),
    "centre": ("--i", "{all}", "--center", "--center_X", "3"),
    "histogram": ("--i", "{all}", "--hist_column", "rlnDefocusU"),
    "unique names": ("--i", "{all}", "--unique", "rlnImageName"),
    "expand by D2": ("--i", "{all}", "--symmetry_expand", "--sym", "D2"),
}
OURS_ALONE = ("unique names", "expand by D2")


def write(path, n_rows):
    rng = np.random.default_rng(1)
    micrograph = np.arange(n_rows) // 200
    columns = {
        "rlnImageName": [f"{k % 200 + 1:06d}@Extract/m{m}.mrcs" for k, m in enumerate(micrograph)],
        "rlnMicrographName": [f"MotionCorr/m{m}.mrc" for m in micrograph],
        "rlnOpticsGroup": rng.integers(1, 4, n_rows),
    }
    for label in (
        "CoordinateX", "CoordinateY", "AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst",
        "OriginYAngst", "DefocusV", "DefocusAngle", "CtfMaxResolution", "NormCorrection",
    ):  # fmt: skip
        columns[f"rln{label}"] = np.round(rng.uniform(0, 4000, n_rows), 4)
    columns["rlnDefocusU"] = np.round(rng.uniform(8000, 20000, n_rows), 2)
    optics = pl.DataFrame({
        "rlnOpticsGroup": [1, 2, 3], "rlnOpticsGroupName": ["a", "b", "c"],
        "rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1,
        "rlnImagePixelSize": 1.0, "rlnImageSize": 256, "rlnImageDimensionality": 2,
    })  # fmt: skip
    write_star(path, {"optics": optics, "particles": pl.DataFrame(columns)})


def seconds(program, words, folder, n_rows):
    names = {"all": f"all_{n_rows}.star", "half": f"half_{n_rows}.star"}
    line = [*program, *(word.format(**names) for word in words), "--o", "out.star"]
    began = time.perf_counter()
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - began


def main():
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    few = n_rows // 50
    theirs = shutil.which("relion_star_handler")
    with tempfile.TemporaryDirectory() as folder:
        for n in (n_rows, few):
            write(Path(folder) / f"all_{n}.star", n)
            write(Path(folder) / f"half_{n}.star", n // 2)
        print(f"{'':20} {n_rows:>10} rows {few:>10} rows, RELION")
        for name, words in OPERATIONS.items():
            program = (sys.executable, "-m", "relion_mpi.cli.main", "star")
            ours = seconds(program, words, folder, n_rows)
            beside = "-"
            # RELION 3.1.3 fails on a split outside a project.
            if theirs and name not in OURS_ALONE and "--split" not in words:
                beside = f"{seconds((theirs,), words, folder, few):.2f} s"
            print(f"{name:20} {ours:>13.2f} s {beside:>17}")


if __name__ == "__main__":
    main()
