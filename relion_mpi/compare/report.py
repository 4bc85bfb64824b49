"""A comparison as text, JSON and STAR."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from relion_mpi.compare.poses import LIMITS_DEG
from relion_mpi.io.atomic import replacing
from relion_mpi.io.star import write_star

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.compare.maps import MapComparison
    from relion_mpi.compare.poses import PoseComparison
    from relion_mpi.compare.program import Comparison

_WIDTH = 28


def as_text(result: Comparison) -> str:
    """Lay out a comparison for reading.

    Parameters
    ----------
    result
        What was compared.

    Returns
    -------
    str
        Several lines.
    """
    lines = [_row("A", result.a.name), _row("B", result.b.name)]
    if result.poses is not None:
        lines += ["", f"Poses (modulo {result.symmetry})", *_pose_rows(result.poses)]
        if max(result.poses.confusion.shape) > 1:
            lines += ["", "Classes (rows A, columns B)", *_class_rows(result.poses)]
    for k, k_b, one in result.maps:
        lines += ["", f"Maps (class {k} of A, class {k_b} of B)", *_map_rows(one)]
    return "\n".join(lines)


def as_dict(result: Comparison) -> dict[str, Any]:
    """Return the numbers of a comparison, ready for JSON.

    Parameters
    ----------
    result
        What was compared.

    Returns
    -------
    dict
        "a", "b", "symmetry", "poses" (or None) and "maps"; matrices are nested lists.
    """
    return {
        "a": result.a.name,
        "b": result.b.name,
        "symmetry": result.symmetry,
        "poses": None if result.poses is None else _pose_numbers(result.poses),
        "maps": [
            {"class_a": k, "class_b": k_b, **_map_numbers(one)} for k, k_b, one in result.maps
        ],
    }


def write_report(result: Comparison, folder: Path) -> None:
    """Write compare.json and compare.star.

    Parameters
    ----------
    result
        What was compared.
    folder
        Existing folder.
    """
    numbers = as_dict(result)
    with replacing(folder / "compare.json") as temporary:
        temporary.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    general: dict[str, str | int | float] = {"a": result.a.name, "b": result.b.name}
    general["symmetry"] = result.symmetry
    if numbers["poses"] is not None:
        plain = {k: v for k, v in numbers["poses"].items() if isinstance(v, bool | int | float)}
        general |= plain
    blocks: dict[str, Any] = {"compare_general": general}
    for k, _, one in result.maps:
        shell = np.arange(one.fsc_after.size)
        blocks[f"compare_fsc_class_{k}"] = pl.DataFrame(
            {
                "rlnSpectralIndex": shell,
                "rlnResolution": shell / (one.box_size * one.pixel_size_angst),
                "rlnFourierShellCorrelation": one.fsc_after,
                "fscBeforeAlignment": one.fsc_before,
            }
        )
    write_star(folder / "compare.star", blocks)


def _row(label: str, text: str) -> str:
    return f"  {label:<{_WIDTH}}{text}"


def _vector(values: NDArray[np.float64]) -> str:
    return " ".join(f"{v:.2f}" for v in values)


def _pose_rows(poses: PoseComparison) -> list[str]:
    shares = "   ".join(
        f"{limit:g} deg: {share:6.1%}"
        for limit, share in zip(LIMITS_DEG, poses.within, strict=True)
    )
    hand = "opposite (mirrored)" if poses.frame.mirrored else "same"
    rows = [
        _row("particles", f"{poses.n_common} in common ({poses.n_a} in A, {poses.n_b} in B)"),
        _row("within", shares),
        _row("median angular error", f"{poses.median_angle_deg:.2f} deg"),
        _row("median shift error", f"{poses.median_shift_angst:.2f} A (before removing the "
             f"translation {np.median(poses.raw_shift_error_angst):.2f} A)"),
        _row("frame removed", f"rotation {poses.frame.angle_deg:.2f} deg, translation "
             f"{_vector(poses.translation_angst)} A, hand {hand}"),
    ]  # fmt: skip
    for label, pair, form in (
        ("mean Pmax", poses.max_value_prob, "{:.3f}"),
        ("mean norm correction", poses.norm_correction, "{:.4f}"),
        ("median significant samples", poses.n_significant, "{:.0f}"),
    ):
        middle = np.median if label.startswith("median") else np.mean
        said = [
            f"{side} {form.format(float(middle(values)))}"
            for side, values in zip("AB", pair, strict=True)
            if values is not None
        ]
        if said:
            rows.append(_row(label, "   ".join(said)))
    return rows


def _class_rows(poses: PoseComparison) -> list[str]:
    rows = [_row("in matched classes", f"{poses.class_share:.1%}")]
    n_b = poses.confusion.shape[1]
    rows.append(_row("", "".join(f"{f'B{k + 1}':>9}" for k in range(n_b))))
    for k, counts in enumerate(poses.confusion.tolist()):
        marks = [f"{c}{'*' if poses.partner[k] == m else ' '}" for m, c in enumerate(counts)]
        rows.append(_row(f"A{k + 1}", "".join(f"{mark:>10}" for mark in marks)[1:]))
    return rows


def _map_rows(one: MapComparison) -> list[str]:
    angle = _angle_deg(one.alignment.rotation)
    before, after = one.resolution_before_angst, one.resolution_after_angst
    hand = "opposite (mirrored)" if one.alignment.mirrored else "same"
    nyquist = 2 * one.pixel_size_angst
    return [
        _row("FSC 0.143 / 0.5 as given", f"{before[0]:.2f} / {before[1]:.2f} A"),
        _row("FSC 0.143 / 0.5 aligned", f"{after[0]:.2f} / {after[1]:.2f} A"),
        _row("mean FSC aligned", f"{one.fsc_area:.3f} to Nyquist ({nyquist:.2f} A)"),
        _row("alignment of B", f"rotation {angle:.2f} deg, translation "
             f"{_vector(one.alignment.translation_angst)} A, hand {hand}"),
    ]  # fmt: skip


def _angle_deg(rotation: NDArray[np.float64]) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1.0) / 2.0, -1.0, 1.0))))


def _pose_numbers(poses: PoseComparison) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "n_a": poses.n_a, "n_b": poses.n_b, "n_common": poses.n_common,
        "within_1_deg": poses.within[0], "within_2_deg": poses.within[1],
        "within_5_deg": poses.within[2], "median_angle_deg": poses.median_angle_deg,
        "median_shift_angst": poses.median_shift_angst,
        "median_raw_shift_angst": float(np.median(poses.raw_shift_error_angst)),
        "mirrored": poses.frame.mirrored, "frame_deg": poses.frame.angle_deg,
        "frame_score": poses.frame.score, "class_share": poses.class_share,
        "frame_rotation": poses.frame.rotation.tolist(),
        "translation_angst": poses.translation_angst.tolist(),
        "confusion": poses.confusion.tolist(), "partner": (poses.partner + 1).tolist(),
    }  # fmt: skip
    for name in ("max_value_prob", "norm_correction", "n_significant"):
        for side, values in zip("ab", getattr(poses, name), strict=True):
            if values is not None:
                numbers[f"mean_{name}_{side}"] = float(values.mean())
    return numbers


def _map_numbers(one: MapComparison) -> dict[str, Any]:
    return {
        "box_size": one.box_size,
        "pixel_size_angst": one.pixel_size_angst,
        "resolution_before_angst": {"0.143": one.resolution_before_angst[0],
                                    "0.5": one.resolution_before_angst[1]},
        "resolution_after_angst": {"0.143": one.resolution_after_angst[0],
                                   "0.5": one.resolution_after_angst[1]},
        "fsc_area": one.fsc_area,
        "mirrored": one.alignment.mirrored,
        "rotation": one.alignment.rotation.tolist(),
        "translation_angst": one.alignment.translation_angst.tolist(),
        "fsc_before": one.fsc_before.tolist(),
        "fsc_after": one.fsc_after.tolist(),
    }  # fmt: skip
