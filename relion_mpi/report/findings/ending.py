"""How a run ended, and whether it settled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.report.findings.finding import Finding, note, problem
from relion_mpi.report.gather.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relion_mpi.report.gather.run import Run

LOW_PMAX = 0.05
TINY_SHARE, HUGE_SHARE = 0.005, 0.95
STILL_CHANGING = 0.05
IDLE_SHARE, LONG_SECONDS = 0.3, 60.0


def how_it_ended(run: Run) -> Iterator[Finding]:
    """Tell of runs that did not come to their end."""
    if run.state is State.FAILED:
        yield problem(
            "failed", "The run failed",
            "Its job is gone and left no result. The reason is at the end of its log (run.err in "
            "RELION's interface); --continue goes on from the last iteration.",
        )  # fmt: skip
    elif run.state is State.STOPPED:
        yield note(
            "stopped", "The run was ended early",
            "An end was asked for and everything was saved: --continue goes on where it was.",
        )  # fmt: skip
    elif run.state is State.UNFINISHED:
        yield note(
            "unfinished", "The run is not complete",
            "There are no final files, and nothing was written for a while. It was ended, or waits "
            "for a machine; --continue goes on from the last iteration.",
        )  # fmt: skip
    elif run.state is State.FINISHED and run.origin.is_auto and run.last is not None:
        if run.last.iteration is not None:
            yield note(
                "not converged", "Refinement did not converge",
                "It reached its last allowed iteration, so there is no final map of all particles; "
                "go on with --continue and a larger --auto_iter_max.",
            )  # fmt: skip


def certainty(run: Run) -> Iterator[Finding]:
    """Tell of poses that are anybody's guess."""
    if run.last is None or run.is_first or (len(run.steps) < 2 and run.last.iteration is not None):
        return
    if run.last.ave_pmax < LOW_PMAX:
        yield note(
            "low pmax", f"Poses are uncertain (mean Pmax {run.last.ave_pmax:.3f})",
            "Many poses fit each particle nearly as well as its best one. The particles are small "
            "or noisy, the mask on them is too wide, or the reference is of something else.",
        )  # fmt: skip


def classes(run: Run) -> Iterator[Finding]:
    """Tell of empty classes, of one that took all, and of particles that did not settle."""
    last = run.last
    if last is None or last.n_class < 2 or run.is_first:
        return
    shares = last.shares
    tiny = int((shares < TINY_SHARE / max(last.n_class / 10, 1)).sum())
    if tiny:
        yield note(
            "empty classes", f"{tiny} of {last.n_class} classes are empty or nearly so",
            "The data do not fill them. That does no harm; fewer classes would do as well.",
        )  # fmt: skip
    if shares.max() > HUGE_SHARE:
        yield note(
            "one class", f"One class holds {100 * shares.max():.0f} % of the particles",
            "Nothing was sorted. The particles may be alike; else begin with finer angles or poses "
            "from a refinement (--skip_align), or another number of classes.",
        )  # fmt: skip
    changed = next((m.changes_classes for m in reversed(run.course) if m.changes_classes), 0.0)
    if run.state is State.FINISHED and changed > STILL_CHANGING and not run.origin.is_mini_batch:
        yield note(
            "classes change", f"{100 * changed:.0f} % of the particles still changed class",
            "That was in the last iteration: classes have not settled. Go on with --continue and a "
            "larger --iter.",
        )  # fmt: skip


def ranks(run: Run) -> Iterator[Finding]:
    """Tell of workers that wait."""
    spans = next((moment.ranks for moment in reversed(run.course) if moment.ranks), {})
    if len(spans) < 2:
        return
    idle = {
        rank: one.get("idle", 0.0) / max(sum(one.values()), 1e-9) for rank, one in spans.items()
    }
    waiting = [rank for rank, share in idle.items() if share > IDLE_SHARE]
    longest = max(sum(one.values()) for one in spans.values())
    if waiting and longest > LONG_SECONDS:
        yield note(
            "idle ranks", f"{len(waiting)} of {len(spans)} workers wait much",
            "They were idle for more than 30 % of the last E-step: there are too few batches for "
            "so many ranks, or one rank is slower than the others.",
        )  # fmt: skip


def log_lines(run: Run) -> Iterator[Finding]:
    """Tell that the log has warnings, which the page shows below."""
    if run.messages:
        yield note(
            "log", f"The log has {len(run.messages)} warnings or errors",
            "They stand at the end of this page.",
        )  # fmt: skip
