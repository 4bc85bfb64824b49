// Sums on their way out: only the rows of the half ball that they reach.
// variants: DOUBLE=0,EXACT=0 ; DOUBLE=1,EXACT=0 ; DOUBLE=0,EXACT=1
#include "exact.cuh"

// One block a row (y, plane): volume (size, size, size / 2 + 1) to the entries (n, 3) from
// first_entry on, exact sums as multiples of their steps.
extern "C" __global__ void pack(
    const Voxel* __restrict__ volume, const long long* __restrict__ starts, int first_plane,
    long long first_entry, int size,
#if EXACT
    double data_step, double weight_step, double* __restrict__ out)
#else
    real* __restrict__ out)
#endif
{
    const long long row = (long long)(first_plane + blockIdx.y) * size + blockIdx.x;
    const long long first = starts[row];
    const int n = (int)(starts[row + 1] - first);
    for (int x = threadIdx.x; x < n; x += blockDim.x) {
        const Voxel v = volume[row * (size / 2 + 1) + x];
        auto* to = out + 3 * (first - first_entry + x);
#if EXACT
        to[0] = from_steps(v.re, data_step);
        to[1] = from_steps(v.im, data_step);
        to[2] = from_steps(v.weight, weight_step);
#else
        to[0] = v.x;
        to[1] = v.y;
        to[2] = v.z;
#endif
    }
}
