// Lists of slices, and what the weights of a list add up to.
// variants: DOUBLE=0,EXACT=0 ; DOUBLE=1,EXACT=0 ; DOUBLE=0,EXACT=1 ; DOUBLE=1,EXACT=1
#include "exact.cuh"
#include "slice.cuh"

// One thread a slice: child s % n_child of job s / n_child; psi children run fastest.
extern "C" __global__ void list_slices(
    const double* __restrict__ directions, const double* __restrict__ psis, double padding,
    int n_orient, int n_psi, int n_child_direction, int n_child_psi,
    const int* __restrict__ job_image, const int* __restrict__ job_hypothesis, long long n_slice,
    Slice* __restrict__ out)
{
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n_slice) return;
    const int n_child = n_child_direction * n_child_psi;
    const long long job = s / n_child;
    const int child = s % n_child, hypothesis = job_hypothesis[job];
    const int orient = hypothesis % n_orient;
    const int d = orient / n_psi * n_child_direction + child / n_child_psi;
    const int p = orient % n_psi * n_child_psi + child % n_child_psi;
    Slice slice;
    rotation_rows(directions + 9 * d, psis[p], padding, slice.rows);
    slice.image = job_image[job];
    slice.hypothesis = hypothesis;
    out[s] = slice;
}

#if EXACT
typedef Steps WeightSum;
#define PER_WEIGHT 281474976710656.0  // 2^48: steps of an image's weights, as in accumulate.py
#else
typedef double WeightSum;
#endif

// One warp a slice: its weight, added to those of its image, class, shifts and, with n_dir > 0,
// direction.
// per_direction: steps in a weight of 1, of exact sums over images.
extern "C" __global__ void share_weights(
    const Slice* __restrict__ slices, long long n_slice, const real* __restrict__ weights,
    int n_column, int n_orient, int n_psi, int n_class, int n_dir, real* __restrict__ share,
    WeightSum* __restrict__ class_weight, WeightSum* __restrict__ shift_weight,
#if EXACT
    double per_direction,
#endif
    WeightSum* __restrict__ direction_weight)
{
    const long long s = ((long long)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (s >= n_slice) return;
    const int lane = threadIdx.x % 32;
    const int i = slices[s].image, hypothesis = slices[s].hypothesis;
    double mine = 0;
    for (int t = lane; t < n_column; t += 32) {
        const real q = weights[s * n_column + t];
        if (q > 0) {
            mine += q;
#if EXACT
            atomicAdd(&shift_weight[(long long)i * n_column + t], in_steps(q * PER_WEIGHT));
#else
            atomicAdd(&shift_weight[(long long)i * n_column + t], (double)q);
#endif
        }
    }
    mine = warp_sum(mine);
    if (lane) return;
    const int k = hypothesis / n_orient, d = hypothesis % n_orient / n_psi;
    share[s] = (real)mine;
#if EXACT
    atomicAdd(&class_weight[(long long)i * n_class + k], in_steps(mine * PER_WEIGHT));
    if (n_dir) atomicAdd(&direction_weight[(long long)k * n_dir + d], in_steps(mine * per_direction));
#else
    atomicAdd(&class_weight[(long long)i * n_class + k], mine);
    if (n_dir) atomicAdd(&direction_weight[(long long)k * n_dir + d], mine);
#endif
}

// One block an image, one warp a shell at a time: sums over the pixels of each shell.
// sums: (n_img, n_pix) of (cross, power); order: pixels by shell; starts: (n_shell + 1,).
extern "C" __global__ void shell_moments(
    const real2* __restrict__ sums, const int* __restrict__ order, const int* __restrict__ starts,
    int n_pix, int n_shell, double* __restrict__ cross, double* __restrict__ power)
{
    const long long i = blockIdx.x;
    const int lane = threadIdx.x % 32;
    for (int b = threadIdx.x / 32; b < n_shell; b += blockDim.x / 32) {
        double x = 0, y = 0;
        for (int k = starts[b] + lane; k < starts[b + 1]; k += 32) {
            const real2 v = sums[i * n_pix + order[k]];
            x += v.x;
            y += v.y;
        }
        x = warp_sum(x);
        y = warp_sum(y);
        if (lane == 0) {
            cross[i * n_shell + b] = x;
            power[i * n_shell + b] = y;
        }
    }
}
