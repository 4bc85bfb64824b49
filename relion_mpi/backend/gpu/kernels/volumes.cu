// The M-step's float64 passes over padded half grids: symmetry, spectra, weights.
// Nothing is added by atomics: a run repeats to the last bit on one GPU.
// variants:
#include "half_grid.cuh"

// First x of a row whose shell is at least s; base is the row's own squared radius.
__device__ __forceinline__ int first_x(int base, int s, double padding, double rounding)
{
    const double edge = (s - rounding) * padding;
    const double left = edge > 0 ? edge * edge - base : 0;
    int x = left > 0 ? (int)sqrt(left) : 0;
    while (x > 0 && shell_of(base + (x - 1) * (x - 1), padding, rounding) >= s) --x;
    while (shell_of(base + x * x, padding, rounding) < s) ++x;
    return x;
}

// One block a row (y, plane): rows of the half ball, from entry slab_first on, into whole grids.
// seen: a number that is not finite, a weight not 0.
extern "C" __global__ void split(
    const double* __restrict__ slab, long long slab_first, const long long* __restrict__ starts,
    int first_plane, int size, double2* __restrict__ data, double* __restrict__ weight,
    int* __restrict__ seen)
{
    const long long row = (long long)(first_plane + blockIdx.y) * size + blockIdx.x;
    const int half = size / 2 + 1, n = (int)(starts[row + 1] - starts[row]);
    const double* from = slab + 3 * (starts[row] - slab_first);
    bool odd = false, any = false;
    for (int x = threadIdx.x; x < half; x += blockDim.x) {
        double re = 0, im = 0, w = 0;
        if (x < n) {
            re = from[3 * x];
            im = from[3 * x + 1];
            w = from[3 * x + 2];
        }
        data[row * half + x] = make_double2(re, im);
        weight[row * half + x] = w;
        odd |= !(isfinite(re) && isfinite(im) && isfinite(w));
        any |= w != 0;
    }
    odd = __syncthreads_or(odd);
    any = __syncthreads_or(any);
    if (threadIdx.x == 0 && odd) seen[0] = 1;
    if (threadIdx.x == 0 && any) seen[1] = 1;
}

// One thread a pair of voxels of the x = 0 plane that are each other's mates; n_pair excludes the
// origin.
extern "C" __global__ void friedel(
    double2* __restrict__ data, double* __restrict__ weight, int size, int n_pair)
{
    const int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= n_pair) return;
    const long long half = size / 2 + 1;
    const long long here = k * half, there = ((long long)size * size - 1 - k) * half;
    const double2 a = data[here], b = data[there];
    data[here] = make_double2(a.x + b.x, a.y - b.y);
    data[there] = make_double2(b.x + a.x, b.y - a.y);
    const double total = weight[here] + weight[there];
    weight[here] = total;
    weight[there] = total;
}

__device__ __forceinline__ double3 rotated(const double* __restrict__ r, int x, int y, int z)
{
    // Rounded step by step: a fused sum may put an exact grid point into the neighbouring cell.
    double p[3];
    for (int i = 0; i < 3; ++i)
        p[i] = __dadd_rn(
            __dadd_rn(__dmul_rn(r[3 * i], x), __dmul_rn(r[3 * i + 1], y)),
            __dmul_rn(r[3 * i + 2], z));
    return make_double3(p[0], p[1], p[2]);
}

// Rows: the grids plus the grids interpolated at every rotated position; operators (n, 3, 3).
extern "C" __global__ void point_group(
    const double2* __restrict__ data, const double* __restrict__ weight,
    const double* __restrict__ operators, int n_operator, int size, int reach,
    double2* __restrict__ out_data, double* __restrict__ out_weight)
{
    const int z = blockIdx.y, y = blockIdx.x, origin = size / 2;
    const long long row = row_start(z, y, size), half = size / 2 + 1, plane = half * size;
    const int kz = z - origin, ky = y - origin;
    for (int x = threadIdx.x; x < half; x += blockDim.x) {
        double2 sum = data[row + x];
        double sum_weight = weight[row + x];
        if (x * x + ky * ky + kz * kz <= reach * reach) {
            double re = 0, im = 0, added = 0;
            for (int i = 0; i < n_operator; ++i) {
                double3 p = rotated(operators + 9 * i, x, ky, kz);
                const double sign = p.x < 0 ? -1 : 1;
                p.x *= sign;
                p.y = p.y * sign + origin;
                p.z = p.z * sign + origin;
                const int x0 = (int)p.x, y0 = (int)p.y, z0 = (int)p.z;
                const double fx = p.x - x0, fy = p.y - y0, fz = p.z - z0;
                const long long corner = z0 * plane + y0 * half + x0;
                for (int c = 0; c < 8; ++c) {
                    const double wz = c & 4 ? fz : 1 - fz, wy = c & 2 ? fy : 1 - fy;
                    const double w = wz * wy * (c & 1 ? fx : 1 - fx);
                    if (w == 0) continue;  // a corner beyond the grid has no share
                    const long long at =
                        corner + (c & 4 ? plane : 0) + (c & 2 ? half : 0) + (c & 1);
                    const double2 v = data[at];
                    re += w * v.x;
                    im += sign * w * v.y;
                    added += w * weight[at];
                }
            }
            sum.x += re;
            sum.y += im;
            sum_weight += added;
        }
        out_data[row + x] = sum;
        out_weight[row + x] = sum_weight;
    }
}

