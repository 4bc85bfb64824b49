"""Say what a refinement will hold on each GPU, and afterwards what it held."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from relion_mpi.backend.limits import Limits
from relion_mpi.refine.gpu_memory import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.backend.gpu.binding import Room
    from relion_mpi.refine.gpu_fit import GpuFit

log = logging.getLogger(__name__)


def say_fit(fit: GpuFit, rooms: Sequence[Room], wanted_batch: int) -> None:
    """Log the prediction, a line for each GPU.

    Parameters
    ----------
    fit
        What was chosen.
    rooms
        Of the GPUs that workers use.
    wanted_batch
        Batch size without regard to memory.
    """
    for one in rooms:
        log.info(
            "%s: %s (%s): each of %d rank(s) at work will need %.2f GiB of %.2f GiB in the last "
            "iteration: %s",
            one.host, one.name, one.uuid, one.n_sharing, fit.need.working / GIB,
            one.n_bytes / GIB, fit.need,
        )  # fmt: skip
    if fit.job.batch_size < wanted_batch:
        log.info(
            "Batches have %d particles instead of %d, to fit", fit.job.batch_size, wanted_batch
        )
    if fit.limits != Limits():
        log.info("To fit, %s", limits_text(fit.limits))
    if not fit.mstep_fits:
        log.info(
            "The M-step would need %.2f GiB: in the last iterations the CPU will do it",
            fit.need.maximisation / GIB,
        )


def say_used(fit: GpuFit, used: Sequence[int]) -> None:
    """Log the prediction beside what was used.

    Parameters
    ----------
    fit
        What was chosen.
    used
        Most bytes that each rank held; 0 for one that did not work.
    """
    if max(used) > 0:
        log.info(
            "GPU memory of a rank: %.2f GiB used at most, %.2f GiB predicted for the last "
            "iteration",
            max(used) / GIB, fit.need.working / GIB,
        )  # fmt: skip


def limits_text(limits: Limits) -> str:
    """Write limits.

    Parameters
    ----------
    limits
        Of temporary arrays.

    Returns
    -------
    str
        Part of a sentence.
    """
    return (
        f"temporary arrays take at most {limits.score_bytes / GIB:.2f} and "
        f"{limits.slice_bytes / GIB:.2f} GiB a thread, kept slices {limits.tile_bytes / GIB:.2f} "
        "GiB a half-set"
    )
