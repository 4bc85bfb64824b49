// Bookkeeping of the exhaustive pass: scores are written once by the product and read here.
// variants: DOUBLE=0,EXACT=0 ; DOUBLE=1,EXACT=0 ; DOUBLE=0,EXACT=1 ; DOUBLE=1,EXACT=1
#include "cut.cuh"

#define N_BINS 2048

// One thread a coefficient of a row (image, shift): CTF * image * phase / sigma2.
extern "C" __global__ void shifted_images(
    const real2* __restrict__ images, const real2* __restrict__ phases,
    const real* __restrict__ ctf, const real* __restrict__ inv_sigma2, int n_pix_all, int n_pix,
    int n_shift, long long total, real* __restrict__ out)
{
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= total) return;
    const int k = at % n_pix;
    const long long row = at / n_pix;
    const long long i = row / n_shift;
    const int t = row % n_shift;
    const real f = ctf[i * n_pix_all + k] * inv_sigma2[k];
    const real2 v = multiply(images[i * n_pix_all + k], phases[(long long)t * n_pix + k]);
    out[row * 2 * n_pix + k] = f * v.x;
    out[row * 2 * n_pix + n_pix + k] = f * v.y;
}

extern "C" __global__ void ctf_power(
    const real* __restrict__ ctf, const real* __restrict__ inv_sigma2, int n_pix_all, int n_pix,
    long long total, real* __restrict__ out)
{
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= total) return;
    const int k = at % n_pix;
    const real c = ctf[at / n_pix * n_pix_all + k];
    out[at] = c * c * inv_sigma2[k];
}

struct Scores {
    const real* cross;      // (n_hyp, n_img, n_shift)
    const real* power;      // (n_hyp, n_img)
    const real* log_dir;   // (n_hyp / n_psi)
    const real* log_shift; // (n_img, n_shift)
    int n_hyp, n_img, n_shift, n_psi, is_cc;

    __device__ __forceinline__ real at(long long h, int i, int t) const
    {
        const real c = cross[(h * n_img + i) * n_shift + t];
        const real p = power[h * n_img + i];
        if (is_cc) return p > 0 ? c * rsqrt(p) : (real)-1e30;
        return c - (real)0.5 * p + log_dir[h / n_psi] + log_shift[i * n_shift + t];
    }
};

// Floats order like integers when positive and the other way round when negative.
__device__ __forceinline__ void atomic_max(float* address, float value)
{
    if (value >= 0) atomicMax((int*)address, __float_as_int(value));
    else atomicMin((unsigned*)address, __float_as_uint(value));
}

__device__ __forceinline__ void atomic_max(double* address, double value)
{
    if (value >= 0) atomicMax((long long*)address, __double_as_longlong(value));
    else atomicMin((unsigned long long*)address, (unsigned long long)__double_as_longlong(value));
}

// Threads run along (image, shift), blocks in y take chunks of hypotheses: coalesced reads.
extern "C" __global__ void find_peak(
    const real* cross, const real* power, const real* log_dir, const real* log_shift, int n_hyp,
    int n_img, int n_shift, int n_psi, int is_cc, int chunk, real* __restrict__ peak)
{
    const Scores scores = {cross, power, log_dir, log_shift, n_hyp, n_img, n_shift, n_psi, is_cc};
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= n_img * n_shift) return;
    const int i = column / n_shift, t = column % n_shift;
    const int first = blockIdx.y * chunk, last = min(first + chunk, n_hyp);
    real best = NO_SCORE;
    for (int h = first; h < last; ++h) best = max(best, scores.at(h, i, t));
    if (best > peak[i]) atomic_max(&peak[i], best);
}

// Weights and counts by depth below the peak, down to margin.
extern "C" __global__ void histogram(
    const real* cross, const real* power, const real* log_dir, const real* log_shift, int n_hyp,
    int n_img, int n_shift, int n_psi, int is_cc, int chunk, const real* __restrict__ peak,
    real margin, BinSum* __restrict__ weights, int* __restrict__ counts)
{
    const Scores scores = {cross, power, log_dir, log_shift, n_hyp, n_img, n_shift, n_psi, is_cc};
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= n_img * n_shift) return;
    const int i = column / n_shift, t = column % n_shift;
    const int first = blockIdx.y * chunk, last = min(first + chunk, n_hyp);
    const real top = peak[i], cut = top - margin, per_unit = N_BINS / margin;
    for (int h = first; h < last; ++h) {
        const real v = scores.at(h, i, t);
        if (v > cut) {
            const int bin = min((int)((top - v) * per_unit), N_BINS - 1);
            add_to_bin(weights + i * N_BINS, bin, exp((double)(v - top)), per_unit);
            atomicAdd(&counts[i * N_BINS + bin], 1);
        }
    }
}

