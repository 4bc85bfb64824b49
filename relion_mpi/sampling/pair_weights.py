"""Kernels that weigh pairs of a direction and a mate by the prior of a local search."""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]


class PriorShape(NamedTuple):
    """The prior, 1 / (2 sigma^2) and half-width of the search, and the in-plane angles; radians.

    From one in-plane angle to the next the prior falls by a factor, and that factor by `fall`.
    """

    inverse: float
    window: float
    cos_window: float
    n_psi: int
    step: float
    fall: float


@numba.njit(cache=True, nogil=True)
def weigh_pairs(
    prior: Float64Array,
    i: int,
    operators: Float64Array,
    matrices: Float64Array,
    pairs: Int64Array,
    n: int,
    shape: PriorShape,
    terms: Float64Array,
) -> int:
    """Compare directions with mates; return the number of in-plane angles of all pairs.

    Row 0 of `terms` gets log(weight of the pair / sum of its in-plane weights), row 1 the in-plane
    angle of the closest rotation.
    """
    n_ops = operators.shape[0]
    mate, mate_of, count = np.empty((3, 3)), -1, 0
    nearest2 = np.inf
    for k in range(n):
        direction, m = pairs[k] // n_ops, pairs[k] % n_ops
        if m != mate_of:
            _multiply(prior, i, operators, m, mate)
            mate_of = m
        tilt2, psi = _relative_rotation(matrices, direction, mate)
        first, n_turn = psi_window(psi, shape)
        count += n_turn
        nearest2 = min(nearest2, tilt2)
        terms[0, k] = -math.log(_psi_sum(psi, first, n_turn, shape))
        terms[1, k] = psi
        terms[2, k] = tilt2
    # Relative to the nearest pair, so that a single far pair does not underflow.
    total = 0.0
    for k in range(n):
        terms[2, k] = (nearest2 - terms[2, k]) * shape.inverse
        total += math.exp(terms[2, k])
    log_total = math.log(total)
    for k in range(n):
        terms[0, k] += terms[2, k] - log_total
    return count


@numba.njit(cache=True, nogil=True)
def _multiply(
    prior: Float64Array, i: int, operators: Float64Array, m: int, out: Float64Array
) -> None:
    """Write prior i @ operator m."""
    for r in range(3):
        for c in range(3):
            out[r, c] = (
                prior[i, r, 0] * operators[m, 0, c]
                + prior[i, r, 1] * operators[m, 1, c]
                + prior[i, r, 2] * operators[m, 2, c]
            )


@numba.njit(cache=True, nogil=True)
def _dot(a: Float64Array, d: int, r: int, b: Float64Array, s: int) -> float:
    """Multiply row r of matrix d with row s of another."""
    product: float = a[d, r, 0] * b[s, 0] + a[d, r, 1] * b[s, 1] + a[d, r, 2] * b[s, 2]
    return product


@numba.njit(cache=True, nogil=True)
def _relative_rotation(matrices: Float64Array, d: int, mate: Float64Array) -> tuple[float, float]:
    """Return the squared angle between views and the in-plane angle of closest rotation."""
    # With m = matrix @ mate.T, the trace of Rz(psi) m is cos(psi) (m00 + m11) +
    # sin(psi) (m10 - m01) + m22: largest at this psi.
    psi = math.atan2(
        _dot(matrices, d, 1, mate, 0) - _dot(matrices, d, 0, mate, 1),
        _dot(matrices, d, 0, mate, 0) + _dot(matrices, d, 1, mate, 1),
    )
    # The sine keeps small angles accurate where acos(m22) would not.
    sine = math.sqrt(_dot(matrices, d, 2, mate, 0) ** 2 + _dot(matrices, d, 2, mate, 1) ** 2)
    tilt = math.atan2(sine, _dot(matrices, d, 2, mate, 2))
    return tilt * tilt, psi


@numba.njit(cache=True, nogil=True)
def psi_window(psi: float, shape: PriorShape) -> tuple[int, int]:
    """Return the first and the number of in-plane angles within the window, at least one."""
    step = shape.step
    first = math.floor((psi - shape.window) / step) + 1
    last = math.ceil((psi + shape.window) / step) - 1
    if last < first:
        return round(psi / step), 1
    return first, min(last - first + 1, shape.n_psi)


@numba.njit(cache=True, nogil=True)
def _psi_sum(psi: float, first: int, n: int, shape: PriorShape) -> float:
    """Sum the prior over a window of in-plane angles, relative to the one nearest to psi."""
    step = shape.step
    nearest = round(psi / step)
    off = 2.0 * (nearest * step - psi)
    factor = math.exp(-(step + off) * step * shape.inverse)
    factor_down = math.exp(-(step - off) * step * shape.inverse)
    total, value = 1.0, 1.0
    for _ in range(nearest + 1, first + n):
        value *= factor
        factor *= shape.fall
        total += value
    value = 1.0
    for _ in range(first, nearest):
        value *= factor_down
        factor_down *= shape.fall
        total += value
    return total
