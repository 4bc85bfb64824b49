"""A refinement on all ranks: rank 0 is the master, the others serve it."""

from __future__ import annotations

import contextlib
import logging
import shlex
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.image_cache import CacheLayout, make_layout
from relion_mpi.parallel import abort, roll_call
from relion_mpi.parallel.comm import node
from relion_mpi.parallel.inline import InlineCrew
from relion_mpi.parallel.mpi_crew import MPICrew
from relion_mpi.parallel.shared_memory import NodeMemory, share_on_node
from relion_mpi.parallel.threads import set_threads, threads_per_rank
from relion_mpi.parallel.worker_loop import serve
from relion_mpi.refine.ending import EndAsked, Ending
from relion_mpi.refine.gpu_report import say_used
from relion_mpi.refine.lock import OutputLock
from relion_mpi.refine.memory import MemoryNeed, image_cache_bytes, memory_need, say_need
from relion_mpi.refine.outputs.writer import OutputWriter
from relion_mpi.refine.pipeline_control import JobEnded
from relion_mpi.refine.refinement import Refinement
from relion_mpi.refine.start import Start, make_start
from relion_mpi.refine.worker import LANES, RefineWorker

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.binding import Room
    from relion_mpi.parallel.comm import World
    from relion_mpi.parallel.crew import Crew
    from relion_mpi.refine.options import RefineOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What rank 0 tells every rank before the work begins."""

    need: MemoryNeed
    layout: CacheLayout


def refine(options: RefineOptions, ranks: World) -> None:
    """Run a refinement; collective over all ranks.

    Parameters
    ----------
    options
        Checked options; the same on all ranks.
    ranks
        The job.

    Raises
    ------
    AgreedStop
        Something given cannot be used; one rank has said so.
    JobEnded
        An end was asked for; what is needed to go on has been saved.
    """
    ending = Ending(options.pipeline_control)
    with ending.listening(ranks.rank):
        _refine(options, ranks, ending)
        status = roll_call.tell(ranks, ending.status)
    if status:
        raise JobEnded(status)


def _refine(options: RefineOptions, ranks: World, ending: Ending) -> None:
    rooms: list[Room] = []
    if options.gpu is not None:
        from relion_mpi.backend.gpu import binding

        bound = binding.bind_rank(options.gpu, ranks)
        rooms = binding.rooms(ranks, bound, int(options.free_gpu_memory * 1e6))
    start, mistake, lock = None, None, None
    if ranks.rank == 0:
        try:
            start = _prepare(options, rooms)
            lock = OutputLock(options.o)
        except InputError as error:
            mistake = error
    abort.agree_or_stop(ranks.comm, mistake)
    set_threads(threads_per_rank(options.j or None, ranks))
    terms: _Terms = roll_call.tell(ranks, None if start is None else _terms(start))
    here = node(ranks)
    if start is not None:
        say_need(terms.need, here.n_workers, together=ranks.size == 1)
    with (
        _image_memory(options, ranks, terms) as memory,
        lock or contextlib.nullcontext(),
        contextlib.ExitStack() as stack,
    ):
        worker = RefineWorker(terms.layout, memory)
        stack.callback(worker.close)
        n_lanes = LANES["cpu" if options.gpu is None else "gpu"]
        if start is None:
            assert ranks.comm is not None
            serve(ranks.comm, worker, n_lanes)
        elif ranks.comm is None or ranks.size == 1:
            _master(start, InlineCrew(worker, n_lanes), ending)
        else:
            _master(start, MPICrew(ranks.comm, n_lanes), ending)
        used = roll_call.gather(ranks, worker.memory_used())
        if start is not None and start.gpu is not None:
            say_used(start.gpu, used)


def _master(start: Start, crew: Crew, ending: Ending) -> None:
    began = time.perf_counter()
    ended = False
    with OutputWriter() as writer:
        refinement = Refinement(start, crew, writer, shlex.join(sys.argv), ending.asked)
        try:
            refinement.run()
        except EndAsked:
            ended = True
    crew.close()
    if ended:
        line = shlex.join(["relion-mpi", "refine3d", "--continue", str(refinement.last_optimiser)])
        log.warning("saved; go on with: %s", line)
        return
    log.info("Finished in %.1f s: %s", time.perf_counter() - began, start.options.o)


def _prepare(options: RefineOptions, rooms: list[Room]) -> Start:
    """Check everything and make the output folder, before any rank works."""
    start = make_start(options, rooms)
    try:
        options.o.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"--o {options.o}: its folder cannot be made ({error.strerror}); choose another"
        raise InputError(msg) from error
    return start


def _terms(start: Start) -> _Terms:
    options = start.options
    need = memory_need(
        start.model.box_size, options.pad, start.model.n_class,
        on_gpu=options.gpu is not None, double=options.precision == "float64",
    )  # fmt: skip
    most = sys.maxsize if options.preread_images else 0
    return _Terms(
        need, make_layout(start.particles, start.batches, most, half=options.preread_half)
    )


def _image_memory(options: RefineOptions, ranks: World, terms: _Terms) -> NodeMemory:
    """Take memory for the images on this node."""
    here = node(ranks)
    with_master = ranks.size == 1 or here.n_workers < here.n_ranks
    n_bytes = image_cache_bytes(terms.need, here.n_workers, with_master=with_master)
    return share_on_node(ranks, min(terms.layout.n_bytes, n_bytes), terms.layout.n_batch)
