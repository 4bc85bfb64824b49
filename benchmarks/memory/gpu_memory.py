"""Predicted and used memory of a GPU at the largest image size, a line of JSON for each box and K.

References of two half-sets and their sums are on the GPU, and two batches of noise go through the
E-step on each of two threads, the first one image smaller than the second. What does not fit is
refused. About a minute: `python benchmarks/memory/gpu_memory.py [--precision tf32] [--out FILE]`.
"""

from __future__ import annotations

import argparse
import gc
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import cupy as cp
import numpy as np
import polars as pl

from relion_mpi.backend import select_backend
from relion_mpi.backend.gpu import device
from relion_mpi.backend.protocol import (
    GlobalPrior,
    ImageMask,
    Likelihood,
    OpticsArrays,
    Quanta,
    SearchGrid,
)
from relion_mpi.core.errors import InputError
from relion_mpi.dataset.columns import Table
from relion_mpi.dataset.optics_groups import read_optics_groups
from relion_mpi.estep.geometry import image_geometry
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.refine.batch_size import batch_size_for
from relion_mpi.refine.gpu_fit import fit, fits
from relion_mpi.refine.gpu_job import gpu_job
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.worker import LANES
from relion_mpi.sampling.orientations import make_orientation_grid
from relion_mpi.sampling.translations import make_translation_grid

ORDER, ANGPIX = 2, 1.5
CLASSES = (16, 8, 4, 2, 1)


def job_of(box, k, options):
    """Exhaustive searches of one order; a particle of two thirds of the box."""
    run = RefineOptions(
        i=Path(), o=Path(), ref=Path(), pad=options.pad, precision=options.precision,
        healpix_order=ORDER, auto_local_healpix_order=ORDER + 1,
        particle_diameter=box * ANGPIX * 2 / 3,
    )  # fmt: skip
    size = options.batch or batch_size_for(10**6, box, on_gpu=True)
    return gpu_job(run, box, ANGPIX, n_class=k, batch_size=size)


def grid_of():
    orientations = make_orientation_grid(ORDER, point_group("C1"), perturbation=0.3)
    shifts = make_translation_grid(5 * ANGPIX, 2 * ANGPIX, perturbation=0.3)
    return SearchGrid(
        orientations.coarse_directions(), orientations.coarse_psi_rad(),
        orientations.fine_directions(), orientations.fine_psi_rad(),
        shifts.coarse_shifts_angst / ANGPIX, shifts.fine_shifts_angst / ANGPIX,
    )  # fmt: skip


def geometry_of(box, coarse):
    frame = pl.DataFrame({
        "rlnOpticsGroup": [1], "rlnOpticsGroupName": ["one"], "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [ANGPIX], "rlnImageSize": [box], "rlnImageDimensionality": [2],
    })  # fmt: skip
    optics = read_optics_groups(Table("made up", "optics", frame, np.arange(1, 2)))
    return image_geometry(optics, 0, box, ANGPIX, box, coarse)


def e_step(backend, references, sums, grid, geometry, images, k):
    """Do what a worker does with a batch; noise this weak leaves one sample an image."""
    n, box = images.shape[:2]
    likelihood = Likelihood("gauss", np.full(geometry.n_shell, 0.005 / box**2), 0.999)
    handle = backend.prepare(
        images, np.zeros((n, 2), np.int64), np.ones(n), ImageMask(box / 3, 5.0), geometry,
        OpticsArrays(None, np.ones(n)),
    )  # fmt: skip
    prior = GlobalPrior(np.zeros((k, grid.n_dir)), np.zeros((n, grid.n_shift)))
    found = backend.search_global(handle, references, grid, prior, likelihood)
    posterior, best = backend.search_fine(handle, references, grid, found, likelihood)
    backend.accumulate(handle, references, grid, posterior, likelihood, sums)
    backend.power_spectra(handle)
    return float(best.n_significant.mean())


