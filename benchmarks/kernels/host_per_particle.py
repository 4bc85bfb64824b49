"""Time what the host does for each particle beside a GPU, in microseconds a particle.

    python benchmarks/kernels/host_per_particle.py [--n 1024] [--box 128] [--repeats 15]

A GPU finishes a particle in 10 to 60 microseconds, so all of this together must stay far below.
A batch of made-up results goes through every step that numpy or numba does for it: on rank 0 (tasks
out, results in) and on a worker (priors, lists of local searches, optics, moments to sums), each in
one thread. No backend, no images, no files. One line of JSON a symmetry and HEALPix order; order
null is a global search.
"""

import argparse
import json
import time
from types import SimpleNamespace

import numpy as np
import polars as pl

from relion_mpi.backend.results import BestHypotheses, Moments
from relion_mpi.dataset.columns import Table
from relion_mpi.dataset.optics_groups import read_optics_groups
from relion_mpi.estep.expectation import Expectation, _gated
from relion_mpi.estep.geometry import batch_optics, image_geometry
from relion_mpi.estep.plan import HalfPlan, ImageOptions, Plan
from relion_mpi.estep.prepared import Prepared, Recentring
from relion_mpi.estep.priors import nearby, shift_prior
from relion_mpi.estep.sums import HalfSums
from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.fourier.shells import round_half_away
from relion_mpi.geometry.euler import euler_to_matrix, matrix_to_euler
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.refine.hidden import HiddenVariables, particle_batch
from relion_mpi.sampling.local import local_orientations
from relion_mpi.sampling.orientations import make_orientation_grid
from relion_mpi.sampling.translations import make_translation_grid

PIXEL_ANGST = 2.0
N_TOTAL = 16


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1024)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--symmetries", nargs="+", default=["C1", "D2"])
    parser.add_argument("--orders", nargs="+", type=int, default=[4, 5, 6, 7])
    return parser.parse_args()


def median_us(call, n, repeats):
    """Median microseconds a particle; the two first calls compile and fill caches."""
    call(), call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return round(1e6 * float(np.median(seconds)) / n, 3)


def random_eulers(n, rng):
    tilt = np.degrees(np.arccos(rng.uniform(-1, 1, n)))
    return np.stack([rng.uniform(-180, 180, n), tilt, rng.uniform(-180, 180, n)], axis=1)


def optics_of(box):
    frame = pl.DataFrame({
        "rlnOpticsGroup": [1], "rlnOpticsGroupName": ["one"], "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [PIXEL_ANGST], "rlnImageSize": [box], "rlnImageDimensionality": [2],
    })  # fmt: skip
    return read_optics_groups(Table("made up", "optics", frame, np.arange(1, 2)))


def table_of(n, optics, rng):
    """Make a particle table of n rows: what tasks and results touch of it."""
    rot, tilt, psi = random_eulers(n, rng).T
    return SimpleNamespace(
        n_particles=n, stack_file=np.arange(n) // 100, image_index=np.arange(n) % 100,
        optics_group=np.zeros(n, np.int64), scale_group=np.arange(n) // 50, optics=optics,
        defocus_u_angst=rng.uniform(8e3, 2e4, n), defocus_v_angst=rng.uniform(8e3, 2e4, n),
        defocus_angle_deg=rng.uniform(0, 180, n), phase_shift_deg=np.zeros(n),
        ctf_bfactor=np.zeros(n), ctf_scale=np.ones(n), rot_deg=rot, tilt_deg=tilt, psi_deg=psi,
        origin_angst=rng.normal(0, 5, (n, 2)), origin_prior_angst=None, angle_prior_deg=None,
        class_number=np.ones(n, np.int64), norm_correction=rng.uniform(0.8, 1.2, n),
        log_likelihood=np.zeros(n), max_value_prob=np.zeros(n), n_significant=np.zeros(n, np.int64),
    )  # fmt: skip


def plan_of(options, optics, group, order, n_group, *, is_local):
    box, n_shell = options.box, options.box // 2 + 1
    grid = make_orientation_grid(order, group, perturbation=0.3)
    # 21 shifts, 84 fine ones.
    shifts = make_translation_grid(5 * PIXEL_ANGST, 2 * PIXEL_ANGST, perturbation=0.3)
    half = HalfPlan(
        np.full((1, n_shell), 0.5 / box**2), np.ones(n_group), 1.0,
        np.full((1, grid.n_dir), 1 / grid.n_dir), 100.0,
        np.linspace(9, 0, n_shell)[None], N_TOTAL * options.n,
    )  # fmt: skip
    return Plan(
        3, box, PIXEL_ANGST, 2, box * 3 // 4, box // 2, "gauss", grid, shifts,
        2 * grid.fine_step_deg if is_local else None, optics, (half,), ImageOptions(200.0),
    )  # fmt: skip


