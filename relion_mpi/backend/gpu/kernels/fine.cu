// The sparse second pass: listed slices, multiplied with their image.
// variants: DOUBLE=0,TEXTURE=0,EXACT=0 ; DOUBLE=0,TEXTURE=1,EXACT=0 ; DOUBLE=1,TEXTURE=0,EXACT=0 ; DOUBLE=0,TEXTURE=0,EXACT=1 ; DOUBLE=0,TEXTURE=1,EXACT=1 ; DOUBLE=1,TEXTURE=0,EXACT=1 ; DOUBLE=0,PLANAR=1,EXACT=0 ; DOUBLE=1,PLANAR=1,EXACT=0 ; DOUBLE=0,PLANAR=1,EXACT=1 ; DOUBLE=1,PLANAR=1,EXACT=1
#include "exact.cuh"
#include "slice.cuh"

#define PIXELS 4  // a thread's
#define MAX_WARPS 8  // of a block

// grid (groups of slices, chunks of PIXELS * blockDim pixels). z = conj(P) * CTF * X / sigma2 as a
// row [real | imaginary]: the score of every shift is a product of z with the table of phases.
// Consecutive slices are mostly of one image, whose pixels stay in registers. power: (n_slice,),
// added to; exact: (n_slice, chunks), for add_chunks.
extern "C" __global__ void __launch_bounds__(256) slice_times_image(
    Volumes volumes, long long length, int size, real limit, int n_orient,
    const Slice* __restrict__ slices, long long n_slice, int per_block,
    const real* __restrict__ sx, const real* __restrict__ sy, int n_pix, int n_pix_all,
    const real2* __restrict__ images, const real* __restrict__ ctf,
    const real* __restrict__ inv_sigma2, real* __restrict__ z, double* __restrict__ power)
{
    __shared__ Slice group[MAX_GROUP];
#if EXACT
    __shared__ double totals[MAX_GROUP][MAX_WARPS];
#else
    __shared__ double total[MAX_GROUP];
#endif
    const long long first = (long long)blockIdx.x * per_block;
    const int n = load_group(slices, first, n_slice, per_block, group);
#if !EXACT
    if (threadIdx.x < MAX_GROUP) total[threadIdx.x] = 0;
#endif
    __syncthreads();
    const int start = blockIdx.y * blockDim.x * PIXELS + threadIdx.x;
    real x[PIXELS], y[PIXELS], c[PIXELS];
    real2 v[PIXELS];
    for (int p = 0; p < PIXELS; ++p) {
        const int k = start + p * blockDim.x;
        x[p] = k < n_pix ? sx[k] : (real)0;
        y[p] = k < n_pix ? sy[k] : (real)0;
    }
    int image = -1;
    for (int g = 0; g < n; ++g) {
        if (group[g].image != image) {
            image = group[g].image;
#pragma unroll
            for (int p = 0; p < PIXELS; ++p) {
                const int k = start + p * blockDim.x;
                if (k >= n_pix) continue;
                const long long at = (long long)image * n_pix_all + k;
                c[p] = ctf[at];
                const real f = c[p] * inv_sigma2[k];
                v[p] = images[at];
                v[p].x *= f;
                v[p].y *= f;
                c[p] *= f;
            }
        }
        const Volume volume = volume_of(volumes, group[g].hypothesis / n_orient, length);
        real sum = 0;
#pragma unroll
        for (int p = 0; p < PIXELS; ++p) {
            const int k = start + p * blockDim.x;
            if (k >= n_pix) continue;
            const real2 r = slice_value(volume, group[g].rows, x[p], y[p], size, limit);
            real* row = z + (first + g) * 2 * n_pix + k;
            row[0] = r.x * v[p].x + r.y * v[p].y;
            row[n_pix] = r.x * v[p].y - r.y * v[p].x;
            sum += c[p] * (r.x * r.x + r.y * r.y);
        }
        const double of_warp = warp_sum(sum);
#if EXACT
        if (threadIdx.x % 32 == 0) totals[g][threadIdx.x / 32] = of_warp;
#else
        if (threadIdx.x % 32 == 0) atomicAdd(&total[g], of_warp);
#endif
    }
    __syncthreads();
#if EXACT
    if (threadIdx.x < n) {
        double mine = 0;
        for (int w = 0; w < blockDim.x / 32; ++w) mine += totals[threadIdx.x][w];
        power[(first + threadIdx.x) * gridDim.y + blockIdx.y] = mine;
    }
#else
    if (threadIdx.x < n) atomicAdd(&power[first + threadIdx.x], total[threadIdx.x]);
#endif
}

// One thread a slice: its power, chunk after chunk.
extern "C" __global__ void add_chunks(
    const double* __restrict__ parts, long long n_slice, int n_chunk, double* __restrict__ power)
{
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n_slice) return;
    double total = 0;
    for (int c = 0; c < n_chunk; ++c) total += parts[s * n_chunk + c];
    power[s] = total;
}
