"""What a person should know before looking at pictures, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from relion_mpi.report.gather.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relion_mpi.report.gather.run import Run

FSC_THRESHOLD = 0.143
POOR_EFFICIENCY, FAIR_EFFICIENCY = 0.6, 0.8
UNSEEN_SHARE = 0.02
HIGH_RANDOM_FSC = 0.1
RISING_FSC = 0.3
TOO_NEAR_SHARE = 0.1
"""Of the particle's diameter: picks that lie closer are the same particle twice."""
LOW_PMAX = 0.05
TINY_SHARE, HUGE_SHARE = 0.005, 0.95
STILL_CHANGING = 0.05
FAR_OFF_CENTRE = 0.25
"""Of the box: particles beyond it are cut off at the edge."""
FEW, MANY = 0.01, 0.05
DEFOCUS_ANGST = (1_000.0, 60_000.0)
IDLE_SHARE = 0.3
NO_RESOLUTION = 999.0


class Level(StrEnum):
    """How bad it is."""

    PROBLEM = "problem"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know.

    Attributes
    ----------
    level : how bad it is
    name : short and fixed, for programs and tests
    title : a few words
    text : what was found, what it means, what to do
    """

    level: Level
    name: str
    title: str
    text: str


def find_all(run: Run) -> list[Finding]:
    """Look at a run with all eyes.

    Parameters
    ----------
    run
        What was gathered.

    Returns
    -------
    list of Finding
        Problems first.
    """
    found = [finding for check in CHECKS for finding in check(run)]
    return sorted(found, key=lambda one: one.level is not Level.PROBLEM)


def _problem(name: str, title: str, text: str) -> Finding:
    return Finding(Level.PROBLEM, name, title, text)


def _note(name: str, title: str, text: str) -> Finding:
    return Finding(Level.NOTE, name, title, text)


def how_it_ended(run: Run) -> Iterator[Finding]:
    """Tell of runs that did not come to their end."""
    if run.state is State.FAILED:
        yield _problem(
            "failed", "The run failed",
            "Its job is gone and left no result. The reason is at the end of its log (run.err in "
            "RELION's interface); --continue goes on from the last iteration.",
        )  # fmt: skip
    elif run.state is State.STOPPED:
        yield _note(
            "stopped", "The run was ended early",
            "An end was asked for and everything was saved: --continue goes on where it was.",
        )  # fmt: skip
    elif run.state is State.UNFINISHED:
        yield _note(
            "unfinished", "The run is not complete",
            "There are no final files, and nothing was written for a while. It was ended, or waits "
            "for a machine; --continue goes on from the last iteration.",
        )  # fmt: skip
    elif run.state is State.FINISHED and run.origin.is_auto and run.last is not None:
        if run.last.iteration is not None:
            yield _note(
                "not converged", "Refinement did not converge",
                "It reached its last allowed iteration, so there is no final map of all particles; "
                "go on with --continue and a larger --auto_iter_max.",
            )  # fmt: skip


def views(run: Run) -> Iterator[Finding]:
    """Tell of preferred orientations."""
    if run.views is None or not run.views.is_known or run.is_planar or _is_first(run):
        return
    worth = run.views.coverage
    measured = (
        f"Efficiency of coverage {worth.efficiency:.2f}, sampling compensation factor "
        f"{worth.sampling_factor:.2f}, {100 * worth.unseen_share:.0f} % of Fourier space unseen"
    )
    if worth.efficiency < POOR_EFFICIENCY or worth.unseen_share > UNSEEN_SHARE:
        yield _problem(
            "preferred orientation", "Strong preferred orientation",
            f"{measured}: the map is smeared along the missing directions, and its resolution is "
            "overestimated there. Collect tilted images, change support or detergent, or leave out "
            "a part of the crowded views.",
        )  # fmt: skip
    elif worth.efficiency < FAIR_EFFICIENCY:
        yield _note(
            "preferred orientation", "Some views are rare",
            f"{measured}: some directions are better resolved than others. More particles of the "
            "rare views help most.",
        )  # fmt: skip


def mask(run: Run) -> Iterator[Finding]:
    """Tell of masks that make correlation of their own."""
    found = run.sharpened
    if found is None or found.random_from_angst is None:
        return
    random, corrected = (found.fsc.get(n) for n in ("masked, random phases", "corrected"))
    if random is None or corrected is None or not found.resolution_angst > 0:
        return
    beyond = found.frequency > 1.05 / found.random_from_angst
    at = int(np.argmin(np.abs(found.frequency - 1.0 / found.resolution_angst)))
    if beyond[at] and random[at] > HIGH_RANDOM_FSC:
        yield _problem(
            "tight mask", "The mask is too tight",
            f"At {found.resolution_angst:.2f} Å half-maps with random phases still correlate by "
            f"{random[at]:.2f} under the mask, where nothing but the mask can make them. Give it a "
            "wider and softer edge (relion-mpi mask --extend_inimask, --width_soft_edge).",
        )  # fmt: skip


def halves(run: Run) -> Iterator[Finding]:
    """Tell of half-sets that share particles, or are unequal."""
    p = run.particles
    if p is None or p.half is None or not run.has_halves:
        return
    sizes = np.bincount(p.half, minlength=3)[1:3]
    if sizes.min() == 0:
        return
    n_shared = _n_in_both(run)
    if n_shared > 0:
        yield _problem(
            "halves not independent", "The half-sets are not independent",
            f"{n_shared} particles of one half-set are in the other one too, as the same image or "
            "the same place on the micrograph. The FSC is then too high; remove duplicates and "
            "refine again.",
        )  # fmt: skip
    if sizes.max() > 1.2 * sizes.min():
        yield _note(
            "unequal halves", "Half-sets of unequal size",
            f"{sizes[0]} and {sizes[1]} particles: the smaller one decides the resolution. Let the "
            "half-sets be drawn anew, without rlnRandomSubset in the particle file.",
        )  # fmt: skip


def curve(run: Run) -> Iterator[Finding]:
    """Tell of an FSC that does not look as it should."""
    if run.last is None or run.last.fsc is None or _is_first(run):
        return
    # a run compares shells of its image size only
    end = run.last.current_size // 2
    fsc = run.last.fsc[: end + 1]
    below = np.flatnonzero(fsc[1:] < FSC_THRESHOLD)
    if not below.size:
        if end >= run.last.box_size // 2:
            yield _note(
                "nyquist", "The pixel size limits the resolution",
                f"The FSC is above {FSC_THRESHOLD} up to Nyquist "
                f"({2 * run.last.pixel_size_angst:.2f} Å): extract the particles with smaller "
                "pixels to see more.",
            )  # fmt: skip
        return
    after = fsc[1 + below[0] :]
    if after.size > 2 and np.convolve(after, np.ones(3) / 3, "valid").max() > RISING_FSC:
        yield _problem(
            "fsc rises again", "The FSC rises again after it fell",
            f"Beyond its first fall below {FSC_THRESHOLD} it comes back to "
            f"{after.max():.2f}. Independent noise cannot do that: look for duplicates, for a mask "
            "that is too tight, or for images that were filtered or scaled up.",
        )  # fmt: skip


def particles(run: Run) -> Iterator[Finding]:
    """Tell of particles that count for nothing, or lie far off."""
    p = run.particles
    if run.n_left_out:
        yield _note(
            "left out", f"{run.n_left_out} particles were left out",
            f"Their images cannot be used; {run.job.name}_quarantine.star lists them with the "
            "reasons.",
        )  # fmt: skip
    if p is None or _is_first(run):
        return
    zero = 0 if p.pmax is None else int((~(p.pmax > 0)).sum()) - run.n_left_out
    if zero > 0 and not run.origin.is_mini_batch:
        yield _problem(
            "zero weight", f"{zero} particles have no weight",
            "Their best pose has a probability of 0, so that they add nothing to the map. Look at "
            "these images: they are empty, broken, or on another grey scale.",
        )  # fmt: skip
    if p.shift_angst is not None and run.last is not None:
        far = np.hypot(*p.shift_angst.T) > FAR_OFF_CENTRE * run.last.box_angst
        if far.mean() > FEW:
            yield _note(
                "far off centre", f"{100 * far.mean():.0f} % of the particles are far off centre",
                f"They lie more than {FAR_OFF_CENTRE * run.last.box_angst:.0f} Å from the centre "
                "of their boxes. Extract them again around their new origins, in larger boxes.",
            )  # fmt: skip
    if p.defocus_angst is not None:
        mean = p.defocus_angst.mean(axis=1)
        odd = (mean < DEFOCUS_ANGST[0]) | (mean > DEFOCUS_ANGST[1])
        if odd.mean() > FEW:
            yield _note(
                "odd defocus", f"{100 * odd.mean():.0f} % of the defoci are unusual",
                "They lie outside 0.1 to 6 µm; check the fits of these micrographs, and the sign.",
            )  # fmt: skip


def certainty(run: Run) -> Iterator[Finding]:
    """Tell of poses that are anybody's guess."""
    if run.last is None or _is_first(run) or len(run.steps) < 2 and run.last.iteration is not None:
        return
    if run.last.ave_pmax < LOW_PMAX:
        yield _note(
            "low pmax", f"Poses are uncertain (mean Pmax {run.last.ave_pmax:.3f})",
            "Many poses fit each particle nearly as well as its best one. The particles are small "
            "or noisy, the mask on them is too wide, or the reference is of something else.",
        )  # fmt: skip