def found_of(plan, n, rng):
    """Made-up results of a backend for a batch."""
    grid, n_shell, n_fine = plan.orientations, plan.box_size // 2 + 1, 84
    best = BestHypotheses(
        np.zeros(n, np.int64), rng.integers(grid.n_dir * grid.n_fine_dir_each, size=n),
        rng.integers(grid.n_psi * grid.n_fine_psi_each, size=n), rng.integers(n_fine, size=n),
        rng.uniform(size=n), rng.normal(size=n), rng.integers(1, 50, n),
    )  # fmt: skip
    moments = Moments(
        rng.uniform(size=(n, n_shell)), rng.uniform(size=(n, n_shell)), np.ones((n, 1)),
        rng.uniform(size=(n, n_fine)), 20 * n,
    )  # fmt: skip
    return best, moments, rng.uniform(2, 3, (n, n_shell))


def measure(options, symmetry, order):
    """Microseconds a particle of each part; order None is a global search of order 3."""
    rng = np.random.default_rng(1)
    n, optics, group = options.n, optics_of(options.box), point_group(symmetry)
    particles = table_of(N_TOTAL * n, optics, rng)
    is_local = order is not None
    n_group = particles.scale_group[-1] + 1
    plan = plan_of(options, optics, group, order or 3, n_group, is_local=is_local)
    backend = SimpleNamespace(new_sums=lambda *_, **__: None)
    estep, sums = Expectation(backend, plan, [None]), HalfSums(backend, plan, 0)
    half, grid = plan.halves[0], plan.orientations
    rows = np.sort(rng.choice(particles.n_particles, n, replace=False))
    batch = particle_batch(particles, rows, 0)
    best, moments, power = found_of(plan, n, rng)
    moved = round_half_away(batch.origin_angst / PIXEL_ANGST)
    recentring = Recentring(moved, moved * PIXEL_ANGST)
    geometry = image_geometry(
        optics, 0, options.box, PIXEL_ANGST, plan.current_size, plan.coarse_size
    )
    prepared = Prepared(batch, None, recentring, None, None, None, None, None)
    noise = power - 2 * moments.cross + moments.power
    result = estep._conclude(prepared, best, moments, power, sums)
    hidden = HiddenVariables(particles, group.operators)
    prior = euler_to_matrix(*batch.prior_euler_deg.T)
    parts = {
        "particle_batch": lambda: particle_batch(particles, rows, 0),
        "take": lambda: hidden.take(rows, result),
        "batch_optics": lambda: batch_optics(optics, batch, geometry, np.ones(n), plan.images),
        "soft_sphere": lambda: soft_sphere(options.box, 50.0, 5.0, 2),
        "shift_prior": lambda: shift_prior(plan, batch, recentring.angst),
        "conclude": lambda: estep._conclude(prepared, best, moments, power, sums),
    }  # fmt: skip
    inside = {
        "conclude.sums": lambda: sums.add(
            batch, noise=noise[0], gated=(moments.cross[:, 0], moments.power[:, 0]),
            class_weight=moments.class_weight, offset2=1.0, norm=batch.norm_correction,
            evidence=best.log_evidence, pmax=best.max_weight, n_slices=1,
            n_significant=best.n_significant),
        "conclude.norm": lambda: estep._norm(batch, half, noise),
        "conclude.gated": lambda: _gated(half, best, moments),
        "conclude.log_evidence": lambda: estep._log_evidence(batch, half, best, power),
        "conclude.fine_matrices": lambda: grid.fine_matrices(best.fine_direction, best.fine_psi),
        "conclude.matrix_to_euler": lambda: matrix_to_euler(prior),
    }  # fmt: skip
    if is_local:
        parts["local_prior"] = lambda: nearby(plan, batch, plan.local_sigma_deg)
        inside["local_prior.orientations"] = lambda: local_orientations(
            grid, prior, plan.local_sigma_deg)
        inside["local_prior.euler_to_matrix"] = lambda: euler_to_matrix(*batch.prior_euler_deg.T)
    times = {name: median_us(call, n, options.repeats) for name, call in parts.items()}
    split = {name: median_us(call, n, options.repeats) for name, call in inside.items()}
    master = times["particle_batch"] + times["take"]
    return {
        "symmetry": symmetry, "order": order, "n": n, "n_shell": geometry.n_shell,
        "n_fine_shift": 84, "us_rank0": round(master, 3),
        "us_worker": round(sum(times.values()) - master, 3), "us": times, "us_inside": split,
    }  # fmt: skip


def main():
    options = arguments()
    for symmetry in options.symmetries:
        for order in [None, *options.orders]:
            print(json.dumps(measure(options, symmetry, order)), flush=True)


if __name__ == "__main__":
    main()
