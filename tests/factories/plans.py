"""Plans of an iteration, and batches for them."""

from __future__ import annotations

import numpy as np

from factories.maps import blob_image, blob_map
from factories.optics import optics_groups
from factories.poses import random_eulers
from relion_mpi.backend import select_backend
from relion_mpi.estep.expectation import Expectation
from relion_mpi.estep.plan import HalfPlan, ImageOptions, ParticleBatch, Plan
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.sampling.in_plane import make_in_plane_grid
from relion_mpi.sampling.orientations import make_orientation_grid
from relion_mpi.sampling.translations import make_translation_grid

BOX = 32


def batch(n, seed=0):
    """Particles of one half-set with random optics and poses, at the centre."""
    rng = np.random.default_rng(seed)
    flat = np.zeros(n, np.int64)
    optics = np.stack([
        rng.uniform(8000, 20000, n), rng.uniform(8000, 20000, n), rng.uniform(0, 180, n),
        np.zeros(n), np.ones(n), np.zeros(n),
    ], axis=1)  # fmt: skip
    zeros = np.zeros((n, 2))
    eulers = random_eulers(n, seed)
    return ParticleBatch(
        number=-1, half=0, optics_group=0, particle=np.arange(n), stack_file=flat, image_index=flat,
        scale_group=flat, ctf=optics, euler_deg=eulers, prior_euler_deg=eulers,
        origin_angst=zeros, origin_prior_angst=zeros, norm_correction=np.ones(n),
    )  # fmt: skip


def expectation(
    sigma2, *, n_class=1, local_sigma_deg=None, precision="float64", metric="gauss", seeded=False,
    skip_align=False, planar=False, **options
):  # fmt: skip
    """The E-step of classes at full size; both passes use the same grid of 30 degrees.

    That of 2D classes has 10 degrees in the first pass and 5 in the second.
    """
    grid = make_orientation_grid(1, point_group("C1"), oversampling=0)
    if planar:
        grid = make_in_plane_grid(10.0, oversampling=1, perturbation=0.3)
    shifts = make_translation_grid(6.0, 3.0, oversampling=0)
    half = HalfPlan(
        sigma2_noise=np.full((1, BOX // 2 + 1), sigma2), scale=np.ones(1), avg_norm=1.0,
        pdf_direction=np.ones((n_class, grid.n_dir)) / (n_class * grid.n_dir),
        sigma2_offset_angst2=100.0, data_vs_prior=np.ones((n_class, BOX // 2 + 1)),
        n_particles=100,
    )  # fmt: skip
    plan = Plan(
        1, BOX, 3.0, 2, BOX, BOX, metric, grid, shifts, local_sigma_deg, optics_groups(), (half,),
        ImageOptions(80.0, **options), seeded, skip_align,
    )  # fmt: skip
    backend = select_backend("cpu", precision)
    make = blob_image if planar else blob_map
    maps = np.stack([make(BOX, seed) for seed in range(n_class)])
    return Expectation(backend, plan, [backend.load_references(maps, BOX // 2, 2)])
