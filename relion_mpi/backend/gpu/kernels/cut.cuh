// The exact significance threshold inside the histogram bin in which the wanted share is reached.
#pragma once
#include "real.cuh"

#define MAX_MEMBERS 512

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
