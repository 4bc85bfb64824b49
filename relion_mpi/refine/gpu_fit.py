"""Make a refinement fit a GPU: smaller temporary arrays, then smaller batches, or a refusal.

A deterministic one is made to fit the kind of GPU: what changes its last digits, all but the coarse
slices that are kept, must not depend on the memory that happens to be free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from relion_mpi.backend.gpu.device import CONTEXT_BYTES
from relion_mpi.backend.gpu.volume_memory import too_large
from relion_mpi.backend.limits import SMALLEST_BYTES, Limits
from relion_mpi.core.errors import InputError
from relion_mpi.refine.gpu_memory import GIB, GpuJob, GpuNeed, gpu_need

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALLEST_BATCH = 16
SMALLEST_BOX, LARGEST_BOX = 16, 2048
_SHRUNK = ("tile_bytes", "score_bytes", "slice_bytes")
"""In this order: the first costs least time."""


@dataclass(frozen=True, slots=True)
class GpuFit:
    """How a refinement fits.

    Attributes
    ----------
    job : with the batch size that fits
    limits : of temporary arrays
    need : what is then used
    room : bytes that a rank may hold in all
    """

    job: GpuJob
    limits: Limits
    need: GpuNeed
    room: int

    @property
    def mstep_fits(self) -> bool:
        """Whether the M-step has room on the GPU as well; else the CPU does it."""
        job = self.job
        return self.need.maximisation <= self.room and not too_large(job.box_size, job.padding)


def fit(room: int, job: GpuJob, n_sharing: int = 1, of_kind: int = 0) -> GpuFit:
    """Choose limits and batch size for the memory there is.

    Parameters
    ----------
    room
        Bytes that a rank may hold in all, its context included.
    job
        What is refined, with the batch size that is wanted.
    n_sharing
        Ranks at work on the GPU, for advice.
    of_kind
        Bytes that a rank alone on such a GPU may count on; for a deterministic job.

    Returns
    -------
    GpuFit
        The first of `shrinkings` that fits.

    Raises
    ------
    InputError
        Nothing fits; says what would.
    """
    found = try_to_fit(of_kind if job.deterministic else room, job)
    if found is None:
        raise InputError(refusal(of_kind if job.deterministic else room, job, n_sharing))
    if job.deterministic:
        return _with_less_kept(room, found, n_sharing)
    return found


def _with_less_kept(room: int, chosen: GpuFit, n_sharing: int) -> GpuFit:
    """Keep fewer coarse slices until a choice fits: they are drawn again with the same bits."""
    job, limits = chosen.job, chosen.limits
    while (need := gpu_need(job, limits)).working > room:
        if limits.tile_bytes <= SMALLEST_BYTES:
            raise InputError(
                f"--deterministic: on a GPU of this kind {_above(need.working)} GiB of its memory "
                f"are needed a rank, but {_below(room)} GiB are free, and with less the last "
                f"digits would be others; free memory of the GPU, start fewer ranks on it (now "
                f"{n_sharing}), give a --batch below {job.batch_size}, or leave --deterministic out"
            )
        limits = replace(limits, tile_bytes=max(limits.tile_bytes // 2, SMALLEST_BYTES))
    return GpuFit(job, limits, need, room)


def try_to_fit(room: int, job: GpuJob) -> GpuFit | None:
    """Return the first of `shrinkings` that fits, or None.

    Parameters
    ----------
    room, job
        See `fit`.
    """
    for limits, batch_size in shrinkings(job.batch_size):
        smaller = replace(job, batch_size=batch_size)
        need = gpu_need(smaller, limits)
        if need.working <= room:
            return GpuFit(smaller, limits, need, room)
    return None


def fits(room: int, job: GpuJob) -> bool:
    """Whether a refinement fits at all.

    Parameters
    ----------
    room, job
        See `fit`.
    """
    return least(job).working <= room


def least(job: GpuJob) -> GpuNeed:
    """Predict the memory with everything made as small as it may be.

    Parameters
    ----------
    job
        See `fit`.
    """
    *_, (limits, batch_size) = shrinkings(job.batch_size)
    return gpu_need(replace(job, batch_size=batch_size), limits)


def shrinkings(batch_size: int) -> Iterator[tuple[Limits, int]]:
    """Yield limits and batch sizes from those that are wanted to the smallest, bit by bit.

    Parameters
    ----------
    batch_size
        That is wanted.

    Yields
    ------
    tuple
        Limits and batch size.
    """
    limits = Limits()
    yield limits, batch_size
    for name in _SHRUNK:
        while getattr(limits, name) > SMALLEST_BYTES:
            smaller = max(getattr(limits, name) // 2, SMALLEST_BYTES)
            limits = replace(limits, **{name: smaller})
            yield limits, batch_size
    while batch_size > SMALLEST_BATCH:
        batch_size = max(batch_size // 2, SMALLEST_BATCH)
        yield limits, batch_size


def largest_box(room: int, job: GpuJob) -> int:
    """Find the largest even box that fits, everything else unchanged.

    Parameters
    ----------
    room, job
        See `fit`; exhaustive searches are scaled with the box.

    Returns
    -------
    int
        0 if none does.
    """
    low, high = SMALLEST_BOX // 2 - 1, LARGEST_BOX // 2
    while low < high:
        middle = (low + high + 1) // 2
        if fits(room, with_box(job, 2 * middle)):
            low = middle
        else:
            high = middle - 1
    return 2 * low if 2 * low >= SMALLEST_BOX else 0


def with_box(job: GpuJob, box_size: int) -> GpuJob:
    """Return the job with images of another box; image sizes of first passes keep their pixels.

    Parameters
    ----------
    job
        What is refined.
    box_size
        Instead of its own; a smaller one comes from binning.
    """
    searches = tuple((n, min(size, box_size)) for n, size in job.searches)
    return replace(job, box_size=box_size, searches=searches, r_max=0)


def refusal(room: int, job: GpuJob, n_sharing: int = 1) -> str:
    """Say what is needed, what there is, and each option that alone would make it fit.

    Parameters
    ----------
    room, job, n_sharing
        See `fit`.

    Returns
    -------
    str
        For an InputError.
    """
    need = least(job)
    name, largest = max(need.parts.items(), key=lambda part: part[1])
    if need.load > need.expectation:
        name, largest = "the transform of a reference", need.loading
    ways = "; ".join(advice(room, job, n_sharing))
    return (
        f"box {job.box_size} with --pad {job.padding}, {job.n_class} class(es) and --precision "
        f"{job.precision} needs {_above(need.working)} GiB of GPU memory a rank in its last "
        f"iteration, but {_below(room)} GiB are free; the largest part is {name} with "
        f"{largest / GIB:.1f} GiB. What would make it fit: {ways}"
    )


def advice(room: int, job: GpuJob, n_sharing: int = 1) -> list[str]:
    """List the changes that make a job fit, each checked by the same prediction.

    Parameters
    ----------
    room, job, n_sharing
        See `fit`.
    """
    found = []
    k = next((k for k in range(job.n_class - 1, 0, -1) if fits(room, replace(job, n_class=k))), 0)
    if k:
        found.append(f"{k} class(es) ({_needs(replace(job, n_class=k))})")
    for padding in range(job.padding - 1, 0, -1):
        less = replace(job, padding=padding)
        if fits(room, less):
            found.append(f"--pad {padding} ({_needs(less)})")
            break
    for m in range(1, len(job.searches)):
        coarser = replace(job, searches=job.searches[:-m])
        if fits(room, coarser):
            found.append(f"--auto_local_healpix_order lower by {m} ({_needs(coarser)})")
            break
    single = replace(job, precision="float32")
    if job.precision == "float64" and fits(room, single):
        found.append(f"--precision float32 ({_needs(single)})")
    for m in range(n_sharing - 1, 0, -1):
        more = (room - CONTEXT_BYTES) * n_sharing // m + CONTEXT_BYTES
        if fits(more, job):
            found.append(f"{m} rank(s) on this GPU instead of {n_sharing}")
            break
    box_size = largest_box(room, job)
    if SMALLEST_BOX <= box_size < job.box_size:
        found.append(f"images binned to {box_size} pixels ({_needs(with_box(job, box_size))})")
    gpu = math.ceil(least(job).working / GIB) * n_sharing
    return [*found, f"a GPU with {gpu} GiB free for {n_sharing} rank(s)", "the CPU, without --gpu"]


def _needs(job: GpuJob) -> str:
    return f"needs {_above(least(job).working)} GiB"


def _above(n_bytes: float) -> str:
    return f"{math.ceil(10 * n_bytes / GIB) / 10:.1f}"


def _below(n_bytes: float) -> str:
    return f"{math.floor(10 * n_bytes / GIB) / 10:.1f}"