// Rows: both halves become their mean within a radius.
extern "C" __global__ void join(
    double2* __restrict__ first, double* __restrict__ first_weight, double2* __restrict__ second,
    double* __restrict__ second_weight, int size, int radius)
{
    const int kz = (int)blockIdx.y - size / 2, ky = (int)blockIdx.x - size / 2;
    const long long row = row_start(blockIdx.y, blockIdx.x, size);
    for (int x = threadIdx.x; x * x + ky * ky + kz * kz <= radius * radius; x += blockDim.x) {
        const double2 a = first[row + x], b = second[row + x];
        const double2 mean = make_double2(0.5 * (a.x + b.x), 0.5 * (a.y + b.y));
        const double w = 0.5 * (first_weight[row + x] + second_weight[row + x]);
        first[row + x] = second[row + x] = mean;
        first_weight[row + x] = second_weight[row + x] = w;
    }
}

// Padded indices low..high that round to a bin, halves away from zero.
struct Range {
    int low, high;
};

__device__ __forceinline__ Range members(int bin, int padding, int origin)
{
    Range r;
    const int b = abs(bin);
    r.low = b ? (2 * padding * b - padding + 1) / 2 : -((padding - 1) / 2);
    r.high = min((2 * padding * b + padding + 1) / 2 - 1, origin);
    if (bin < 0) {
        const int low = r.low;
        r.low = -r.high;
        r.high = -low;
    }
    return r;
}

// Data over weights, both summed over one bin of the unpadded grid.
__device__ double2 average(
    const double2* __restrict__ data, const double* __restrict__ weight, Range z, Range y, Range x,
    int size, int limit2)
{
    const int origin = size / 2;
    double re = 0, im = 0, total = 0;
    for (int kz = z.low; kz <= z.high; ++kz)
        for (int ky = y.low; ky <= y.high; ++ky) {
            const long long row = row_start(kz + origin, ky + origin, size);
            for (int kx = max(x.low, 0); kx <= x.high; ++kx) {
                if (kz * kz + ky * ky + kx * kx > limit2) break;
                const double2 v = data[row + kx];
                re += v.x;
                im += v.y;
                total += weight[row + kx];
            }
        }
    return total > 0 ? make_double2(re / total, im / total) : make_double2(0, 0);
}

// One block a plane of bins, one thread a shell: products of two halves' averages;
// out (side, 3, r_max + 1) with side = 2 * (r_max + 1) + 1.
extern "C" __global__ void shell_powers(
    const double2* __restrict__ first, const double* __restrict__ first_weight,
    const double2* __restrict__ second, const double* __restrict__ second_weight, int size,
    int padding, int r_max, double* __restrict__ out)
{
    const int s = threadIdx.x, origin = size / 2;
    if (s > r_max) return;
    const int bz = (int)blockIdx.x - (r_max + 1);
    const int limit = padding * (r_max + 1);
    const Range z = members(bz, padding, origin);
    double cross = 0, power = 0, other = 0;
    for (int by = -r_max; by <= r_max; ++by) {
        const int base = bz * bz + by * by;
        const Range y = members(by, padding, origin);
        for (int bx = first_x(base, s, 1.0, 0.5); ; ++bx) {
            const int r2 = base + bx * bx;
            if (r2 > r_max * r_max || shell_of(r2, 1.0, 0.5) != s) break;
            const Range x = members(bx, padding, origin);
            const double2 a = average(first, first_weight, z, y, x, size, limit * limit);
            const double2 b = average(second, second_weight, z, y, x, size, limit * limit);
            cross += a.x * b.x + a.y * b.y;
            power += a.x * a.x + a.y * a.y;
            other += b.x * b.x + b.y * b.y;
        }
    }
    double* mine = out + 3LL * (r_max + 1) * blockIdx.x + s;
    mine[0] = cross;
    mine[r_max + 1] = power;
    mine[2 * (r_max + 1)] = other;
}

