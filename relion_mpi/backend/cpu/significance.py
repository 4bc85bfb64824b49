"""Which samples carry a given share of the posterior: an exact cut without a full sort."""

from __future__ import annotations

import math

import numba

N_BINS = 2048
NEGLIGIBLE = 1e-6
"""Samples that together weigh less than this share of the best one are not looked at."""


@numba.njit(cache=True)
def log_margin(n_samples):  # type: ignore[no-untyped-def]
    """Depth below the best score beyond which n_samples together stay negligible."""
    return math.log(max(n_samples, 1)) - math.log(NEGLIGIBLE)


@numba.njit(cache=True)
def bin_of(value, peak, margin):  # type: ignore[no-untyped-def]
    """Give the bin of a log weight within `margin` of `peak`."""
    return min(int((peak - value) * (N_BINS / margin)), N_BINS - 1)


@numba.njit(cache=True)
def bin_of_cut(weight, count, total, fraction, limit):  # type: ignore[no-untyped-def]
    """Find the bin in which the weights reach a share of the total.

    Parameters
    ----------
    weight, count : float64, int64 (N_BINS,) sum of exp(value - peak), and number of values
    total : sum of the weights
    fraction : share of it to reach
    limit : at most so many samples, 0 for no limit

    Returns
    -------
    chosen : int
        -1 if the whole weight is asked for.
    above, n_above
        Weight and number of the values in the bins before it.
    """
    above, n_above = 0.0, 0
    for b in range(N_BINS):
        if above + weight[b] > fraction * total or (limit > 0 and n_above + count[b] >= limit):
            return b, above, n_above
        above += weight[b]
        n_above += count[b]
    return -1, above, n_above


@numba.njit(cache=True)
def cut_within(members, peak, above, n_above, target, limit):  # type: ignore[no-untyped-def]
    """Find the log weight of the last sample needed to reach a weight.

    Parameters
    ----------
    members : float64 (n,) log weights of the bin of `bin_of_cut`; sorted here
    peak : largest log weight of all
    above, n_above : from `bin_of_cut`
    target : weight to reach
    limit : at most so many samples, 0 for no limit

    Returns
    -------
    float64
        Samples with a log weight >= this are significant (ties included).

    Source
    ------
    RELION convertAllSquaredDifferencesToWeights, which sorts all weights; the cut is the same:
    a histogram finds the bin it falls in and only that bin is sorted. Values are looked at twice
    where they are, for lists of them would be as large as all scores.
    """
    threshold = peak
    members.sort()
    for j in range(members.size - 1, -1, -1):
        threshold = members[j]
        above += math.exp(threshold - peak)
        n_above += 1
        if above > target or (limit > 0 and n_above >= limit):
            break
    return threshold
