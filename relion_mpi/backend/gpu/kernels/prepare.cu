// Particle images to masked and unmasked transforms with their CTFs.
// variants: DOUBLE=0,EXACT=0 ; DOUBLE=1,EXACT=0 ; DOUBLE=0,EXACT=1 ; DOUBLE=1,EXACT=1
#include "exact.cuh"

#define MAX_WARPS 8  // of a block

// Half precision without its header, which not every machine has.
__device__ __forceinline__ real from_half(unsigned short bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return (real)value;
}

// One thread a pixel: shift by whole pixels, zeros entering, times a factor. The images are float,
// or half if is_half.
extern "C" __global__ void recentre(
    const void* __restrict__ images, int is_half, const int* __restrict__ shift,
    const real* __restrict__ factor, int box, long long total, real* __restrict__ out)
{
    const long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= total) return;
    const int x = k % box, y = k / box % box;
    const int i = k / ((long long)box * box);
    const int sx = x - shift[2 * i], sy = y - shift[2 * i + 1];
    const bool inside = sx >= 0 && sx < box && sy >= 0 && sy < box;
    const long long at = ((long long)i * box + sy) * box + sx;
    real value = 0;
    if (inside) {
        value = is_half ? from_half(((const unsigned short*)images)[at])
                        : (real)((const float*)images)[at];
    }
    out[k] = value * factor[i];
}

// One block an image: fade the outside to its mean, or to a fill image.
extern "C" __global__ void mask_outside(
    const real* __restrict__ images, const real* __restrict__ inside, const real* __restrict__ fill,
    int has_fill, int n_pix, real* __restrict__ out)
{
    __shared__ double totals[MAX_WARPS], weights[MAX_WARPS];
    const real* image = images + (long long)blockIdx.x * n_pix;
    double total = 0, weight = 0;
    for (int k = threadIdx.x; k < n_pix; k += blockDim.x) {
        const double w = 1.0 - inside[k];
        total += w * image[k];
        weight += w;
    }
    total = warp_sum(total);
    weight = warp_sum(weight);
    if (threadIdx.x % 32 == 0) {
        totals[threadIdx.x / 32] = total;
        weights[threadIdx.x / 32] = weight;
    }
    __syncthreads();
    total = weight = 0;
    for (int w = 0; w < blockDim.x / 32; ++w) {
        total += totals[w];
        weight += weights[w];
    }
    const real mean = weight > 0 ? (real)(total / weight) : (real)0;
    for (int k = threadIdx.x; k < n_pix; k += blockDim.x) {
        const long long at = (long long)blockIdx.x * n_pix + k;
        const real other = has_fill ? fill[at] : mean;
        out[at] = inside[k] * image[k] + ((real)1 - inside[k]) * other;
    }
}

// One thread a coefficient: pick, move the origin to the image centre, normalise, demodulate.
extern "C" __global__ void gather(
    const real2* __restrict__ transforms, const int* __restrict__ xs, const int* __restrict__ ys,
    const real2* __restrict__ phase, int has_phase, int box, int n_pix, long long total, real norm,
    real2* __restrict__ out)
{
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= total) return;
    const int k = at % n_pix;
    const long long i = at / n_pix;
    const int x = xs[k], y = ys[k];
    const real sign = (x + y) & 1 ? -norm : norm;
    real2 value = transforms[(i * box + (y >= 0 ? y : y + box)) * (box / 2 + 1) + x];
    value.x *= sign;
    value.y *= sign;
    out[at] = has_phase ? multiply(value, phase[k]) : value;
}

// One thread a coefficient, in place: move the content of image i by shift[i]; the phase in double.
extern "C" __global__ void move_content(
    real2* __restrict__ values, const int* __restrict__ xs, const int* __restrict__ ys,
    const double* __restrict__ shift, int box, int n_pix, long long total)
{
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= total) return;
    const int k = at % n_pix;
    const double* t = shift + at / n_pix * 2;
    double sine, cosine;
    sincos(-6.283185307179586 / box * (t[0] * xs[k] + t[1] * ys[k]), &sine, &cosine);
    values[at] = multiply(values[at], pair((real)cosine, (real)sine));
}

// One block an image: power per shell of the whole transform.
#if EXACT
// One warp a shell at a time; order: coefficients by shell, starts: (n_shell + 1,).
extern "C" __global__ void shell_power(
    const real2* __restrict__ transforms, const int* __restrict__ order,
    const int* __restrict__ starts, int n_coefficients, int n_shell, double norm,
    double* __restrict__ out)
{
    const real2* mine = transforms + (long long)blockIdx.x * n_coefficients;
    const int lane = threadIdx.x % 32;
    for (int s = threadIdx.x / 32; s < n_shell; s += blockDim.x / 32) {
        double power = 0;
        for (int k = starts[s] + lane; k < starts[s + 1]; k += 32) {
            const real2 v = mine[order[k]];
            power += (double)v.x * v.x + (double)v.y * v.y;
        }
        power = warp_sum(power);
        if (lane == 0) out[(long long)blockIdx.x * n_shell + s] = norm * norm * power;
    }
}
#else
extern "C" __global__ void shell_power(
    const real2* __restrict__ transforms, const int* __restrict__ shell, int n_coefficients,
    int n_shell, double norm, double* __restrict__ out)
{
    extern __shared__ double power[];
    for (int s = threadIdx.x; s < n_shell; s += blockDim.x) power[s] = 0;
    __syncthreads();
    for (int k = threadIdx.x; k < n_coefficients; k += blockDim.x) {
        if (shell[k] < 0) continue;
        const real2 v = transforms[(long long)blockIdx.x * n_coefficients + k];
        atomicAdd(&power[shell[k]], norm * norm * ((double)v.x * v.x + (double)v.y * v.y));
    }
    __syncthreads();
    for (int s = threadIdx.x; s < n_shell; s += blockDim.x)
        out[(long long)blockIdx.x * n_shell + s] = power[s];
}
#endif

// One thread a coefficient; the phase in double. c: (n_img, 8), see optics.ctf.ctf_coefficients.
extern "C" __global__ void evaluate_ctf(
    const double* __restrict__ c8, const double* __restrict__ fx, const double* __restrict__ fy,
    const double* __restrict__ gamma_offset, int intact, int absolute, int flip, int n_pix,
    long long total, real* __restrict__ out)
{
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= total) return;
    const int k = at % n_pix;
    const double* c = c8 + at / n_pix * 8;
    const double x = fx[k], y = fy[k], u2 = x * x + y * y;
    const double gamma =
        c[0] * x * x + c[1] * x * y + c[2] * y * y + c[3] * u2 * u2 + c[4] + gamma_offset[k];
    double value = intact && fabs(gamma) < 1.5707963267948966 ? 1.0 : -sin(gamma);
    value *= exp(c[6] * u2);
    if (absolute) value = fabs(value);
    else if (flip) value = value < 0 ? -1.0 : 1.0;
    value *= c[5];
    if (fabs(value) < 1e-8) value = value >= 0 ? 1e-8 : -1e-8;
    out[at] = (real)value;
}
