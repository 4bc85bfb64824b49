"""Seconds, peak memory and size of the page of a run, a line of JSON.

ROOT is the root of a run's names. `--particles` repeats the rows of its last particle table up to
a number, `--box` puts its last maps on a larger grid: both in a folder beside it, which is removed.
The same process draws as beside a run: `python benchmarks/end_to_end/report.py ROOT`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from relion_mpi.fourier.resample import fourier_resized
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.report.gather.job import find_job
from relion_mpi.report.program import page_of


def enlarged(job, folder, n_particles, box):
    """Copy a run, its last particle table and maps made larger."""
    for path in job.folder.glob(f"{job.name}_*"):
        if path.suffix in {".star", ".jsonl", ".mrc", ".mrcs"}:
            shutil.copy(path, folder / path.name)
    if n_particles:
        last = folder / job.data[-1][1].name
        tables = read_star(last)
        rows = tables["particles"]
        copies = -(-n_particles // len(rows))
        tables["particles"] = pl.concat([rows] * copies).head(n_particles)
        write_star(last, tables)
    if box:
        for path in folder.glob(f"{job.name}*_class???.mrc"):
            volume, pixel_size = read_map(path)
            larger = fourier_resized(volume, box)
            write_map(path, larger, pixel_size * volume.shape[0] / box)
    return folder / job.name


def drawn(root):
    """Return seconds and peak bytes of one page."""
    words = [sys.executable, "-m", "relion_mpi.report.drawing", str(root), "running", "0"]
    began = time.perf_counter()
    process = subprocess.Popen(words)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.perf_counter() - began, used.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--particles", type=int, default=0)
    parser.add_argument("--box", type=int, default=0)
    parser.add_argument("--n", type=int, default=5, help="pages to draw; the median is told")
    options = parser.parse_args()
    job = find_job(options.root)
    with tempfile.TemporaryDirectory(dir=job.folder) as folder:
        root = enlarged(job, Path(folder), options.particles, options.box)
        pages = [drawn(root) for _ in range(options.n)]
        size = page_of(root).stat().st_size
    line = {
        "run": str(job.root), "iterations": len(job.models), "particles": options.particles,
        "box": options.box, "seconds": round(statistics.median(s for s, _ in pages), 2),
        "peak_mib": round(max(peak for _, peak in pages) / 2**20), "page_mb": round(size / 1e6, 2),
    }  # fmt: skip
    print(json.dumps(line))


if __name__ == "__main__":
    main()
