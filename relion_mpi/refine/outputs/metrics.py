"""One line of JSON an iteration, for plots and for watching a run."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.io.atomic import replacing
from relion_mpi.refine.outputs.listing import resolution_angst
from relion_mpi.refine.schedule import Changes

if TYPE_CHECKING:
    from pathlib import Path

    from relion_mpi.refine.record import IterationRecord


def append_metrics(path: Path, record: IterationRecord, began: float | None = None) -> None:
    """Add the line of an iteration after those of the iterations before it.

    Lines of later ones are those of an earlier run, or of what is done again after --continue.

    Parameters
    ----------
    path
        File to add to.
    record
        Of the iteration.
    began
        When its first file was begun, by `time.perf_counter`: "write_seconds" of rank 0 are those
        since then.
    """
    found = metrics(record)
    if began is not None and 0 in record.ranks:
        found["ranks"] = found["ranks"] | {
            0: {**record.ranks[0], "write_seconds": time.perf_counter() - began}
        }
    line = json.dumps(_plain(found), allow_nan=False)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [one for one in lines if _is_before(one, record.iteration)]
    with replacing(path) as temporary:
        temporary.write_text("\n".join([*kept, line, ""]), encoding="utf-8")


def metrics(record: IterationRecord) -> dict[str, Any]:
    """Summarise an iteration in a few numbers.

    Parameters
    ----------
    record
        Of the iteration.

    Returns
    -------
    dict
        Name with unit to value; lists hold one value for each half-set.
    """
    model, schedule = record.model, record.schedule
    changes = schedule.changes or Changes()
    return {
        "iteration": record.iteration,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "resolution_angst": resolution_angst(model.current_resolution),
        "current_size": model.current_size,
        "healpix_order": record.orientations.order,
        "oversampling": schedule.oversampling,
        "local_sigma_deg": schedule.local_sigma_deg,
        "offset_range_angst": schedule.offset_range_angst,
        "offset_step_angst": schedule.offset_step_angst,
        "ave_pmax": [half.ave_pmax for half in model.halves],
        "log_likelihood": [half.log_likelihood for half in model.halves],
        "avg_norm": [half.avg_norm for half in model.halves],
        "sigma_offset_angst": [math.sqrt(half.sigma2_offset_angst2) for half in model.halves],
        "pdf_class": [half.pdf_class for half in model.halves],
        "accuracy_rotation_deg": model.accuracy.best_rotation_deg,
        "accuracy_translation_angst": model.accuracy.best_translation_angst,
        "changes_orientations_deg": changes.orientations_deg,
        "changes_offsets_angst": changes.offsets_angst,
        "changes_classes": changes.classes,
        "iterations_without_resolution_gain": schedule.iterations_without_resolution_gain,
        "iterations_without_changes": schedule.iterations_without_changes,
        "has_converged": schedule.has_converged,
        "timings": record.timings or {},
        "ranks": dict(record.ranks),
    }


def _is_before(line: str, iteration: int | None) -> bool:
    """Whether a line is that of an earlier iteration; None is the last one."""
    try:
        number = json.loads(line)["iteration"]
    except (ValueError, KeyError, TypeError):
        return False
    return number is not None and (iteration is None or number < iteration)


def _plain(value: Any) -> Any:
    """Return a value that JSON has: numpy's types made Python's, null for what is not finite."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
