"""When iterations ended and what they spent their time on: run_metrics.jsonl."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STAGES = ("load", "accuracy", "E-step", "reduce", "M-step", "write", "save")
"""Spans of an iteration in the order that they are drawn."""


SPANS = {
    "work": ("estep_seconds",),
    "images": ("read_wait_seconds",),
    "idle": ("idle_seconds",),
    "network": (
        "broadcast_wait_seconds", "broadcast_transfer_seconds", "reduce_wait_seconds",
        "reduce_transfer_seconds",
    ),
}  # fmt: skip
"""What a worker did, by the fields of the log that are added up."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One iteration, as the log for programs has it.

    Attributes
    ----------
    iteration : number; None for the final one
    written : when its files were begun, seconds since 1970
    seconds : by stage of rank 0
    ranks : seconds by worker and span, of `SPANS`
    fine_step_deg : angular step of the second pass
    changes_orientations_deg, changes_offsets_angst, changes_classes : since the one before
    """

    iteration: int | None
    written: float | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    fine_step_deg: float | None = None
    changes_orientations_deg: float | None = None
    changes_offsets_angst: float | None = None
    changes_classes: float | None = None


def read_course(path: Path) -> tuple[Moment, ...]:
    """Read the log for programs of a run.

    Parameters
    ----------
    path
        run_metrics.jsonl; a run of RELION has none.

    Returns
    -------
    tuple of Moment
        In order; empty where there is no file. Lines that are broken are passed over.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ()
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
            found.append(_moment(json.loads(line)))
    return tuple(found)


def _moment(line: dict[str, Any]) -> Moment:
    written = line.get("written")
    order, oversampling = line.get("healpix_order"), line.get("oversampling", 0)
    ranks = line.get("ranks") or {}
    return Moment(
        iteration=line["iteration"],
        written=datetime.fromisoformat(written).timestamp() if written else None,
        seconds={name: float(value) for name, value in (line.get("timings") or {}).items()},
        ranks={
            str(rank): {
                span: sum(fields.get(one) or 0.0 for one in names) for span, names in SPANS.items()
            }
            for rank, fields in ranks.items()
            if fields.get("particles")
        },
        fine_step_deg=None if order is None else 60.0 / 2 ** (order + oversampling),
        changes_orientations_deg=line.get("changes_orientations_deg"),
        changes_offsets_angst=line.get("changes_offsets_angst"),
        changes_classes=line.get("changes_classes"),
    )
