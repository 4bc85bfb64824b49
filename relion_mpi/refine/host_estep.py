"""What batches of the CPU backend hold beside references and sums."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from relion_mpi.backend.cpu.accumulate import SLICE_BYTES as SCATTER_BYTES
from relion_mpi.backend.cpu.coarse import SCORE_BYTES, SLICE_BYTES, TILE
from relion_mpi.backend.cpu.posterior import SCORE_BYTES as FINE_SCORE_BYTES
from relion_mpi.refine.calibration import LARGEST_BOX, N_IMAGES
from relion_mpi.refine.gpu_memory import half_disc

if TYPE_CHECKING:
    from relion_mpi.refine.gpu_memory import GpuJob

ACCURACY_IMAGES, ACCURACY_BYTES = 100, 88
"""Particles whose accuracy is estimated together; a pixel of one in the arrays of
`CPUBackend.slice_distances` and `expected_accuracies`."""
NOISE_BYTES = 32
"""A pixel of a batch in `relion_mpi.estep.initial_noise.power_sums`."""
DIRECTION_BYTES = 72 + 96 + 48
"""A coarse direction: its matrix, in the tree with its view, angles and number in two plans."""
FINE_BYTES = 3 * 72
"""A direction of the second pass while it is made: its matrix, and those of two steps to it."""


def kept_slices(job: GpuJob, n_orient: int, image_size: int) -> int:
    """Bytes of coarse slices kept for all batches, `relion_mpi.backend.cpu.coarse`.

    Parameters
    ----------
    job
        What is refined.
    n_orient, image_size
        Of the exhaustive search.
    """
    n_bytes = job.n_class * n_orient * 2 * half_disc(image_size) * job.real
    return job.n_half * job.n_optics * n_bytes if n_bytes < SLICE_BYTES else 0


def images_read(job: GpuJob, *, kept: bool) -> int:
    """Bytes of the images of batches at work and of the next one, with what fills them outside.

    Parameters
    ----------
    job
        What is refined.
    kept
        Images stay where they are read to, and count there.
    """
    each = job.batch_size * job.box_size**2 * 4
    return (job.n_lanes + 1) * each * (int(not kept) + int(job.noise_fill))


def batch_arrays(job: GpuJob, n_orient: int, image_size: int, n_threads: int) -> int:
    """Bytes of the batch at work, the images as read apart; the largest of its moments.

    Parameters
    ----------
    job
        What is refined.
    n_orient, image_size
        Of the exhaustive search; 0 for local ones.
    n_threads
        Of the rank.
    """
    real, box, n = job.real, job.box_size, job.batch_size
    n_pix, n_coarse = half_disc(2 * job.shells), half_disc(image_size)
    full, transforms = n * box * box * real, n * box * (box // 2 + 1) * 2 * real
    gathered = n * n_pix * 2 * real
    preparing = 2 * full + transforms + 2 * gathered + (full if job.noise_fill else 0)
    held = 3 * gathered  # masked and unmasked images; two transfer functions
    n_hyp = job.n_class * n_orient
    each = n_hyp * (job.n_shift + 1) * real
    group = min(n, max(1, SCORE_BYTES // max(each, 1)))
    scores = group * (each + job.n_shift * 2 * n_coarse * real)
    tiles = n_threads * min(TILE, n_hyp if job.planar else n_orient) * 3 * n_coarse * real
    n_fine = job.n_shift * job.n_child_shift
    phases = n_fine * 2 * n_pix * real
    # Both are limits, which broad posteriors reach.
    fine = phases + n_threads * (phases + FINE_SCORE_BYTES)
    scatter = phases + SCATTER_BYTES + gathered + n * n_pix * real
    return max(preparing, held + max(scores + tiles, fine, scatter))


def timing_arrays(job: GpuJob, searches: tuple[tuple[int, int], ...], n_threads: int) -> int:
    """Bytes of `relion_mpi.refine.calibration.measure_estep`, which keeps slices of all orders.

    Parameters
    ----------
    job
        What is refined.
    searches
        That are timed.
    n_threads
        Of the rank.
    """
    small = replace(
        job, box_size=min(job.box_size, LARGEST_BOX), r_max=0, batch_size=N_IMAGES["cpu"],
        n_half=1, n_optics=1, noise_fill=False,
    )  # fmt: skip
    volumes = small.voxels * (2 * small.real + 24)
    slices = sum(kept_slices(small, *search) for search in searches)
    batch = max((batch_arrays(small, *one, n_threads) for one in searches), default=0)
    return volumes + slices + batch


def local_grid(job: GpuJob, order: int) -> int:
    """Bytes of the directions of local searches, `relion_mpi.sampling`.

    Parameters
    ----------
    job
        What is refined; as many fine directions as fine shifts belong to a coarse one.
    order
        HEALPix order.
    """
    n_dir = (12 << 2 * order) // job.n_operators
    return n_dir * (DIRECTION_BYTES + job.n_child_shift * FINE_BYTES)


def accuracy_arrays(job: GpuJob) -> int:
    """Bytes of the arrays of expected accuracies.

    Parameters
    ----------
    job
        What is refined.
    """
    return ACCURACY_IMAGES * half_disc(2 * job.shells) * ACCURACY_BYTES
