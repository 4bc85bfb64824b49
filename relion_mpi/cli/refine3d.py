"""`relion-mpi refine3d`: gold-standard 3D refinement."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.parallel import abort
from relion_mpi.parallel.comm import node, world
from relion_mpi.parallel.inline import InlineCrew
from relion_mpi.parallel.mpi_crew import MPICrew
from relion_mpi.parallel.threads import set_threads, threads_per_rank
from relion_mpi.parallel.worker_loop import serve
from relion_mpi.refine.memory import memory_need, say_need
from relion_mpi.refine.options import RefineOptions as Options
from relion_mpi.refine.outputs.writer import OutputWriter
from relion_mpi.refine.refinement import Refinement
from relion_mpi.refine.start import Start, make_start
from relion_mpi.refine.worker import RefineWorker

if TYPE_CHECKING:
    from relion_mpi.parallel.crew import Crew

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "Refine one structure from particles to gold-standard half-maps (RELION's auto-refine)"

log = logging.getLogger(__name__)


def run(options: Options) -> int:
    """Run on every rank: rank 0 is the master, the others serve it.

    Parameters
    ----------
    options
        Checked options; the same on all ranks.

    Returns
    -------
    int
        Exit status.
    """
    ranks = world()
    if options.gpu is not None:
        from relion_mpi.backend.gpu.binding import bind_rank

        bind_rank(options.gpu, ranks, master_too=False)
    start, mistake = None, None
    if ranks.rank == 0:
        try:
            start = _prepare(options)
        except InputError as error:
            mistake = error
    abort.agree_or_stop(ranks.comm, mistake)
    set_threads(threads_per_rank(options.j or None, ranks))
    workers_here = node(ranks).n_workers
    if start is None:
        assert ranks.comm is not None
        serve(ranks.comm, RefineWorker())
        return 0
    began = time.perf_counter()
    need = memory_need(
        start.model.box_size, options.pad, start.model.n_class,
        on_gpu=options.gpu is not None, double=options.precision == "float64",
    )  # fmt: skip
    say_need(need, workers_here, together=ranks.size == 1)
    crew: Crew
    if ranks.comm is None or ranks.size == 1:
        crew = InlineCrew(RefineWorker())
    else:
        crew = MPICrew(ranks.comm)
    with OutputWriter() as writer:
        refinement = Refinement(start, crew, writer, shlex.join(sys.argv))
        refinement.run()
    crew.close()
    log.info("Finished in %.1f s: %s", time.perf_counter() - began, options.o)
    return 0


def _prepare(options: Options) -> Start:
    """Check everything and make the output folder, before any rank works."""
    start = make_start(options)
    try:
        options.o.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"--o {options.o}: its folder cannot be made ({error.strerror}); choose another"
        raise InputError(msg) from error
    return start
