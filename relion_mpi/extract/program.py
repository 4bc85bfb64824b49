"""An extraction on all ranks: rank 0 is the master, the others serve it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from relion_mpi.core.progress import Progress
from relion_mpi.extract.checks import check_options
from relion_mpi.extract.operate import operate_on_stack
from relion_mpi.extract.outputs import prepare_folders, write_tables
from relion_mpi.extract.plan import make_plan
from relion_mpi.extract.worker import ExtractWorker
from relion_mpi.parallel import abort, roll_call
from relion_mpi.parallel.crews import led
from relion_mpi.parallel.threads import limit_blas, threads_per_rank

if TYPE_CHECKING:
    from relion_mpi.extract.options import ExtractOptions
    from relion_mpi.extract.plan import Plan
    from relion_mpi.extract.worker import Counts
    from relion_mpi.parallel.comm import World
    from relion_mpi.parallel.crew import Crew

log = logging.getLogger(__name__)


def extract(options: ExtractOptions, ranks: World) -> None:
    """Extract particles, or operate on a stack; collective over all ranks.

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
    """
    plan = abort.agreed(ranks.comm, lambda: _planned(options), here=ranks.rank == 0)
    if options.operate_on is not None:
        return
    n_lanes = _lanes(options, ranks)
    limit_blas()

    def lead(crew: Crew) -> None:
        assert plan is not None
        _master(options, plan, crew, n_lanes)

    led(ranks, ExtractWorker(), n_lanes, lead)


def _planned(options: ExtractOptions) -> Plan | None:
    """Read and check what there is to do, and do at once what is not shared out."""
    check_options(options)
    if options.operate_on is not None:
        operate_on_stack(options)
        return None
    plan = make_plan(options)
    prepare_folders(options, plan)
    return plan


def _lanes(options: ExtractOptions, ranks: World) -> int:
    """Return how many micrographs every worker works on at once; collective."""
    mine = threads_per_rank(options.j or None, ranks)
    of_all = roll_call.gather(ranks, mine)
    return int(roll_call.tell(ranks, min(of_all[1:] or of_all) if of_all else 0))


def _master(options: ExtractOptions, plan: Plan, crew: Crew, n_lanes: int) -> None:
    log.info(
        "%d particles of %d micrographs to extract, %d micrographs are done; %d at once on each of "
        "%d worker(s), which takes %.0f MB there",
        plan.n_particles, len(plan.tasks), len(plan.done), n_lanes, crew.n_workers,
        plan.worker_bytes(n_lanes) / 1e6,
    )  # fmt: skip
    n_flat, n_not_finite = 0, 0
    crew.begin(plan.recipe, {})
    with Progress(plan.n_particles, "Extracting") as progress:

        def note(number: int, counts: Counts) -> None:
            nonlocal n_flat, n_not_finite
            n_flat += counts.n_flat
            n_not_finite += counts.n_not_finite
            progress.update(counts.n_particles)

        crew.run(plan.tasks, note, summed=False)
    crew.close()
    if n_flat:
        log.warning("%d particle(s) have a constant background: not normalised", n_flat)
    if n_not_finite:
        log.warning(
            "%d particle(s) have NaN or infinite pixels, as their micrographs have: look at these, "
            "and leave the particles out", n_not_finite,
        )  # fmt: skip
    n_particles = write_tables(options, plan)
    for row in plan.optics.iter_rows(named=True):
        log.info(
            "Pixel size of particles in optics group %s: %g Angstrom", row["rlnOpticsGroup"],
            row["rlnImagePixelSize"],
        )  # fmt: skip
    log.info("%s: %d particles", options.part_star or options.part_dir, n_particles)
