// A slice to be drawn: its rotation, and whose it is.
#pragma once
#include "interp.cuh"

#define MAX_GROUP 16  // slices that one block takes after another

struct __align__(16) Slice {
    real rows[6];
    int image, hypothesis;
};

// Bring at most n_most slices from `first` on, before `end`, into shared memory; the caller
// synchronises.
__device__ __forceinline__ int load_group(
    const Slice* __restrict__ slices, long long first, long long end, int n_most, Slice* mine)
{
    const int n = (int)min((long long)n_most, end - first);
    const int words = n * (int)(sizeof(Slice) / sizeof(int));
    const int* from = (const int*)(slices + first);
    for (int w = threadIdx.x; w < words; w += blockDim.x) ((int*)mine)[w] = from[w];
    return n;
}
