// Weighted, shifted images against their projections, and into the volume.
// variants: DOUBLE=0,TEXTURE=0 ; DOUBLE=0,TEXTURE=1 ; DOUBLE=1,TEXTURE=0
#include "slice.cuh"

__device__ __forceinline__ void add4(real4* address, real x, real y, real z)
{
#if !DOUBLE && __CUDA_ARCH__ >= 900
    atomicAdd(address, make_float4(x, y, z, 0));
#else
    atomicAdd(&address->x, x);
    atomicAdd(&address->y, y);
    atomicAdd(&address->z, z);
#endif
}

__device__ __forceinline__ void add2(real2* address, real x, real y)
{
#if !DOUBLE && __CUDA_ARCH__ >= 900
    atomicAdd(address, make_float2(x, y));
#else
    atomicAdd(&address->x, x);
    atomicAdd(&address->y, y);
#endif
}

__device__ __forceinline__ void scatter(
    real4* target, const Cell& cell, int size, real re, real im, real w)
{
    const long long row = size / 2 + 1, plane = row * size;
    const real gx = 1 - cell.fx, gy = 1 - cell.fy, gz = 1 - cell.fz;
    const real w0 = gz * gy, w1 = gz * cell.fy, w2 = cell.fz * gy, w3 = cell.fz * cell.fy;
    real4* v = target + cell.corner;
    add4(v, w0 * gx * re, w0 * gx * im, w0 * gx * w);
    add4(v + 1, w0 * cell.fx * re, w0 * cell.fx * im, w0 * cell.fx * w);
    add4(v + row, w1 * gx * re, w1 * gx * im, w1 * gx * w);
    add4(v + row + 1, w1 * cell.fx * re, w1 * cell.fx * im, w1 * cell.fx * w);
    add4(v + plane, w2 * gx * re, w2 * gx * im, w2 * gx * w);
    add4(v + plane + 1, w2 * cell.fx * re, w2 * cell.fx * im, w2 * cell.fx * w);
    add4(v + plane + row, w3 * gx * re, w3 * gx * im, w3 * gx * w);
    add4(v + plane + row + 1, w3 * cell.fx * re, w3 * cell.fx * im, w3 * cell.fx * w);
}

// grid (groups of slices, chunks of pixels), one thread a pixel. phi (n_slice, 2 * n_pix): weights
// times phases, summed over shifts; share (n_slice,): weights alone. An image's pixels stay in
// registers over its slices, as do its moments: sums over slices of Re(conj(R) X) and |R|^2.
extern "C" __global__ void __launch_bounds__(256) accumulate(
    Volumes volumes, long long length, int size, real limit, int n_orient,
    const Slice* __restrict__ slices, long long n_slice, int per_block,
    const real* __restrict__ sx, const real* __restrict__ sy, int n_pix,
    const real2* __restrict__ masked, const real2* __restrict__ unmasked,
    const real* __restrict__ reference_ctf, const real* __restrict__ data_ctf,
    const real* __restrict__ weight_ctf, const real* __restrict__ inv_sigma2,
    const real* __restrict__ phi, const real* __restrict__ share, real4* __restrict__ sums,
    real2* __restrict__ moments)
{
    __shared__ Slice group[MAX_GROUP];
    const int n = load_group(slices, n_slice, per_block, group);
    __syncthreads();
    const int k = blockIdx.y * blockDim.x + threadIdx.x;
    if (k >= n_pix) return;
    const long long first = (long long)blockIdx.x * per_block;
    const real x = sx[k], y = sy[k], inverse = inv_sigma2[k];
    real2 image_masked = pair(0, 0), image = pair(0, 0);
    real c = 0, c_weight = 0, cross = 0, power = 0;
    int i = -1;
    for (int g = 0; g < n; ++g) {
        const long long s = first + g;
        if (group[g].image != i) {
            if (i >= 0) add2(&moments[(long long)i * n_pix + k], cross, power);
            i = group[g].image;
            const long long at = (long long)i * n_pix + k;
            cross = power = 0;
            image_masked = masked[at];
            image = unmasked[at];
            const real factor = data_ctf[at] * inverse;
            image.x *= factor;
            image.y *= factor;
            c = reference_ctf[at];
            c_weight = weight_ctf[at] * inverse;
        }
        const int k_class = group[g].hypothesis / n_orient;
        const Cell cell = locate(group[g].rows, x, y, size, limit);
        if (!cell.inside) continue;
        const real2 p = value_at(volume_of(volumes, k_class, length), cell, size);
        const real2 r = pair(c * p.x, c * p.y);
        const real2 f = pair(phi[s * 2 * n_pix + k], phi[s * 2 * n_pix + n_pix + k]);
        const real2 m = multiply(image_masked, f), u = multiply(image, f);
        const real q = share[s];
        cross += r.x * m.x + r.y * m.y;
        power += q * (r.x * r.x + r.y * r.y);
        scatter(sums + k_class * length, cell, size, u.x, cell.sign * u.y, q * c_weight);
    }
    if (i >= 0) add2(&moments[(long long)i * n_pix + k], cross, power);
}