// One block a plane, one thread a shell: weights, voxels, voxels that outweigh the inverse prior;
// out (size, 3, n_shell). In the order of the CPU's sums.
extern "C" __global__ void shell_sums(
    const double* __restrict__ weight, const double* __restrict__ prior, int size, int reach,
    double padding, double rounding, double factor, int n_shell, double* __restrict__ out)
{
    const int s = threadIdx.x;
    if (s >= n_shell) return;
    const int kz = (int)blockIdx.x - size / 2;
    const double mine = prior[s];
    double total = 0, count = 0, above = 0;
    for (int y = 0; y < size; ++y) {
        const int ky = y - size / 2, base = kz * kz + ky * ky;
        if (base >= reach * reach) continue;
        const double* row = weight + row_start(blockIdx.x, y, size);
        for (int x = first_x(base, s, padding, rounding); ; ++x) {
            const int r2 = base + x * x;
            if (r2 >= reach * reach || shell_of(r2, padding, rounding) != s) break;
            const double w = __dmul_rn(row[x], factor);
            total += w;
            count += 1;
            above += w * mine >= 1;
        }
    }
    double* to = out + 3LL * n_shell * blockIdx.x + s;
    to[0] = total;
    to[n_shell] = count;
    to[2 * n_shell] = above;
}

// One block a row y, one thread a shell: squared moduli and voxels within reach, inclusive, of the
// transform (row, x, z) with z wrapped; out (row, 2, n_shell).
extern "C" __global__ void powers(
    const double2* __restrict__ lines, const int* __restrict__ rows, int n_x, int big, int reach,
    double padding, int n_shell, double* __restrict__ out)
{
    const int s = threadIdx.x;
    if (s >= n_shell) return;
    const int ky = rows[blockIdx.x];
    double total = 0, count = 0;
    for (int x = 0; x < n_x; ++x) {
        const int base = ky * ky + x * x;
        if (base > reach * reach) break;
        const double2* line = lines + ((long long)blockIdx.x * n_x + x) * big;
        for (int z = first_x(base, s, padding, 0.5); ; ++z) {
            const int r2 = base + z * z;
            if (r2 > reach * reach || shell_of(r2, padding, 0.5) != s) break;
            const double2 above = line[z];
            total += above.x * above.x + above.y * above.y;
            count += 1;
            if (z > 0 && 2 * z < big) { // an even grid has one Nyquist plane
                const double2 below = line[big - z];
                total += below.x * below.x + below.y * below.y;
                count += 1;
            }
        }
    }
    double* to = out + 2LL * n_shell * blockIdx.x + s;
    to[0] = total;
    to[n_shell] = count;
}

// One thread an entry: add the planes of (n_plane, n) in their order.
extern "C" __global__ void add_planes(
    const double* __restrict__ planes, int n_plane, int n, double* __restrict__ out)
{
    const int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= n) return;
    double total = 0;
    for (int z = 0; z < n_plane; ++z) total += planes[(long long)z * n + k];
    out[k] = total;
}

// Rows: weights with 1 / (factor * prior) added inside reach from shell min_shell on.
extern "C" __global__ void regularise(
    const double* __restrict__ weight, const double* __restrict__ prior, int n_prior,
    int min_shell, int size, int reach, double padding, double factor, double* __restrict__ out)
{
    const int kz = (int)blockIdx.y - size / 2, ky = (int)blockIdx.x - size / 2;
    const long long row = row_start(blockIdx.y, blockIdx.x, size);
    for (int x = threadIdx.x; x < size / 2 + 1; x += blockDim.x) {
        double mine = weight[row + x];
        const int r2 = kz * kz + ky * ky + x * x;
        const int s = min(shell_of(r2, padding, 0.5), n_prior - 1);
        if (r2 < reach * reach && s >= min_shell) {
            const double value = prior[s] * factor;
            if (value > 1e-20) mine += 1 / value;
            else if (mine > 1e-20) mine += 1000 / mine;
        }
        out[row + x] = mine;
    }
}
