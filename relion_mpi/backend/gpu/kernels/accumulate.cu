// Weighted, shifted images against their projection, and into the volume.
// variants: DOUBLE=0 ; DOUBLE=1
#include "interp.cuh"

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

// One block a slice. phi (n_slice, 2 * n_pix): weights times phases, summed over shifts.
// shared: 2 * n_shell doubles.
extern "C" __global__ void accumulate(
    const real2* __restrict__ volumes, long long volume_length, int size, real limit,
    double padding, const double* __restrict__ directions, const double* __restrict__ psis,
    int n_orient, int n_psi, int n_child_direction, int n_child_psi,
    const int* __restrict__ slice_image, const int* __restrict__ slice_hypothesis,
    const int* __restrict__ slice_child, const real* __restrict__ sx, const real* __restrict__ sy,
    const int* __restrict__ shell, int n_pix, int n_shell,
    const real2* __restrict__ masked, const real2* __restrict__ unmasked,
    const real* __restrict__ reference_ctf, const real* __restrict__ data_ctf,
    const real* __restrict__ weight_ctf, const real* __restrict__ inv_sigma2,
    const real* __restrict__ phi, const real* __restrict__ weights, int n_column, int n_class,
    int n_dir, real4* __restrict__ sums, double* __restrict__ cross, double* __restrict__ power,
    double* __restrict__ class_weight, double* __restrict__ shift_weight,
    double* __restrict__ direction_weight)
{
    extern __shared__ double moments[];
    __shared__ real rows[6];
    __shared__ double total;
    const Grid grid = {n_orient, n_psi, n_child_direction, n_child_psi};
    const long long s = blockIdx.x;
    const int i = slice_image[s], hypothesis = slice_hypothesis[s];
    const int k_class = hypothesis / n_orient;
    for (int b = threadIdx.x; b < 2 * n_shell; b += blockDim.x) moments[b] = 0;
    if (threadIdx.x == 0) {
        child_rows(hypothesis, slice_child[s], directions, psis, grid, padding, rows);
        total = 0;
    }
    __syncthreads();
    double mine = 0;
    for (int t = threadIdx.x; t < n_column; t += blockDim.x) {
        const real q = weights[s * n_column + t];
        if (q > 0) {
            mine += q;
            atomicAdd(&shift_weight[(long long)i * n_column + t], (double)q);
        }
    }
    for (int lane = 16; lane; lane /= 2) mine += __shfl_down_sync(~0u, mine, lane);
    if (threadIdx.x % 32 == 0 && mine > 0) atomicAdd(&total, mine);
    __syncthreads();
    const real share = (real)total;
    if (threadIdx.x == 0) {
        atomicAdd(&class_weight[(long long)i * n_class + k_class], total);
        const int d = hypothesis % n_orient / n_psi;
        atomicAdd(&direction_weight[(long long)k_class * n_dir + d], total);
    }
    const real2* volume = volumes + k_class * volume_length;
    real4* target = sums + k_class * volume_length;
    const long long row = size / 2 + 1, plane = row * size;
    for (int k = threadIdx.x; k < n_pix; k += blockDim.x) {
        const long long at = (long long)i * n_pix + k;
        const real2 p = slice_value(volume, rows, sx[k], sy[k], size, limit);
        const real c = reference_ctf[at];
        const real2 r = pair(c * p.x, c * p.y);
        const real2 f = pair(phi[s * 2 * n_pix + k], phi[s * 2 * n_pix + n_pix + k]);
        const real2 x = multiply(masked[at], f);
        atomicAdd(&moments[shell[k]], (double)(r.x * x.x + r.y * x.y));
        atomicAdd(&moments[n_shell + shell[k]], (double)(share * (r.x * r.x + r.y * r.y)));
        const Cell cell = locate(rows, sx[k], sy[k], size, limit);
        if (!cell.inside) continue;
        const real2 u = multiply(unmasked[at], f);
        const real g = data_ctf[at] * inv_sigma2[k];
        const real re = g * u.x, im = cell.sign * g * u.y;
        const real w = share * weight_ctf[at] * inv_sigma2[k];
        const real gx = 1 - cell.fx, gy = 1 - cell.fy, gz = 1 - cell.fz;
        real4* v = target + cell.corner;
        const real w0 = gz * gy, w1 = gz * cell.fy, w2 = cell.fz * gy, w3 = cell.fz * cell.fy;
        add4(v, w0 * gx * re, w0 * gx * im, w0 * gx * w);
        add4(v + 1, w0 * cell.fx * re, w0 * cell.fx * im, w0 * cell.fx * w);
        add4(v + row, w1 * gx * re, w1 * gx * im, w1 * gx * w);
        add4(v + row + 1, w1 * cell.fx * re, w1 * cell.fx * im, w1 * cell.fx * w);
        add4(v + plane, w2 * gx * re, w2 * gx * im, w2 * gx * w);
        add4(v + plane + 1, w2 * cell.fx * re, w2 * cell.fx * im, w2 * cell.fx * w);
        add4(v + plane + row, w3 * gx * re, w3 * gx * im, w3 * gx * w);
        add4(v + plane + row + 1, w3 * cell.fx * re, w3 * cell.fx * im, w3 * cell.fx * w);
    }
    __syncthreads();
    for (int b = threadIdx.x; b < n_shell; b += blockDim.x) {
        if (moments[b] != 0) atomicAdd(&cross[(long long)i * n_shell + b], moments[b]);
        if (moments[n_shell + b] != 0)
            atomicAdd(&power[(long long)i * n_shell + b], moments[n_shell + b]);
    }
}
