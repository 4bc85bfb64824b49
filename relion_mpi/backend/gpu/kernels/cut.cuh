// Histograms of weights by depth below the peak, and the exact significance threshold inside the bin
// in which the wanted share is reached.
#pragma once
#include "exact.cuh"

#define MAX_MEMBERS 512

#if EXACT
// Steps are 2^-32 of the weight at a bin's upper edge: 2^31 samples fit.
typedef Steps BinSum;
#define PER_BIN 4294967296.0
#else
typedef double BinSum;
#endif

// per_unit: bins in a depth of 1.
__device__ __forceinline__ void add_to_bin(BinSum* bins, int bin, double weight, real per_unit)
{
#if EXACT
    atomicAdd(&bins[bin], in_steps(weight * exp(bin / (double)per_unit) * PER_BIN));
#else
    atomicAdd(&bins[bin], weight);
#endif
}

__device__ __forceinline__ double weight_of_bin(const BinSum* bins, int bin, real per_unit)
{
#if EXACT
    return from_steps(bins[bin], exp(-bin / (double)per_unit) / PER_BIN);
#else
    return bins[bin];
#endif
}

// Called by one thread. members: scores of the bin, sorted here, largest first. Adds their weights
// to what lies above the bin until the target is passed; returns the last score needed. A bin with
// more members than fit is kept whole.
__device__ inline real threshold_in_bin(
    real* members, int n, real low_edge, real peak, double above, double target, int n_above,
    int limit)
{
    if (n == 0 || n > MAX_MEMBERS) return low_edge;
    for (int a = 1; a < n; ++a) {
        const real v = members[a];
        int b = a - 1;
        for (; b >= 0 && members[b] < v; --b) members[b + 1] = members[b];
        members[b + 1] = v;
    }
    for (int a = 0; a < n; ++a) {
        above += exp((double)members[a] - (double)peak);
        ++n_above;
        if (above > target || (limit > 0 && n_above >= limit)) return members[a];
    }
    return members[n - 1];
}
