"""What a refinement holds in the memory of a GPU, predicted from box, classes, padding, batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.backend.gpu.device import CONTEXT_BYTES
from relion_mpi.backend.gpu.volume_memory import peak_bytes
from relion_mpi.backend.limits import TILE, coarse_slice_bytes, image_score_bytes
from relion_mpi.fourier.shells import padded_size

if TYPE_CHECKING:
    from relion_mpi.backend.limits import Limits

GIB = 2.0**30
REAL_BYTES = {"float32": 4, "tf32": 4, "float64": 8}
PLAN_WORK = 1.0
"""Work space of a cuFFT plan, relative to the half transforms that it makes."""
PLANS_KEPT = 2
"""Plans of a thread that are held at once: batches differ by one image, and the new plan comes
before the old one goes."""
EXACT_VOXEL = 24
"""Bytes of a voxel of exact sums: three integers."""
PHASE_WORK = 72
"""Bytes a shift and pixel while a table of phases is made, in float64."""


@dataclass(frozen=True, slots=True)
class GpuJob:
    """What decides the memory of a worker's GPU.

    Attributes
    ----------
    box_size, padding, n_class : of the model
    precision : a key of REAL_BYTES
    batch_size : most images in a batch
    n_lanes : batches worked on at once
    r_max : last shell used; 0 for half the box
    n_shift : coarse shifts
    n_child_shift : fine shifts of each
    searches : (orientations, image size) of the first pass of every exhaustive search
    n_optics : optics groups, each with tables of its own
    noise_fill : images are filled with noise outside the mask
    n_operators, skip_gridding : see `relion_mpi.backend.gpu.volume_memory.peak_bytes`
    deterministic : sums are exact
    n_half : half-sets, all of which every worker serves
    planar : references are images, whose M-step is on the host
    """

    box_size: int
    padding: int = 2
    n_class: int = 1
    precision: str = "float32"
    batch_size: int = 256
    n_lanes: int = 2
    r_max: int = 0
    n_shift: int = 21
    n_child_shift: int = 4
    searches: tuple[tuple[int, int], ...] = ()
    n_optics: int = 1
    noise_fill: bool = False
    n_operators: int = 1
    skip_gridding: bool = True
    deterministic: bool = False
    n_half: int = 2
    planar: bool = False

    @property
    def shells(self) -> int:
        """Last shell used."""
        return self.r_max or self.box_size // 2

    @property
    def voxels(self) -> int:
        """Voxels of the padded transform of one class."""
        size = padded_size(self.shells, self.padding)
        return (1 if self.planar else size) * size * (size // 2 + 1)

    def pixels(self, side: int) -> int:
        """Pixels of a map or average of this side."""
        return side ** (2 if self.planar else 3)

    def half_pixels(self, side: int) -> int:
        """Coefficients of its half transform."""
        return self.pixels(side) // side * (side // 2 + 1)

    @property
    def real(self) -> int:
        """Bytes of a real number."""
        return REAL_BYTES[self.precision]


@dataclass(frozen=True, slots=True)
class GpuNeed:
    """Bytes of a rank on a GPU at the largest image size, that of the last iteration.

    Attributes
    ----------
    context : what no array holds
    references, sums : of all half-sets
    loading : to transform one reference, before there are sums
    scratch : temporary arrays of the working threads
    batch : images of the working threads
    tables : coarse slices and phases of shifts that are kept
    mstep : the M-step, on rank 0, when the workers' memory is free
    """

    context: int
    references: int
    sums: int
    loading: int
    scratch: int
    batch: int
    tables: int
    mstep: int

    @property
    def expectation(self) -> int:
        """Peak of the E-step."""
        return self.context + sum(self.parts.values())

    @property
    def load(self) -> int:
        """Peak while references are loaded."""
        return self.context + self.references + self.loading

    @property
    def maximisation(self) -> int:
        """Peak of the M-step; it moves to the CPU where that is too much."""
        return self.context + self.mstep

    @property
    def working(self) -> int:
        """What a worker cannot do without."""
        return max(self.expectation, self.load)

    @property
    def total(self) -> int:
        """Peak of all."""
        return max(self.working, self.maximisation)

    @property
    def parts(self) -> dict[str, int]:
        """What the E-step holds beside the context, by name."""
        return {
            "references": self.references, "sums": self.sums, "temporary arrays": self.scratch,
            "images": self.batch, "tables": self.tables,
        }  # fmt: skip

    def __str__(self) -> str:
        """Write the parts for the log."""
        parts = [f"{name} {n_bytes / GIB:.2f}" for name, n_bytes in self.parts.items()]
        return ", ".join([*parts, f"CUDA {self.context / GIB:.2f} GiB"])


def gpu_need(job: GpuJob, limits: Limits) -> GpuNeed:
    """Predict the memory of a rank on a GPU.

    Parameters
    ----------
    job
        What is refined.
    limits
        Of temporary arrays.

    Returns
    -------
    GpuNeed
        Bytes.
    """
    real, volumes = job.real, job.n_half * job.n_class * job.voxels
    return GpuNeed(
        context=CONTEXT_BYTES,
        references=volumes * 2 * real,
        sums=volumes * (EXACT_VOXEL if job.deterministic else 4 * real),
        loading=_loading(job),
        scratch=job.n_lanes * _scratch(job, limits),
        batch=job.n_lanes * _images(job),
        tables=_coarse_slices(job, limits) + _phases(job),
        mstep=0 if job.planar else peak_bytes(
            box_size=job.box_size, padding=job.padding, r_max=job.shells,
            skip_gridding=job.skip_gridding, n_operators=job.n_operators,
        ),
    )  # fmt: skip


def half_disc(image_size: int) -> int:
    """Count the pixels of a half transform within the circle of an image size."""
    return math.ceil(math.pi / 2 * (image_size // 2) ** 2)


def _loading(job: GpuJob) -> int:
    """Map, padded map, its transform, the plan's work space; what is copied into a texture."""
    real, big = job.real, job.padding * job.box_size
    transform = 2 * real * job.half_pixels(big)
    texture = 2 * real * job.voxels if job.precision == "tf32" else 0
    maps = real * (job.pixels(job.box_size) + job.pixels(big))
    return maps + int((1 + PLAN_WORK) * transform) + texture