// One block an image: the bin in which the wanted share of the weight is reached, or the most samples
// allowed. low and high: its edges; above and n_above: what lies above it; target: the wanted weight.
extern "C" __global__ void crossing(
    const real* __restrict__ peak, const BinSum* __restrict__ weights,
    const int* __restrict__ counts, real margin, double fraction, int limit,
    real* __restrict__ low, real* __restrict__ high, double* __restrict__ above,
    double* __restrict__ target, int* __restrict__ n_above)
{
    const int per_thread = N_BINS / 256;  // launched with 256 threads
    __shared__ double weight[256];
    __shared__ int count[256];
    const int i = blockIdx.x, t = threadIdx.x;
    const real per_unit = N_BINS / margin;
    const BinSum* w = weights + (long long)i * N_BINS;
    const int* c = counts + (long long)i * N_BINS;
    double sum = 0;
    int n = 0;
    for (int b = t * per_thread; b < (t + 1) * per_thread; ++b) {
        sum += weight_of_bin(w, b, per_unit);
        n += c[b];
    }
    weight[t] = sum;
    count[t] = n;
    __syncthreads();
    if (t) return;
    double total = 0, reached = 0;
    for (int p = 0; p < 256; ++p) total += weight[p];
    const double wanted = fraction * total;
    int n_reached = 0, p = 0;
    for (; p < 255; ++p) {
        if (reached + weight[p] > wanted) break;
        if (limit > 0 && n_reached + count[p] >= limit) break;
        reached += weight[p];
        n_reached += count[p];
    }
    int bin = p * per_thread;
    for (; bin < N_BINS - 1; ++bin) {
        const double weight_here = weight_of_bin(w, bin, per_unit);
        if (reached + weight_here > wanted) break;
        if (limit > 0 && n_reached + c[bin] >= limit) break;
        reached += weight_here;
        n_reached += c[bin];
    }
    const real width = margin / N_BINS;
    low[i] = peak[i] - (bin + 1) * width;
    high[i] = bin == 0 ? peak[i] + 1 : peak[i] - bin * width;
    above[i] = reached;
    target[i] = wanted;
    n_above[i] = n_reached;
}

// One thread a (hypothesis, image): a bit for every shift at or above the image's threshold.
extern "C" __global__ void significant(
    const real* cross, const real* power, const real* log_dir, const real* log_shift, int n_hyp,
    int n_img, int n_shift, int n_psi, int is_cc, const real* __restrict__ threshold, int n_word,
    unsigned* __restrict__ masks, unsigned char* __restrict__ any, int* __restrict__ n_significant)
{
    const Scores scores = {cross, power, log_dir, log_shift, n_hyp, n_img, n_shift, n_psi, is_cc};
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (long long)n_hyp * n_img) return;
    const int i = at % n_img;
    const long long h = at / n_img;
    const real cut = threshold[i];
    const long long out = (long long)i * n_hyp + h;
    int total = 0;
    for (int w = 0; w < n_word; ++w) {
        unsigned bits = 0;
        for (int b = 0; b < 32 && 32 * w + b < n_shift; ++b)
            if (scores.at(h, i, 32 * w + b) >= cut) bits |= 1u << b;
        masks[out * n_word + w] = bits;
        total += __popc(bits);
    }
    any[out] = total > 0;
    if (total) atomicAdd(&n_significant[i], total);
}

// One block an image: the exact threshold among the samples kept by the bin's lower edge; clears
// the bits below it. Jobs of image i: job_offsets[i] .. job_offsets[i + 1].
extern "C" __global__ void prune(
    const real* cross, const real* power, const real* log_dir, const real* log_shift, int n_hyp,
    int n_img, int n_shift, int n_psi, int is_cc, const real* __restrict__ peak,
    const real* __restrict__ low, const real* __restrict__ high,
    const double* __restrict__ above, const double* __restrict__ target,
    const int* __restrict__ n_above, int limit, const long long* __restrict__ job_offsets,
    const int* __restrict__ hypothesis, int n_word, unsigned* __restrict__ masks,
    int* __restrict__ n_significant)
{
    __shared__ real members[MAX_MEMBERS];
    __shared__ real cut;
    __shared__ int n_member, dropped;
    const Scores scores = {cross, power, log_dir, log_shift, n_hyp, n_img, n_shift, n_psi, is_cc};
    const int i = blockIdx.x;
    const long long first = job_offsets[i];
    const long long n = (job_offsets[i + 1] - first) * n_shift;
    if (threadIdx.x == 0) n_member = dropped = 0;
    __syncthreads();
    for (long long k = threadIdx.x; k < n; k += blockDim.x) {
        const real v = scores.at(hypothesis[first + k / n_shift], i, k % n_shift);
        if (v >= low[i] && v < high[i]) {
            const int m = atomicAdd(&n_member, 1);
            if (m < MAX_MEMBERS) members[m] = v;
        }
    }
    __syncthreads();
    if (threadIdx.x == 0)
        cut = threshold_in_bin(
            members, n_member, low[i], peak[i], above[i], target[i], n_above[i], limit);
    __syncthreads();
    for (long long k = threadIdx.x; k < n; k += blockDim.x) {
        const long long job = first + k / n_shift;
        const int t = k % n_shift;
        const unsigned bit = 1u << (t % 32);
        unsigned* word = &masks[job * n_word + t / 32];
        if ((*word & bit) && scores.at(hypothesis[job], i, t) < cut) {
            atomicAnd(word, ~bit);
            atomicAdd(&dropped, 1);
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) n_significant[i] -= dropped;
}
