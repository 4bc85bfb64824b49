"""Which samples carry a given share of the posterior: an exact cut without a full sort."""

from __future__ import annotations

import math

import numba
import numpy as np

N_BINS = 2048
NEGLIGIBLE = 1e-6
"""Samples that together weigh less than this share of the best one are not looked at."""


@numba.njit(cache=True)
def log_margin(n_samples):  # type: ignore[no-untyped-def]
    """Depth below the best score beyond which n_samples together stay negligible."""
    return math.log(max(n_samples, 1)) - math.log(NEGLIGIBLE)


@numba.njit(cache=True)
def significance_threshold(values, peak, margin, fraction, limit):  # type: ignore[no-untyped-def]
    """Find the log weight of the last sample needed to reach a share of the total.

    Parameters
    ----------
    values : float (n,) log weights, all within `margin` of `peak`
    peak : largest of them
    margin : depth that values span
    fraction : share of the total weight to reach
    limit : at most so many samples, 0 for no limit

    Returns
    -------
    threshold : float64
        Samples with a log weight >= threshold are significant (ties included).
    total : float64
        Sum of exp(value - peak).

    Source
    ------
    RELION convertAllSquaredDifferencesToWeights, which sorts all weights; the cut is the same:
    a histogram finds the bin it falls in and only that bin is sorted.
    """
    weight = np.zeros(N_BINS)
    count = np.zeros(N_BINS, np.int64)
    bins_per_unit = N_BINS / margin
    total = 0.0
    for v in values:
        w = math.exp(v - peak)
        b = min(int((peak - v) * bins_per_unit), N_BINS - 1)
        weight[b] += w
        count[b] += 1
        total += w
    target = fraction * total
    above, n_above = 0.0, 0
    chosen = -1
    for b in range(N_BINS):
        if above + weight[b] > target or (limit > 0 and n_above + count[b] >= limit):
            chosen = b
            break
        above += weight[b]
        n_above += count[b]
    threshold = peak
    if chosen < 0:  # the whole weight is asked for
        for v in values:
            threshold = min(threshold, v)
        return threshold, total
    members = np.empty(count[chosen])
    n = 0
    for v in values:
        if min(int((peak - v) * bins_per_unit), N_BINS - 1) == chosen:
            members[n] = v
            n += 1
    members.sort()
    for j in range(n - 1, -1, -1):
        threshold = members[j]
        above += math.exp(threshold - peak)
        n_above += 1
        if above > target or (limit > 0 and n_above >= limit):
            break
    return threshold, total