def _scratch(job: GpuJob, limits: Limits) -> int:
    """Both pieces of a thread; they hold one image's arrays at least."""
    scores, slices = limits.score_bytes, limits.slice_bytes
    for n_orient, image_size in job.searches:
        n_hyp, n_coarse = job.n_class * n_orient, half_disc(image_size)
        one = image_score_bytes(n_hyp, job.n_shift, job.real)
        n = min(job.batch_size, limits.images_at_once(n_hyp, job.n_shift, job.real))
        scores = max(scores, one)
        rows = n * (2 * job.n_shift + 1) + 3 * min(TILE, n_hyp if job.planar else n_orient)
        slices = max(slices, rows * n_coarse * job.real)
    return scores + slices


def _images(job: GpuJob) -> int:
    """Add up a batch, from the images as read to what searches use; the larger of both moments."""
    real, box, n = job.real, job.box_size, job.batch_size
    full = n * box * box * real
    # Masked images take the place of those that were read, if these are not smaller.
    read = 0 if real == 4 else n * box * box * 4
    fill = full if job.noise_fill else 0
    transforms = n * box * (box // 2 + 1) * 2 * real
    gathered = n * half_disc(2 * job.shells) * 2 * real
    # Masked and unmasked pixels and half of the transfer functions: the others, and later the
    # moments, take the place of a transform.
    preparing = read + fill + 2 * full + 2 * transforms + int(2.5 * gathered)
    n_fine = job.n_shift * job.n_child_shift
    searching = 3 * gathered + PHASE_WORK * n_fine * half_disc(2 * job.shells)
    return max(preparing, searching) + int(PLANS_KEPT * PLAN_WORK * transforms)


def _coarse_slices(job: GpuJob, limits: Limits) -> int:
    """Coarse slices of the exhaustive search that keeps most: whole tiles, as many as fit."""
    kept = [0]
    for n_orient, image_size in job.searches:
        one = coarse_slice_bytes(half_disc(image_size), job.real)
        n_all = job.n_class * n_orient
        fit = limits.tile_bytes // one
        kept.append(one * (n_all if n_all <= fit else fit // TILE * TILE))
    return job.n_half * job.n_optics * max(kept)


def _phases(job: GpuJob) -> int:
    """Tables of the phases of shifts, as factors and as two matrices."""
    coarse = max((half_disc(size) for _, size in job.searches), default=0)
    fine = job.n_child_shift * half_disc(2 * job.shells)
    return job.n_optics * job.n_shift * (coarse + fine) * 6 * job.real
