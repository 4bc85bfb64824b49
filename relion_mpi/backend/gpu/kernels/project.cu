// Slices of padded transforms as rows [real | imaginary], and their power.
// variants: DOUBLE=0,TEXTURE=0 ; DOUBLE=0,TEXTURE=1 ; DOUBLE=1,TEXTURE=0 ; DOUBLE=0,PLANAR=1 ; DOUBLE=1,PLANAR=1
#include "exact.cuh"
#include "interp.cuh"

// grid (pixel blocks, orientations): slices at given rows (n, 6), times padding.
extern "C" __global__ void slices(
    Volumes volumes, int k_class, long long length, int size, real limit,
    const real* __restrict__ rows, const real* __restrict__ sx, const real* __restrict__ sy,
    int n_pix, real* __restrict__ out)
{
    const int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= n_pix) return;
    const long long o = blockIdx.y;
    const Volume volume = volume_of(volumes, k_class, length);
    const real2 v = slice_value(volume, rows + 6 * o, sx[k], sy[k], size, limit);
    out[o * 2 * n_pix + k] = v.x;
    out[o * 2 * n_pix + n_pix + k] = v.y;
}

// grid (pixel blocks, hypotheses): slices of coarse hypotheses first.. and their |P|^2.
extern "C" __global__ void coarse_slices(
    Volumes volumes, long long length, int size, real limit, double padding,
    const double* __restrict__ direction, const double* __restrict__ psi, int n_psi, int n_orient,
    int first,
    const real* __restrict__ sx, const real* __restrict__ sy, int n_pix, real* __restrict__ out,
    real* __restrict__ power)
{
    __shared__ real rows[6];
    const int k_class = (first + blockIdx.y) / n_orient, o = (first + blockIdx.y) % n_orient;
    if (threadIdx.x == 0) rotation_rows(direction + 9 * (o / n_psi), psi[o % n_psi], padding, rows);
    __syncthreads();
    const int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= n_pix) return;
    const Volume volume = volume_of(volumes, k_class, length);
    const real2 v = slice_value(volume, rows, sx[k], sy[k], size, limit);
    const long long at = blockIdx.y;
    out[at * 2 * n_pix + k] = v.x;
    out[at * 2 * n_pix + n_pix + k] = v.y;
    power[at * n_pix + k] = v.x * v.x + v.y * v.y;
}

// One block a pair of slices, one warp a shell at a time: weight * |P(first) - P(second)|^2, added in
// double and in one order. first: (n, 6) rows; second: (n, n_trial, 6); weight: (n, n_pix); order:
// pixels by shell; starts: (n_shell + 1,); out: (n, n_trial, n_shell).
extern "C" __global__ void slice_distances(
    Volumes volumes, int k_class, long long length, int size, real limit,
    const real* __restrict__ first, const real* __restrict__ second, int n_trial,
    const real* __restrict__ weight, const real* __restrict__ sx, const real* __restrict__ sy,
    const int* __restrict__ order, const int* __restrict__ starts, int n_pix, int n_shell,
    double* __restrict__ out)
{
    const long long o = blockIdx.x, i = o / n_trial;
    const int lane = threadIdx.x % 32;
    const Volume volume = volume_of(volumes, k_class, length);
    for (int s = threadIdx.x / 32; s < n_shell; s += blockDim.x / 32) {
        double sum = 0;
        for (int at = starts[s] + lane; at < starts[s + 1]; at += 32) {
            const int k = order[at];
            const real2 a = slice_value(volume, first + 6 * i, sx[k], sy[k], size, limit);
            const real2 b = slice_value(volume, second + 6 * o, sx[k], sy[k], size, limit);
            const real dx = a.x - b.x, dy = a.y - b.y;
            sum += (double)(weight[i * n_pix + k] * (dx * dx + dy * dy));
        }
        sum = warp_sum(sum);
        if (lane == 0) out[o * n_shell + s] = sum;
    }
}
