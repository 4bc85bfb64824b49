"""Phases of shifts, as factors and as the matrix of the fine product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.launch import Arithmetic
    from relion_mpi.backend.gpu.prepare import DeviceGeometry


@dataclass(frozen=True, slots=True)
class Phases:
    """exp(-2 pi i k.t / N) of every shift.

    Attributes
    ----------
    factor : complex (n_shift, n_pix)
    scoring : real (2 * n_pix, n_shift): what z = conj(P) Y is multiplied with
    summing : real (n_shift, 2 * n_pix): what weights are multiplied with
    """

    factor: Any
    scoring: Any
    summing: Any


def phase_tables(
    shifts_pix: Any, geometry: DeviceGeometry, n_pix: int, arithmetic: Arithmetic
) -> Phases:
    """Make the tables for shifts (n_shift, 2) as (x, y) and the leading n_pix pixels."""
    shifts = cp.asarray(shifts_pix)
    angle = (-2.0 * np.pi / geometry.host.box_size) * (
        shifts[:, :1] * geometry.x[None, :n_pix] + shifts[:, 1:] * geometry.y[None, :n_pix]
    )
    cosine, sine = cp.cos(angle), cp.sin(angle)
    factor = (cosine + 1j * sine).astype(arithmetic.pair)
    scoring = cp.concatenate([cosine, -sine], axis=1).T.astype(arithmetic.real)
    summing = cp.concatenate([cosine, sine], axis=1).astype(arithmetic.real)
    return Phases(factor, cp.ascontiguousarray(scoring), cp.ascontiguousarray(summing))