def classes(run: Run) -> Iterator[Finding]:
    """Tell of empty classes, of one that took all, and of particles that did not settle."""
    last = run.last
    if last is None or last.n_class < 2 or _is_first(run):
        return
    shares = last.shares
    tiny = int((shares < TINY_SHARE / max(last.n_class / 10, 1)).sum())
    if tiny:
        yield _note(
            "empty classes", f"{tiny} of {last.n_class} classes are empty or nearly so",
            "The data do not fill them. That does no harm; fewer classes would do as well.",
        )  # fmt: skip
    if shares.max() > HUGE_SHARE:
        yield _note(
            "one class", f"One class holds {100 * shares.max():.0f} % of the particles",
            "Nothing was sorted. The particles may be alike; else begin with finer angles or poses "
            "from a refinement (--skip_align), or another number of classes.",
        )  # fmt: skip
    changed = next((m.changes_classes for m in reversed(run.course) if m.changes_classes), 0.0)
    if run.state is State.FINISHED and changed > STILL_CHANGING and not run.origin.is_mini_batch:
        yield _note(
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
    if waiting and longest > 60.0:
        yield _note(
            "idle ranks", f"{len(waiting)} of {len(spans)} workers wait much",
            "They were idle for more than 30 % of the last E-step: there are too few batches for "
            "so many ranks, or one rank is slower than the others.",
        )  # fmt: skip


def log_lines(run: Run) -> Iterator[Finding]:
    """Tell that the log has warnings, which the page shows below."""
    if run.messages:
        yield _note(
            "log", f"The log has {len(run.messages)} warnings or errors",
            "They stand at the end of this page.",
        )  # fmt: skip


CHECKS: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    how_it_ended, views, mask, halves, curve, particles, certainty, classes, ranks, log_lines,
)  # fmt: skip


def _is_first(run: Run) -> bool:
    """Whether nothing was searched yet."""
    return run.last is not None and run.last.iteration == 0


def _n_in_both(run: Run) -> int:
    """Count particles of one half-set that are in the other one as well."""
    p = run.particles
    assert p is not None
    assert p.half is not None
    first, second = p.half == 1, p.half == 2
    shared = 0
    if p.image is not None:
        names = p.image.to_numpy()
        shared = len(set(names[first].tolist()) & set(names[second].tolist()))
    diameter = run.origin.particle_diameter_angst
    if shared or diameter is None or p.coordinate_angst is None or p.micrograph is None:
        return shared
    # one tree for all micrographs, which lie far apart in the third dimension
    radius = TOO_NEAR_SHARE * diameter
    number = p.micrograph.rank("dense").to_numpy().astype(np.float64)
    points = np.column_stack([p.coordinate_angst, number * 4.0 * radius])
    if not np.isfinite(points).all() or not p.coordinate_angst.any():
        return 0
    near = cKDTree(points[first]).query(points[second], distance_upper_bound=radius)[0]
    return int(np.isfinite(near).sum())