def in_lanes(work):
    """Run in as many threads as a worker has, one call in each."""
    together = threading.Barrier(LANES["gpu"])

    def lane(number):
        together.wait()
        return work(number)

    with ThreadPoolExecutor(LANES["gpu"]) as threads:
        return list(threads.map(lane, range(LANES["gpu"])))


def measure(found, rng):
    job, grid = found.job, grid_of()
    box, k = job.box_size, job.n_class
    backend = select_backend("gpu", job.precision, found.limits)
    backend.attach()
    one = rng.standard_normal((box, box, box), dtype=np.float32) / np.float32(box**0.5)
    maps = np.broadcast_to(one, (k, box, box, box))
    references = [backend.load_references(maps, box // 2, job.padding) for _ in range(2)]
    loaded = backend.memory_used()
    quanta = Quanta(1e-9, 1e-9, 1e-9)
    sums = [backend.new_sums(k, grid.n_dir, box // 2, job.padding, quanta) for _ in range(2)]
    backend.synchronise()
    geometry = geometry_of(box, job.searches[0][1])
    images = backend.host_buffer((job.batch_size, box, box))
    images[:] = rng.standard_normal(images.shape, dtype=np.float32)

    def work(number):
        backend.attach()
        for n in (job.batch_size - 1, job.batch_size):
            significant = e_step(
                backend, references[number % 2], sums[number % 2], grid, geometry, images[:n], k
            )
            backend.synchronise()
        return significant

    significant = in_lanes(work)
    free, total = cp.cuda.runtime.memGetInfo()
    textures = sum(one.texture_bytes for one in references)
    pool = cp.get_default_memory_pool().total_bytes()
    return {
        "used": backend.memory_used(), "used_after_loading": loaded, "pool": pool,
        "textures": textures, "driver": total - free,
        "context": total - free - pool - textures, "significant": significant,
    }  # fmt: skip


def line(box, k, options, rng):
    room = device.room()
    found = fit(room, job_of(box, k, options))
    need = found.need
    began = time.perf_counter()
    used = measure(found, rng)
    gc.collect()
    cp.get_default_memory_pool().free_all_blocks()
    return {
        "box": box, "K": k, "pad": options.pad, "precision": options.precision,
        "batch": found.job.batch_size, "limits": asdict(found.limits), "room": room,
        "predicted": need.working, "predicted_loading": need.load, "parts": need.parts, **used,
        "used_by_predicted": round(used["used"] / need.working, 3),
        "driver_by_predicted": round(used["driver"] / need.working, 3),
        "loading_by_predicted": round(used["used_after_loading"] / need.load, 3),
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--box", type=int, nargs="+", default=[64, 128, 256, 360, 512])
    parser.add_argument("--K", type=int, nargs="+", default=None)
    parser.add_argument("--pad", type=int, default=2)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--out")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    free, total = cp.cuda.runtime.memGetInfo()
    lines = [{
        "device": cp.cuda.runtime.getDeviceProperties(0)["name"].decode(),
        "total": total, "driver_at_start": total - free,
    }]  # fmt: skip
    print(json.dumps(lines[0]), flush=True)
    for box in options.box:
        most = next((k for k in CLASSES if fits(device.room(), job_of(box, k, options))), 0)
        for k in options.K or sorted({1, most} - {0}):
            try:
                lines.append(line(box, k, options, rng))
            except (InputError, MemoryError) as reason:
                lines.append({"box": box, "K": k, "refused": str(reason)})
            print(json.dumps(lines[-1]), flush=True)
    try:
        fit(device.room(), job_of(1024, 4, options))
    except InputError as reason:
        lines.append({"box": 1024, "K": 4, "refused": str(reason)})
        print(json.dumps(lines[-1]), flush=True)
    worst = max((abs(one["used_by_predicted"] - 1) for one in lines if "used" in one), default=0)
    print(f"largest distance from the prediction: {100 * worst:.1f} %")
    if options.out:
        text = "".join(json.dumps(one) + "\n" for one in lines)
        Path(options.out).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
