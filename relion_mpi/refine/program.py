"""A refinement or classification on all ranks: rank 0 is the master, the others serve it."""

from __future__ import annotations

import contextlib
import logging
import shlex
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.core.memory import image_cache_bytes, used_bytes
from relion_mpi.dataset.image_cache import CacheLayout, make_layout
from relion_mpi.parallel import abort, roll_call
from relion_mpi.parallel.comm import node
from relion_mpi.parallel.crews import led
from relion_mpi.parallel.lost_ranks import AllLostError
from relion_mpi.parallel.shared_memory import NodeMemory, share_on_node
from relion_mpi.parallel.threads import set_threads, threads_per_rank
from relion_mpi.refine.continuing import words_to_go_on
from relion_mpi.refine.ending import EndAsked, Ending
from relion_mpi.refine.gpu_report import say_used
from relion_mpi.refine.host_job import host_job
from relion_mpi.refine.host_memory import FILE_BYTES, as_far_as
from relion_mpi.refine.host_report import NodeRoom, check_host, nodes, say_host_used
from relion_mpi.refine.lock import OutputLock
from relion_mpi.refine.outputs.writer import OutputWriter
from relion_mpi.refine.pipeline_control import JobEnded
from relion_mpi.refine.plan_time import Course, course_of, say_time
from relion_mpi.refine.refinement import Refinement
from relion_mpi.refine.scratch import images_on_scratch
from relion_mpi.refine.start import Start, make_start
from relion_mpi.refine.worker import LANES, RefineWorker

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.binding import Room
    from relion_mpi.parallel.comm import World
    from relion_mpi.parallel.crew import Crew
    from relion_mpi.refine.common_options import CommonOptions
    from relion_mpi.refine.host_memory import HostJob, HostNeed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What rank 0 tells every rank before the work begins."""

    need: HostNeed
    layout: CacheLayout
    course: Course | None


class Pages(Protocol):
    """What shows a run to people while it goes on; takes care of its own failures."""

    def refresh(self) -> None:
        """Show what was written; called in the writing thread."""

    def end(self, *, early: bool = False) -> None:
        """Show the end of the run, or that it was asked for before the run was complete."""


def refine(options: CommonOptions, ranks: World, pages: Pages | None = None) -> None:
    """Run a refinement or classification; collective over all ranks.

    Parameters
    ----------
    options
        Checked options; the same on all ranks.
    ranks
        The job.
    pages
        Shows the run; None for nothing. Used on rank 0 only.

    Raises
    ------
    AgreedStop
        Something given cannot be used; one rank has said so.
    JobEnded
        An end was asked for; what is needed to go on has been saved.
    """
    ending = Ending(options.pipeline_control)
    with ending.listening(ranks.rank):
        _refine(options, ranks, ending, pages)
        status = roll_call.tell(ranks, ending.status)
    if status:
        raise JobEnded(status)


def _refine(
    options: CommonOptions, ranks: World, ending: Ending, pages: Pages | None
) -> None:
    rooms: list[Room] = []
    if options.gpu is not None:
        from relion_mpi.backend.gpu import binding

        bound = binding.bind_rank(options.gpu, ranks)
        rooms = binding.rooms(ranks, bound, int(options.free_gpu_memory * 1e6))
    hosts = nodes(ranks)
    prepared = abort.agreed(
        ranks.comm, lambda: (*_prepare(options, rooms, hosts), OutputLock(options.o)),
        here=ranks.rank == 0,
    )  # fmt: skip
    start, host, need, lock = prepared or (None, None, None, None)
    set_threads(threads_per_rank(options.j or None, ranks))
    mine = None if start is None or need is None else _Terms(
        need, _layout(start), course_of(start)
    )
    terms: _Terms = roll_call.tell(ranks, mine)
    if terms.course is not None:
        say_time(ranks, terms.course)
    with (
        _image_memory(options, ranks, terms) as memory,
        lock or contextlib.nullcontext(),
        images_on_scratch(
            options, ranks, start, (terms.layout, memory), ending.asked
        ) as scratch,
        contextlib.ExitStack() as stack,
    ):
        reached, worker = (0, 0), RefineWorker(terms.layout, memory, scratch)
        stack.callback(worker.close)
        n_lanes = LANES["cpu" if options.gpu is None else "gpu"]

        def lead(crew: Crew) -> tuple[int, int]:
            assert start is not None
            return _master(start, crew, ending, pages)

        reached = led(ranks, worker, n_lanes, lead) or reached
        used = roll_call.gather(ranks, worker.memory_used())
        if start is not None and start.gpu is not None:
            say_used(start.gpu, used)
        peak = _host_used(ranks, memory, terms, on_gpu=options.gpu is not None)
        of_host = roll_call.gather(ranks, peak)
        if host is not None:
            order, size = reached
            say_host_used(as_far_as(host, order, options.healpix_order, size), of_host)


def _master(
    start: Start, crew: Crew, ending: Ending, pages: Pages | None
) -> tuple[int, int]:
    """Refine, and return the HEALPix order and the largest image size that were reached."""
    began = time.perf_counter()
    ended = False
    refinement: Refinement | None = None
    try:
        with OutputWriter(None if pages is None else pages.refresh) as writer:
            refinement = Refinement(start, crew, writer, shlex.join(sys.argv), ending.asked)
            try:
                refinement.run()
            except EndAsked:
                ended = True
        crew.close()
    except AllLostError:
        if refinement is not None and (line := _line_to_go_on(start, refinement)):
            log.warning("what was written is whole; go on with: %s", line)
        raise
    if ended:
        log.warning("saved; go on with: %s", _line_to_go_on(start, refinement))
    else:
        log.info("Finished in %.1f s: %s", time.perf_counter() - began, start.options.o)
    if pages is not None:
        pages.end(early=ended)
    return refinement.schedule.healpix_order, refinement.largest_size


def _line_to_go_on(start: Start, refinement: Refinement) -> str:
    """Return the command that goes on after the last complete iteration; empty before the first."""
    last = refinement.last_optimiser
    if last is None:
        return ""
    words = words_to_go_on(last, start.options.o)
    return shlex.join(["relion-mpi", start.options.command, *words])


def _prepare(
    options: CommonOptions, rooms: list[Room], hosts: list[NodeRoom]
) -> tuple[Start, HostJob, HostNeed]:
    """Check everything and make the output folder, before any rank works."""
    start = make_start(options, rooms)
    host = host_job(start, hosts[0].n_workers)
    need = check_host(host, hosts)
    try:
        options.o.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"--o {options.o}: its folder cannot be made ({error.strerror}); choose another"
        raise InputError(msg) from error
    return start, host, need


def _layout(start: Start) -> CacheLayout:
    options = start.options
    most = sys.maxsize if options.preread_images else 0
    return make_layout(start.particles, start.batches, most, half=options.preread_half)


def _image_memory(options: CommonOptions, ranks: World, terms: _Terms) -> NodeMemory:
    """Take memory for the images on this node."""
    here = node(ranks)
    run = terms.need.node_bytes(
        here.n_workers, together=ranks.size == 1,
        with_master=ranks.size == 1 or here.n_workers < here.n_ranks,
    )  # fmt: skip
    n_bytes = min(terms.layout.n_bytes, image_cache_bytes(run))
    return share_on_node(ranks, n_bytes, terms.layout.n_batch)


def _host_used(ranks: World, memory: NodeMemory, terms: _Terms, *, on_gpu: bool) -> int:
    """Return the peak of this process, less the images that its node keeps; collective.

    How much of its libraries is in memory is the system's choice and costs no other program
    anything: it counts as predicted.
    """
    peak, layout = used_bytes(), terms.layout
    if not on_gpu:
        peak += FILE_BYTES - used_bytes("RssFile")
    kept = int(np.diff(layout.offset)[memory.flags[: layout.n_batch] != 0].sum())
    if ranks.size > 1 and node(ranks).n_workers > 1:
        kept = used_bytes("RssShmem")
    return max(peak - kept, 0)
