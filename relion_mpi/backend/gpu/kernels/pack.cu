// Sums on their way out: only the rows of the half ball that they reach.
// variants: DOUBLE=0 ; DOUBLE=1
#include "real.cuh"

// One block a row (y, z): volume (size, size, size / 2 + 1) to (n_kept, 3).
extern "C" __global__ void pack(
    const real4* __restrict__ volume, const long long* __restrict__ starts, int size,
    real* __restrict__ out)
{
    const long long row = (long long)blockIdx.y * size + blockIdx.x;
    const long long first = starts[row];
    const int n = (int)(starts[row + 1] - first);
    for (int x = threadIdx.x; x < n; x += blockDim.x) {
        const real4 v = volume[row * (size / 2 + 1) + x];
        real* to = out + 3 * (first + x);
        to[0] = v.x;
        to[1] = v.y;
        to[2] = v.z;
    }
}
