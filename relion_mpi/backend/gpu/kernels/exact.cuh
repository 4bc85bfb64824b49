// Sums that are the same in any order (macro EXACT=1): integers that count steps, powers of two.
#pragma once
#include "real.cuh"

typedef unsigned long long Steps;  // what is negative wraps around, and back when it is read

__device__ __forceinline__ Steps in_steps(float value) { return (Steps)__float2ll_rn(value); }

__device__ __forceinline__ Steps in_steps(double value) { return (Steps)__double2ll_rn(value); }

__device__ __forceinline__ double from_steps(Steps n, double step)
{
    return (double)(long long)n * step;
}

#if EXACT
struct Voxel {
    Steps re, im, weight;
};
#else
typedef real4 Voxel;  // real, imaginary, weight, unused
#endif

// The sum over a warp, on its lane 0; always added in one order.
__device__ __forceinline__ double warp_sum(double value)
{
    for (int lane = 16; lane; lane /= 2) value += __shfl_down_sync(~0u, value, lane);
    return value;
}
