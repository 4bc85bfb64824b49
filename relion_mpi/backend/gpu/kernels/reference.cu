// A map into its padded box, and its transform into the volume that slices are drawn from.
// variants: DOUBLE=0 ; DOUBLE=1 ; DOUBLE=0,PLANAR=1 ; DOUBLE=1,PLANAR=1
// PLANAR=1: images instead of maps, planes instead of volumes.
#include "real.cuh"

// One thread a voxel of the map: undo what interpolation will do to it, and move the box's centre
// to index 0 of the padded box.
extern "C" __global__ void place_map(
    const real* __restrict__ map, int box, int big, real* __restrict__ padded)
{
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const int x = at % box - box / 2, y = at / box % box - box / 2;
#if PLANAR
    if (at >= (long long)box * box) return;
    const int z = 0;
#else
    if (at >= (long long)box * box * box) return;
    const int z = at / ((long long)box * box) - box / 2;
#endif
    const double r = sqrt((double)(x * x + y * y + z * z)) / big;
    const double sinc = r > 0 ? sinpi(r) / (3.141592653589793 * r) : 1.0;
    const long long px = x < 0 ? x + big : x, py = y < 0 ? y + big : y, pz = z < 0 ? z + big : z;
    padded[(pz * big + py) * big + px] = (real)(map[at] / (sinc * sinc));
}

// One thread a voxel of the volume: (size, size, size / 2 + 1), z and y centred; 0 beyond reach.
extern "C" __global__ void crop_transform(
    const real2* __restrict__ transform, int big, int size, int reach, double factor,
    real2* __restrict__ volume)
{
    const int half = size / 2 + 1;
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const long long x = at % half, y = at / half % size - size / 2;
#if PLANAR
    if (at >= (long long)size * half) return;
    const long long z = 0;
#else
    if (at >= (long long)size * size * half) return;
    const long long z = at / ((long long)half * size) - size / 2;
#endif
    real2 value = pair(0, 0);
    if (x * x + y * y + z * z <= (long long)reach * reach) {
        value = transform[((z < 0 ? z + big : z) * big + (y < 0 ? y + big : y)) * (big / 2 + 1) + x];
        value.x = (real)(value.x * factor);
        value.y = (real)(value.y * factor);
    }
    volume[at] = value;
}
