"""Particles that count twice, for nothing, or lie far off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from relion_mpi.report.findings.finding import Finding, note, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relion_mpi.report.gather.run import Run

TOO_NEAR_SHARE = 0.1
"""Of the particle's diameter: picks that lie closer are the same particle twice."""
FAR_OFF_CENTRE = 0.25
"""Of the box: particles beyond it are cut off at the edge."""
FEW = 0.01
DEFOCUS_ANGST = (1_000.0, 60_000.0)
UNEQUAL = 1.2


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
        yield problem(
            "halves not independent", "The half-sets are not independent",
            f"{n_shared} particles of one half-set are in the other one too, as the same image or "
            "the same place on the micrograph. The FSC is then too high; remove duplicates and "
            "refine again.",
        )  # fmt: skip
    if sizes.max() > UNEQUAL * sizes.min():
        yield note(
            "unequal halves", "Half-sets of unequal size",
            f"{sizes[0]} and {sizes[1]} particles: the smaller one decides the resolution. Let the "
            "half-sets be drawn anew, without rlnRandomSubset in the particle file.",
        )  # fmt: skip


def particles(run: Run) -> Iterator[Finding]:
    """Tell of particles that count for nothing, or lie far off."""
    p = run.particles
    if run.n_left_out:
        yield note(
            "left out", f"{run.n_left_out} particles were left out",
            f"Their images cannot be used; {run.job.name}_quarantine.star lists them with the "
            "reasons.",
        )  # fmt: skip
    if p is None or run.is_first:
        return
    zero = 0 if p.pmax is None else int((~(p.pmax > 0)).sum()) - run.n_left_out
    if zero > 0 and not run.origin.is_mini_batch:
        yield problem(
            "zero weight", f"{zero} particles have no weight",
            "Their best pose has a probability of 0, so that they add nothing to the map. Look at "
            "these images: they are empty, broken, or on another grey scale.",
        )  # fmt: skip
    if p.shift_angst is not None and run.last is not None:
        far = np.hypot(*p.shift_angst.T) > FAR_OFF_CENTRE * run.last.box_angst
        if far.mean() > FEW:
            yield note(
                "far off centre", f"{100 * far.mean():.0f} % of the particles are far off centre",
                f"They lie more than {FAR_OFF_CENTRE * run.last.box_angst:.0f} Å from the centre "
                "of their boxes. Extract them again around their new origins, in larger boxes.",
            )  # fmt: skip
    if p.defocus_angst is not None:
        mean = p.defocus_angst.mean(axis=1)
        odd = (mean < DEFOCUS_ANGST[0]) | (mean > DEFOCUS_ANGST[1])
        if odd.mean() > FEW:
            yield note(
                "odd defocus", f"{100 * odd.mean():.0f} % of the defoci are unusual",
                "They lie outside 0.1 to 6 µm; check the fits of these micrographs, and the sign.",
            )  # fmt: skip


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
