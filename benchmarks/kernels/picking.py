"""Time the picking of one micrograph stage by stage, beside the bare inverse transforms.

    python benchmarks/kernels/picking.py FOLDER [--backend cpu gpu] [--lowpass -1 20] [--repeats 5]
        [--side 4096] [--templates 8] [--ang 5] [--threads 1] [--batch_mib 64] [--relion]

The paper's figure 7: 4096 x 4096 pixels of 1.62 A, 8 templates, 5 degrees. FOLDER gets the
micrograph, made up, and keeps it. One JSON line a backend and low-pass: median seconds of
`read` (from a file in the page cache), `prepare` (copy, normalise, transform, local deviation),
`search` and `peaks`; `fft` is as many inverse transforms of the same size and batch alone, and
`share_fft` its share of `search`. On a GPU stages are between CUDA events. `score` is precision,
recall and F1 of a whole run within 35 pixels. --relion times an installed relion_autopick too, one
process, with the same options.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import made_up_micrograph as made
import numpy as np

from relion_mpi.backend import select_picking
from relion_mpi.backend.picking import Contrast
from relion_mpi.io.mrc import read_map
from relion_mpi.picking.grid import make_grid, picking_area, ring_transform
from relion_mpi.picking.micrographs import read_micrographs
from relion_mpi.picking.templates import image_templates

DIAMETER_ANGST = 260.0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backend", nargs="+", default=["cpu"], choices=["cpu", "gpu"])
    parser.add_argument("--lowpass", type=float, nargs="+", default=[-1.0, 20.0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--templates", type=int, default=8)
    parser.add_argument("--ang", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch_mib", type=int, default=0, help="0: as the program")
    parser.add_argument("--relion", action="store_true")
    return parser.parse_args()


class HostClock:
    """Seconds of stages by wall clock."""

    def __call__(self, call):
        """Call, and return what it returns and its seconds."""
        start = time.perf_counter()
        result = call()
        return result, time.perf_counter() - start


class DeviceClock:
    """Seconds of stages between CUDA events."""

    def __init__(self):
        import cupy as cp

        self.cp = cp

    def __call__(self, call):
        """Call, and return what it returns and its seconds."""
        events = [self.cp.cuda.Event() for _ in range(2)]
        events[0].record()
        result = call()
        events[1].record()
        events[1].synchronize()
        return result, self.cp.cuda.get_elapsed_time(*events) / 1e3


def bare_fft(name, backend, grid, rotations, n_template):
    """Return a call that does as many inverse transforms, and nothing else."""
    both = 2 if rotations.opposite else 1
    if name == "gpu":
        import cupy as cp

        from relion_mpi.backend.gpu.picking import batch_size

        n = both * batch_size(grid, rotations)
        product = cp.zeros((n, *grid.half), np.complex64)
        maps = cp.empty((n, *grid.work), np.float32)
        plan = backend._plan("C2R", grid.work, n)
        times = n_template * rotations.n_slice * both // n
        return lambda: repeat(
            times, lambda: plan.fft(product, maps, cp.cuda.cufft.CUFFT_INVERSE)
        )
    import numba
    from scipy import fft

    from relion_mpi.backend.cpu.picking import BATCH_BYTES

    fit = max(BATCH_BYTES // (8 * both * grid.half[0] * grid.half[1]), 1)
    n = both * min(fit, rotations.n_slice)
    product = np.zeros((n, *grid.half), np.complex64)
    times = -(-n_template * rotations.n_slice * both // n)
    workers = numba.get_num_threads()
    return lambda: repeat(
        times, lambda: fft.irfft2(product, s=grid.work, norm="forward", workers=workers)
    )


def repeat(times, call):
    """Call so many times; what comes back is let go, for all together may not fit the memory."""
    for _ in range(times):
        call()


def stages(name, options, lowpass):
    backend = select_picking(name)
    backend.attach()
    clock = DeviceClock() if name == "gpu" else HostClock()
    mic = read_micrographs(str(options.folder / "micrographs.star"))[0]
    images, _ = read_map(options.folder / "templates.mrcs")
    grid = make_grid(mic.shape, mic.pixel_size_angst, lowpass_angst=lowpass)
    radius = round(DIAMETER_ANGST / 2 / mic.pixel_size_angst) - 2
    n_psi = -int(-360.0 // options.ang)
    templates = image_templates(images, radius, grid.limit, 2, n_psi)
    contrast = Contrast(-1.0, 8.0, mic.ctf, False, mic.pixel_size_angst)
    ring, weights = ring_transform(grid, radius), templates.weights(grid, contrast)
    loaded = backend.load_templates(templates.planes, templates.box_size, templates.padding)
    area, found = picking_area(grid, templates.border_pix), []
    fft = bare_fft(name, backend, grid, templates.rotations, len(images))
    # The unfiltered CPU run takes minutes: once is enough after the kernels are compiled.
    for _ in range(1 + (options.repeats if name == "gpu" or lowpass > 0 else 1)):
        seconds, start = {}, time.perf_counter()
        image = backend.host_buffer(mic.shape)
        image[...] = read_map(mic.path)[0][0]
        seconds["read"] = time.perf_counter() - start
        film, seconds["prepare"] = clock(lambda: backend.prepare(image, grid, ring, contrast))
        scores, seconds["search"] = clock(
            lambda: backend.search(film, loaded, templates.rotations, weights)
        )
        _, seconds["peaks"] = clock(lambda: backend.peaks(scores, area, max(radius // 8, 1)))
        _, seconds["fft"] = clock(fft)
        seconds["micrograph"] = sum(seconds[k] for k in ("prepare", "search", "peaks"))
        found.append(seconds)
    medians = {k: round(float(np.median([one[k] for one in found[1:]])), 6) for k in found[0]}
    medians["share_fft"] = round(medians["fft"] / medians["search"], 3)
    return {"work": grid.work, "n_fft": len(images) * n_psi, **medians}


def score(folder, out):
    words = [sys.executable, "-m", "relion_mpi.cli.main", "pick-score", "--truth",
             "mic1_truth.star", "--picks", out, "--cutoff", "35", "--best"]  # fmt: skip
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    return next(line for line in done.stdout.splitlines() if line.startswith("precision"))


def whole_run(program, options, lowpass, out, more=()):
    """Time a whole run of a program on the micrograph, one process."""
    shutil.rmtree(options.folder / out, ignore_errors=True)
    words = ["--i", "micrographs.star", "--ref", "templates.mrcs", "--odir", f"{out}/",
             "--invert", "--ctf", "--ang", options.ang, "--lowpass", lowpass, "--shrink", "0",
             "--threshold", "0", "--particle_diameter", DIAMETER_ANGST, "--min_distance", "200",
             *more]  # fmt: skip
    start = time.perf_counter()
    subprocess.run([*program, *map(str, words)], cwd=options.folder, check=True,
                   capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    return round(time.perf_counter() - start, 3), score(options.folder, out)


def main():
    options = arguments()
    if options.batch_mib:
        from relion_mpi.backend.gpu import picking

        picking.BATCH_BYTES = options.batch_mib * 2**20
    from relion_mpi.parallel.threads import set_threads

    set_threads(options.threads)
    if not (options.folder / "micrographs.star").exists():
        made.write_set(options.folder, options.templates, options.side)
    for lowpass in options.lowpass:
        for name in options.backend:
            line = {"program": "relion-mpi", "backend": name, "threads": options.threads,
                    "lowpass": lowpass, **stages(name, options, lowpass)}  # fmt: skip
            more = ["--gpu"] if name == "gpu" else ["--j", options.threads]
            program = [sys.executable, "-m", "relion_mpi.cli.main", "autopick"]
            line["whole_run"], line["score"] = whole_run(program, options, lowpass, "ours", more)
            print(json.dumps(line), flush=True)
        if options.relion:
            seconds, found = whole_run(["relion_autopick"], options, lowpass, "relion")
            line = {"program": "relion_autopick", "lowpass": lowpass, "whole_run": seconds}
            print(json.dumps({**line, "score": found}), flush=True)


if __name__ == "__main__":
    main()
