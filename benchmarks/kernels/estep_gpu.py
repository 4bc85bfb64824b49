"""Time the E-step on a GPU stage by stage, images in host memory, beside the ceilings of the card.

    python benchmarks/kernels/estep_gpu.py [--box 128] [--n 8192] [--batch 1024] [--order 2]
        [--current_size 64] [--snr 0.1] [--precision float32|tf32] [--jobs 8] [--out results.json]

A made-up map is projected, noise is added, and the batches go through the steps of one iteration of
global search (offset range 5 pixels, step 2, one oversampling). Ceilings are measured in the same
run: the coarse matrix product alone by cuBLAS, and with --jobs the fine pass and the
back-projection of so many significant orientations an image (8 slices each) against bare slices and
bare scatter (ceilings.py) of the same radius.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import cupy as cp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from ceilings import median_ms, slices_and_scatter

from relion_mpi.atoms.scatterers import density
from relion_mpi.backend import select_backend
from relion_mpi.backend.protocol import GlobalPrior, ImageMask, Likelihood, OpticsArrays, Quanta
from relion_mpi.estep.expectation import search_grid
from relion_mpi.estep.plan import HalfPlan, Plan
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.sampling.orientations import make_orientation_grid
from relion_mpi.sampling.translations import make_translation_grid
from relion_mpi.simulate.protein import made_up_protein

STAGES = ("copy_prepare", "coarse", "fine", "accumulate", "conclude")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--angpix", type=float, default=2.0)
    parser.add_argument("--n", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--order", type=int, default=2)
    parser.add_argument("--current_size", type=int, default=64)
    parser.add_argument("--diameter", type=float, default=200)
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--out")
    return parser.parse_args()


def geometry_of(options):
    """Pixels of whole images (to simulate) and of the iteration."""
    import polars as pl

    from relion_mpi.dataset.columns import Table
    from relion_mpi.dataset.optics_groups import read_optics_groups
    from relion_mpi.estep.geometry import image_geometry

    frame = pl.DataFrame({
        "rlnOpticsGroup": [1], "rlnOpticsGroupName": ["one"], "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [options.angpix], "rlnImageSize": [options.box],
        "rlnImageDimensionality": [2],
    })  # fmt: skip
    optics = read_optics_groups(Table("made up", "optics", frame, np.arange(1, 2)))
    step_deg = 60.0 / 2**options.order
    coarse_angst = step_deg / 360 * np.pi * options.diameter / 1.2
    wanted = 2 * int(np.ceil(options.box * options.angpix / coarse_angst))
    coarse = min(wanted, options.current_size)
    whole = image_geometry(optics, 0, options.box, options.angpix, options.box, options.box)
    part = image_geometry(
        optics, 0, options.box, options.angpix, options.current_size, coarse
    )
    return optics, whole, part, coarse


def simulate(backend, reference, whole, options, rng):
    """Make images (n, box, box) of unit noise; return them, their noise spectrum and CTFs."""
    n, box = options.n, options.box
    references = backend.load_references(reference[None], box // 2, 2)
    tilt = np.degrees(np.arccos(rng.uniform(-1, 1, n)))
    matrices = euler_to_matrix(rng.uniform(-180, 180, n), tilt, rng.uniform(-180, 180, n))
    defocus = rng.uniform(8000, 25000, n)
    from relion_mpi.optics.ctf import CtfParameters, ctf, ctf_coefficients

    def full(value):
        return np.full(n, value)

    parameters = CtfParameters(
        defocus, defocus, full(0.0), full(300.0), full(2.7), full(0.1), full(0.0), full(1.0),
        full(0.0),
    )  # fmt: skip
    images = np.empty((n, box, box), np.float32)
    sign = (-1.0) ** (whole.x + whole.y)
    for first in range(0, n, 512):
        rows = slice(first, min(first + 512, n))
        slices = backend.project(references, matrices[rows], whole)
        part = CtfParameters(*[getattr(parameters, f)[rows] for f in CtfParameters.__slots__])
        values = slices * ctf(part, whole.freq_x, whole.freq_y) * sign
        half = np.zeros((values.shape[0], box, box // 2 + 1), np.complex64)
        half[:, whole.y % box, whole.x] = values
        images[rows] = np.fft.irfft2(half, s=(box, box)) * box**2
    scale = np.sqrt(options.snr) / images.std()
    images *= scale
    images += rng.standard_normal(images.shape, dtype=np.float32)
    return images, scale, ctf_coefficients(parameters)


def clock(seconds, name, call):
    cp.cuda.Device().synchronize()
    start = time.perf_counter()
    result = call()
    cp.cuda.Device().synchronize()
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
    return result


def many_slices(backend, handle, references, grid, likelihood, sums, options):
    """Time the fine pass and the back-projection of `--jobs` orientations an image."""
    from relion_mpi.backend.gpu import fine
    from relion_mpi.backend.gpu.coarse import Candidates, job_offsets

    rng = np.random.default_rng(2)
    n_img, jobs = handle.n_img, options.jobs
    first = rng.integers(0, grid.n_orient - jobs, n_img)
    image = cp.repeat(cp.arange(n_img, dtype=np.int32), jobs)
    n_word = (grid.n_shift + 31) // 32
    candidates = Candidates(
        image, cp.asarray((first[:, None] + np.arange(jobs)).ravel().astype(np.int32)),
        cp.zeros(image.size, np.float32), cp.full((image.size, n_word), 2**32 - 1, np.uint32),
        cp.zeros((n_img, grid.n_shift), np.float32), job_offsets(image, n_img),
        cp.full(n_img, jobs * grid.n_shift, np.int32),
    )  # fmt: skip
    inner = backend._grid(grid)
    n_child = inner.n_child_direction * inner.n_child_psi
    samples = fine.Samples(
        inner.fine_direction, inner.fine_psi, inner.n_child_direction, inner.n_child_psi,
        inner.n_child_shift, inner.fine_phases(handle.geometry), handle.n_pix,
    )  # fmt: skip
    inverse = backend._inverse_noise(handle, likelihood, for_search=True)
    rest = (inner, inverse, backend._scratch(), backend.limits)
    search_ms = median_ms(lambda: fine.score(handle, references, candidates, samples, *rest))
    scored = fine.score(handle, references, candidates, samples, *rest)
    n_slice = image.size * n_child
    scored.cross[...] = 0
    shift = cp.asarray(rng.integers(0, scored.cross.shape[1], n_slice))
    scored.cross[cp.arange(n_slice), shift] = 0.01
    posterior = fine.Posterior(scored.slices, scored.cross, cp.arange(n_slice))
    back_ms = median_ms(lambda: backend.accumulate(
        handle, references, grid, posterior, likelihood, sums))
    pixels = n_slice * handle.n_pix / 1e6
    top = slices_and_scatter(options.current_size // 2, 8192)
    way = "texture" if backend.arithmetic.textures else "plain"
    found = {
        "slices_an_image": jobs * n_child,
        "fine_gpix_s": round(pixels / search_ms, 2),
        "slice_ceiling_gpix_s": top[f"{way}_gpix_s"],
        "back_gpix_s": round(pixels / back_ms, 2),
        "scatter_ceiling_gpix_s": top["scatter_vector_gpix_s"],
    }  # fmt: skip
    found["fine_share"] = round(found["fine_gpix_s"] / found["slice_ceiling_gpix_s"], 3)
    found["back_share"] = round(found["back_gpix_s"] / found["scatter_ceiling_gpix_s"], 3)
    return found


def ceilings(n_orient, n_column, n_real, options):
    """Milliseconds of the coarse product alone, per batch, in TF32 and float32."""
    from cupy._core import _routines_linalg as linalg

    a = cp.random.standard_normal((n_orient, n_real), dtype=cp.float32)
    b = cp.random.standard_normal((n_column, n_real), dtype=cp.float32)
    out = cp.empty((n_orient, n_column), cp.float32)
    found = {"float32_ms": median_ms(lambda: cp.matmul(a, b.T, out=out))}
    linalg.set_compute_type(np.float32, linalg.COMPUTE_TYPE_TF32)
    found["tf32_ms"] = median_ms(lambda: cp.matmul(a, b.T, out=out))
    linalg.set_compute_type(np.float32, linalg.COMPUTE_TYPE_DEFAULT)
    return found


def main():
    options = arguments()
    rng = np.random.default_rng(1)
    backend = select_backend("gpu", options.precision)
    backend.attach()
    reference = density(made_up_protein(point_group("C1"), 1), options.box, options.angpix)
    optics, whole, part, coarse = geometry_of(options)
    exact = select_backend("gpu", "float32")
    images, scale, coefficients = simulate(exact, reference, whole, options, rng)
    group = point_group("C1")
    orientations = make_orientation_grid(options.order, group, perturbation=0.3)
    translations = make_translation_grid(
        5 * options.angpix, 2 * options.angpix, perturbation=0.3
    )
    n_shell = options.box // 2 + 1
    sigma2 = np.full(n_shell, 0.5 / options.box**2)
    half = HalfPlan(
        sigma2[None], np.ones(1), 1.0, np.full((1, orientations.n_dir), 1 / orientations.n_dir),
        100.0, np.full((1, n_shell), 10.0), options.n,
    )  # fmt: skip
    plan = Plan(
        1, options.box, options.angpix, 2, options.current_size, coarse, "gauss", orientations,
        translations, None, optics, (half,), None,
    )  # fmt: skip
    grid = search_grid(plan, options.angpix)
    references = backend.load_references(
        (reference * scale)[None], options.current_size // 2, 2
    )
    likelihood = Likelihood("gauss", sigma2, 0.999)
    sums = backend.new_sums(
        1, grid.n_dir, options.current_size // 2, 2, Quanta(1e-9, 1e-9, 1e-9)
    )
    seconds, slices, significant = {}, 0, 0.0
    for repeat in range(2):  # the first pass compiles and warms up
        seconds, slices, significant = {}, 0, 0.0
        for first in range(0, options.n, options.batch):
            rows = slice(first, first + options.batch)
            mine = backend.host_buffer(images[rows].shape)
            mine[:] = images[rows]  # as a reader would fill it, while the GPU is busy
            n = mine.shape[0]
            arrays = OpticsArrays(coefficients[rows], np.ones(n))
            mask = ImageMask(options.diameter / (2 * options.angpix), 5.0)
            handle = clock(seconds, "copy_prepare", lambda: backend.prepare(
                mine, np.zeros((n, 2), np.int64), np.ones(n), mask, part, arrays))
            prior = GlobalPrior(
                np.zeros((1, grid.n_dir)), np.zeros((n, grid.n_shift))
            )
            found = clock(seconds, "coarse", lambda: backend.search_global(
                handle, references, grid, prior, likelihood))
            posterior, best = clock(seconds, "fine", lambda: backend.search_fine(
                handle, references, grid, found, likelihood))
            moments = clock(seconds, "accumulate", lambda: backend.accumulate(
                handle, references, grid, posterior, likelihood, sums))
            clock(seconds, "conclude", lambda: backend.power_spectra(handle))
            slices += moments.n_slices
            significant += float(best.n_significant.sum())
        del repeat
    n_column = min(options.batch, options.n) * grid.n_shift
    limit = backend.limits.images_at_once(grid.n_orient, grid.n_shift, 4)
    n_column = min(n_column, limit * grid.n_shift)
    top = ceilings(grid.n_orient, n_column, 2 * part.n_coarse, options)
    per_image = {name: round(1e6 * seconds[name] / options.n, 2) for name in STAGES}
    images_a_product = n_column / grid.n_shift
    product_us = 1e3 * top[f"{options.precision}_ms"] / images_a_product
    many = {}
    if options.jobs:
        many = many_slices(backend, handle, references, grid, likelihood, sums, options)
    result = {
        **vars(options), "coarse_size": coarse, "n_pix": part.n_pix, "n_coarse": part.n_coarse,
        "n_orient": grid.n_orient, "n_shift": grid.n_shift,
        "us_per_particle": per_image, "total_us": round(sum(per_image.values()), 2),
        "product_us_float32": round(1e3 * top["float32_ms"] / images_a_product, 3),
        "product_us_tf32": round(1e3 * top["tf32_ms"] / images_a_product, 3),
        "coarse_share": round(product_us / per_image["coarse"], 3), **many,
        "significant_mean": round(significant / options.n, 1),
        "slices_mean": round(slices / options.n, 1),
        "device": cp.cuda.runtime.getDeviceProperties(0)["name"].decode(),
    }  # fmt: skip
    print(json.dumps(result))
    if options.out:
        with open(options.out, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
