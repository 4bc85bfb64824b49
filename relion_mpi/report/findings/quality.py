"""What makes the resolution of a map doubtful: views, masks, curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.report.findings.finding import Finding, note, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relion_mpi.report.gather.run import Run

FSC_THRESHOLD = 0.143
POOR_EFFICIENCY, FAIR_EFFICIENCY = 0.6, 0.8
UNSEEN_SHARE = 0.02
HIGH_RANDOM_FSC = 0.1
RISING_FSC = 0.3


def views(run: Run) -> Iterator[Finding]:
    """Tell of preferred orientations."""
    if run.views is None or not run.views.is_known or run.is_planar or run.is_first:
        return
    worth = run.views.coverage
    measured = (
        f"Efficiency of coverage {worth.efficiency:.2f}, sampling compensation factor "
        f"{worth.sampling_factor:.2f}, {100 * worth.unseen_share:.0f} % of Fourier space unseen"
    )
    if worth.efficiency < POOR_EFFICIENCY or worth.unseen_share > UNSEEN_SHARE:
        yield problem(
            "preferred orientation", "Strong preferred orientation",
            f"{measured}: the map is smeared along the missing directions, and its resolution is "
            "overestimated there. Collect tilted images, change support or detergent, or leave out "
            "a part of the crowded views.",
        )  # fmt: skip
    elif worth.efficiency < FAIR_EFFICIENCY:
        yield note(
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
        yield problem(
            "tight mask", "The mask is too tight",
            f"At {found.resolution_angst:.2f} Å half-maps with random phases still correlate by "
            f"{random[at]:.2f} under the mask, where nothing but the mask can make them. Give it a "
            "wider and softer edge (relion-mpi mask --extend_inimask, --width_soft_edge).",
        )  # fmt: skip


def curve(run: Run) -> Iterator[Finding]:
    """Tell of an FSC that does not look as it should."""
    if run.last is None or run.last.fsc is None or run.is_first:
        return
    # a run compares shells of its image size only
    end = run.last.current_size // 2
    fsc = run.last.fsc[: end + 1]
    below = np.flatnonzero(fsc[1:] < FSC_THRESHOLD)
    if not below.size:
        if end >= run.last.box_size // 2:
            yield note(
                "nyquist", "The pixel size limits the resolution",
                f"The FSC is above {FSC_THRESHOLD} up to Nyquist "
                f"({2 * run.last.pixel_size_angst:.2f} Å): extract the particles with smaller "
                "pixels to see more.",
            )  # fmt: skip
        return
    after = fsc[1 + below[0] :]
    if after.size > 2 and np.convolve(after, np.ones(3) / 3, "valid").max() > RISING_FSC:
        yield problem(
            "fsc rises again", "The FSC rises again after it fell",
            f"Beyond its first fall below {FSC_THRESHOLD} it comes back to "
            f"{after.max():.2f}. Independent noise cannot do that: look for duplicates, for a mask "
            "that is too tight, or for images that were filtered or scaled up.",
        )  # fmt: skip
