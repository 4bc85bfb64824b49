// Scores of listed samples to weights: peak, sum, significance cut. One block an image.
// variants: DOUBLE=0,EXACT=0 ; DOUBLE=1,EXACT=0 ; DOUBLE=0,EXACT=1 ; DOUBLE=1,EXACT=1
#include "cut.cuh"

#define N_BINS 1024
#define NEGLIGIBLE_LOG 13.815511f

__device__ __forceinline__ real block_max(real value, real* shared)
{
    for (int lane = 16; lane; lane /= 2) value = max(value, __shfl_xor_sync(~0u, value, lane));
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
    __syncthreads();
    value = shared[0];
    for (int w = 1; w < blockDim.x / 32; ++w) value = max(value, shared[w]);
    __syncthreads();
    return value;
}

// scores (n_row, n_column): in, the cross terms; out, the weights, 0 below the cut.
// Rows of image i: row_offsets[i] .. row_offsets[i + 1]; n_child rows share a job, n_shift_child
// columns a coarse shift. masks (n_job, n_word) or null: which coarse shifts count.
extern "C" __global__ void weigh(
    real* __restrict__ scores, const long long* __restrict__ row_offsets,
    const double* __restrict__ power, const real* __restrict__ log_prior,
    const real* __restrict__ log_shift, const unsigned* __restrict__ masks, int n_word,
    int n_column, int n_child, int n_shift_child, int is_cc, int normalise, double fraction,
    unsigned char* __restrict__ kept, unsigned* __restrict__ kept_masks,
    long long* __restrict__ best, double* __restrict__ summary, int* __restrict__ n_kept)
{
    __shared__ BinSum bins[N_BINS];
    __shared__ real shared[32];
    __shared__ double warp_totals[32], total;
    __shared__ real cut, low, high, members[MAX_MEMBERS];
    __shared__ double above_bin;
    __shared__ int n_member;
    __shared__ int above;
    const int i = blockIdx.x;
    const long long first = row_offsets[i], n_row = row_offsets[i + 1] - first;
    const long long n = n_row * n_column;
    const int n_shift = n_column / n_shift_child;
    for (int b = threadIdx.x; b < N_BINS; b += blockDim.x) bins[b] = 0;
    if (threadIdx.x == 0) { above = 0; cut = 0; best[i] = 0; }

    real peak = NO_SCORE;
    for (long long k = threadIdx.x; k < n; k += blockDim.x) {
        const long long row = first + k / n_column;
        const int t = k % n_column / n_shift_child;
        const long long job = row / n_child;
        const bool listed = !masks || masks[job * n_word + t / 32] >> (t % 32) & 1;
        real v = NO_SCORE;
        if (listed) {
            const real c = scores[first * n_column + k], p = (real)power[row];
            if (is_cc) v = p > 0 ? c * rsqrt(p) : (real)-1e30;
            else v = c - (real)0.5 * p + log_prior[job] + log_shift[i * n_shift + t];
        }
        scores[first * n_column + k] = v;
        peak = max(peak, v);
    }
    __syncthreads();
    peak = block_max(peak, shared);

    const real margin = log(max((real)n, (real)1)) + (real)NEGLIGIBLE_LOG, per_unit = N_BINS / margin;
    double sum = 0;
    for (long long k = threadIdx.x; k < n; k += blockDim.x) {
        const real v = scores[first * n_column + k];
        if (v == peak) atomicMax((unsigned long long*)&best[i], (unsigned long long)(k + 1));
        if (v > peak - margin) {
            const double w = exp((double)(v - peak));
            const int bin = min((int)((peak - v) * per_unit), N_BINS - 1);
            add_to_bin(bins, bin, w, per_unit);
            sum += w;
        }
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) warp_totals[threadIdx.x / 32] = sum;
    __syncthreads();
#if EXACT
    // By all threads at once; the numbers lie where the steps did.
    for (int b = threadIdx.x; b < N_BINS; b += blockDim.x)
        bins[b] = (BinSum)__double_as_longlong(weight_of_bin(bins, b, per_unit));
    __syncthreads();
#endif
    if (threadIdx.x == 0) {
        total = 0;
        for (int w = 0; w < blockDim.x / 32; ++w) total += warp_totals[w];
        double reached = 0;
        int b = 0;
        for (; b < N_BINS - 1; ++b) {
#if EXACT
            const double here = __longlong_as_double((long long)bins[b]);
#else
            const double here = bins[b];
#endif
            if (reached + here > fraction * total) break;
            reached += here;
        }
        above_bin = reached;
        high = b == 0 ? peak + 1 : peak - b / per_unit;
        low = peak - (b + 1) / per_unit;
        n_member = 0;
        summary[3 * i] = peak;
        summary[3 * i + 1] = is_cc ? peak : peak + log(total);
    }
    __syncthreads();
    for (long long k = threadIdx.x; k < n; k += blockDim.x) {
        const real v = scores[first * n_column + k];
        if (v >= low && v < high) {
            const int m = atomicAdd(&n_member, 1);
            if (m < MAX_MEMBERS) members[m] = v;
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        cut = is_cc ? peak
                    : threshold_in_bin(
                          members, n_member, low, peak, above_bin, fraction * total, 0, 0);
    }
    __syncthreads();
    const real norm = is_cc ? peak : peak + (real)log(total);
    int mine = 0;
    for (long long k = threadIdx.x; k < n; k += blockDim.x) {
        const long long at = first * n_column + k;
        const real v = scores[at];
        const bool keep = v >= cut;
        scores[at] = keep ? (normalise ? exp(v - norm) : (real)1) : (real)0;
        if (keep) {
            const long long row = first + k / n_column;
            kept[row] = 1;
            ++mine;
            if (kept_masks) {
                const int t = k % n_column / n_shift_child;
                atomicOr(&kept_masks[row / n_child * n_word + t / 32], 1u << (t % 32));
            }
        }
    }
    if (mine) atomicAdd(&above, mine);
    __syncthreads();
    if (threadIdx.x == 0) n_kept[i] = above;
}

// One thread an image: its best sample as (hypothesis, child, fine shift, significant samples).
extern "C" __global__ void best_samples(
    const long long* __restrict__ best, const long long* __restrict__ job_offsets,
    const int* __restrict__ hypothesis, const int* __restrict__ n_significant, int n_column,
    int n_child, int n_img, long long* __restrict__ out)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n_img) return;
    const bool none = job_offsets[i] == job_offsets[i + 1];
    const long long at = none ? 0 : best[i] - 1;  // counted from 1
    const long long row = job_offsets[i] * n_child + at / n_column;
    out[i] = none ? 0 : hypothesis[row / n_child];
    out[n_img + i] = row % n_child;
    out[2 * n_img + i] = at % n_column;
    out[3 * n_img + i] = n_significant[i];
}
