// The sparse second pass: slices of listed hypotheses, multiplied with their image.
// variants: DOUBLE=0 ; DOUBLE=1
#include "interp.cuh"

// One block a slice (job, child). z = conj(P) * CTF * X / sigma2 as a row [real | imaginary];
// the score of every shift is then a product of z with the table of phases.
extern "C" __global__ void slice_times_image(
    const real2* __restrict__ volumes, long long volume_length, int size, real limit,
    double padding, const double* __restrict__ directions, const double* __restrict__ psis,
    int n_orient, int n_psi, int n_child_direction, int n_child_psi,
    const int* __restrict__ job_image, const int* __restrict__ job_hypothesis,
    const real* __restrict__ sx, const real* __restrict__ sy, int n_pix, int n_pix_all,
    const real2* __restrict__ images, const real* __restrict__ ctf,
    const real* __restrict__ inv_sigma2, real* __restrict__ z, real* __restrict__ power)
{
    __shared__ real rows[6];
    __shared__ double total;
    const Grid grid = {n_orient, n_psi, n_child_direction, n_child_psi};
    const int n_child = n_child_direction * n_child_psi;
    const long long s = blockIdx.x;
    const int job = s / n_child, i = job_image[job], hypothesis = job_hypothesis[job];
    if (threadIdx.x == 0) {
        child_rows(hypothesis, s % n_child, directions, psis, grid, padding, rows);
        total = 0;
    }
    __syncthreads();
    const real2* volume = volumes + hypothesis / n_orient * volume_length;
    const real2* image = images + (long long)i * n_pix_all;
    const real* mine = ctf + (long long)i * n_pix_all;
    real sum = 0;
    for (int k = threadIdx.x; k < n_pix; k += blockDim.x) {
        const real2 p = slice_value(volume, rows, sx[k], sy[k], size, limit);
        const real f = mine[k] * inv_sigma2[k];
        const real2 x = image[k];
        z[s * 2 * n_pix + k] = f * (p.x * x.x + p.y * x.y);
        z[s * 2 * n_pix + n_pix + k] = f * (p.x * x.y - p.y * x.x);
        sum += f * mine[k] * (p.x * p.x + p.y * p.y);
    }
    double lane_sum = sum;
    for (int lane = 16; lane; lane /= 2) lane_sum += __shfl_down_sync(~0u, lane_sum, lane);
    if (threadIdx.x % 32 == 0) atomicAdd(&total, lane_sum);
    __syncthreads();
    if (threadIdx.x == 0) power[s] = (real)total;
}
