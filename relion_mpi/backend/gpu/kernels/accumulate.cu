// Weighted, shifted images against their projections, and into the volume.
// variants: DOUBLE=0,TEXTURE=0,EXACT=0 ; DOUBLE=0,TEXTURE=1,EXACT=0 ; DOUBLE=1,TEXTURE=0,EXACT=0 ; DOUBLE=0,TEXTURE=0,EXACT=1 ; DOUBLE=0,TEXTURE=1,EXACT=1 ; DOUBLE=1,TEXTURE=0,EXACT=1 ; DOUBLE=0,PLANAR=1,EXACT=0 ; DOUBLE=1,PLANAR=1,EXACT=0 ; DOUBLE=0,PLANAR=1,EXACT=1 ; DOUBLE=1,PLANAR=1,EXACT=1
#include "exact.cuh"
#include "slice.cuh"

#if EXACT
// Values come in steps: what is added is an integer, so no order matters.
__device__ __forceinline__ void add_voxel(Voxel* address, real re, real im, real w)
{
    atomicAdd(&address->re, in_steps(re));
    atomicAdd(&address->im, in_steps(im));
    atomicAdd(&address->weight, in_steps(w));
}
#else
__device__ __forceinline__ void add_voxel(Voxel* address, real x, real y, real z)
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
#endif

__device__ __forceinline__ void scatter(
    Voxel* target, const Cell& cell, int size, real re, real im, real w)
{
#if PLANAR
    const int row = size / 2 + 1;
    const real gx = 1 - cell.fx, gy = 1 - cell.fy;
    Voxel* v = target + cell.corner;
    add_voxel(v, gy * gx * re, gy * gx * im, gy * gx * w);
    add_voxel(v + 1, gy * cell.fx * re, gy * cell.fx * im, gy * cell.fx * w);
    add_voxel(v + row, cell.fy * gx * re, cell.fy * gx * im, cell.fy * gx * w);
    add_voxel(
        v + row + 1, cell.fy * cell.fx * re, cell.fy * cell.fx * im, cell.fy * cell.fx * w);
#else
    const long long row = size / 2 + 1, plane = row * size;
    const real gx = 1 - cell.fx, gy = 1 - cell.fy, gz = 1 - cell.fz;
    const real w0 = gz * gy, w1 = gz * cell.fy, w2 = cell.fz * gy, w3 = cell.fz * cell.fy;
    Voxel* v = target + cell.corner;
    add_voxel(v, w0 * gx * re, w0 * gx * im, w0 * gx * w);
    add_voxel(v + 1, w0 * cell.fx * re, w0 * cell.fx * im, w0 * cell.fx * w);
    add_voxel(v + row, w1 * gx * re, w1 * gx * im, w1 * gx * w);
    add_voxel(v + row + 1, w1 * cell.fx * re, w1 * cell.fx * im, w1 * cell.fx * w);
    add_voxel(v + plane, w2 * gx * re, w2 * gx * im, w2 * gx * w);
    add_voxel(v + plane + 1, w2 * cell.fx * re, w2 * cell.fx * im, w2 * cell.fx * w);
    add_voxel(v + plane + row, w3 * gx * re, w3 * gx * im, w3 * gx * w);
    add_voxel(v + plane + row + 1, w3 * cell.fx * re, w3 * cell.fx * im, w3 * cell.fx * w);
#endif
}

// grid (groups of slices, chunks of pixels), one thread a pixel. phi (n_slice, 2 * n_pix): weights
// times phases, summed over shifts; share (n_slice,): weights alone. An image's pixels stay in
// registers over its slices, as do its moments: sums over slices of Re(conj(R) X) and |R|^2.
// Exact: grid (images, chunks of pixels), so that moments are added slice after slice; slices of
// image i: offsets[i] .. offsets[i + 1]; per_data, per_weight: steps in 1.
extern "C" __global__ void __launch_bounds__(256) accumulate(
    Volumes volumes, long long length, int size, real limit, int n_orient,
    const Slice* __restrict__ slices, long long n_slice,
#if EXACT
    const long long* __restrict__ offsets, real per_data, real per_weight,
#else
    int per_block,
#endif
    const real* __restrict__ sx, const real* __restrict__ sy, int n_pix,
    const real2* __restrict__ masked, const real2* __restrict__ unmasked,
    const real* __restrict__ reference_ctf, const real* __restrict__ data_ctf,
    const real* __restrict__ weight_ctf, const real* __restrict__ inv_sigma2,
    const real* __restrict__ phi, const real* __restrict__ share, Voxel* __restrict__ sums,
    real2* __restrict__ moments)
{
    __shared__ Slice group[MAX_GROUP];
    const int k = blockIdx.y * blockDim.x + threadIdx.x;
    real x, y, inverse;
    real2 image_masked = pair(0, 0), image = pair(0, 0);
    real c = 0, c_weight = 0, cross = 0, power = 0;
    const auto take_image = [&](int i) {
        const long long at = (long long)i * n_pix + k;
        image_masked = masked[at];
        image = unmasked[at];
        const real factor = data_ctf[at] * inverse;
        image.x *= factor;
        image.y *= factor;
        c = reference_ctf[at];
        c_weight = weight_ctf[at] * inverse;
    };
    const auto take_slice = [&](const Slice& slice, long long s) {
        const int k_class = slice.hypothesis / n_orient;
        const Cell cell = locate(slice.rows, x, y, size, limit);
        if (!cell.inside) return;
        const real2 p = value_at(volume_of(volumes, k_class, length), cell, size);
        const real2 r = pair(c * p.x, c * p.y);
        const real2 f = pair(phi[s * 2 * n_pix + k], phi[s * 2 * n_pix + n_pix + k]);
        const real2 m = multiply(image_masked, f);
        real2 u = multiply(image, f);
        const real q = share[s];
        cross += r.x * m.x + r.y * m.y;
        power += q * (r.x * r.x + r.y * r.y);
        real w = q * c_weight;
#if EXACT
        u = pair(per_data * u.x, per_data * u.y);
        w *= per_weight;
#endif
        scatter(sums + k_class * length, cell, size, u.x, cell.sign * u.y, w);
    };
#if EXACT
    const long long begin = offsets[blockIdx.x], end = offsets[blockIdx.x + 1];
    if (begin == end) return;
    const bool is_pixel = k < n_pix;
    if (is_pixel) {
        x = sx[k], y = sy[k], inverse = inv_sigma2[k];
        take_image(blockIdx.x);
    }
    for (long long first = begin; first < end; first += MAX_GROUP) {
        __syncthreads();
        const int n = load_group(slices, first, end, MAX_GROUP, group);
        __syncthreads();
        for (int g = 0; is_pixel && g < n; ++g) take_slice(group[g], first + g);
    }
    if (is_pixel) {
        // Calls come one after the other, and no other block has this image and pixel.
        real2* mine = &moments[(long long)blockIdx.x * n_pix + k];
        mine->x += cross;
        mine->y += power;
    }
#else
    const long long first = (long long)blockIdx.x * per_block;
    const int n = load_group(slices, first, n_slice, per_block, group);
    __syncthreads();
    if (k >= n_pix) return;
    x = sx[k], y = sy[k], inverse = inv_sigma2[k];
    int i = -1;
    for (int g = 0; g < n; ++g) {
        if (group[g].image != i) {
            if (i >= 0) add2(&moments[(long long)i * n_pix + k], cross, power);
            i = group[g].image;
            cross = power = 0;
            take_image(i);
        }
        take_slice(group[g], first + g);
    }
    if (i >= 0) add2(&moments[(long long)i * n_pix + k], cross, power);
#endif
}
