// From Fourier sums of the M-step to maps, in float64: division or gridding, then the cropped map.
// variants:
#include "half_grid.cuh"

// Where a coefficient of the even grid (big, big, big / 2 + 1), z and y wrapped, lies on the padded
// one; -1 where the even grid stays 0. Its Nyquist planes are the positive ones.
__device__ __forceinline__ long long source(
    int iz, int iy, int x, int big, int size, int reach, int* r2)
{
    const int kz = iz <= big / 2 ? iz : iz - big, ky = iy <= big / 2 ? iy : iy - big;
    *r2 = kz * kz + ky * ky + x * x;
    if (*r2 > reach * reach) return -1;
    return row_start(kz + size / 2, ky + size / 2, size) + x;
}

// Rows of the even grid: data / weight, weights kept above their shell's floor.
extern "C" __global__ void divide(
    const double2* __restrict__ data, const double* __restrict__ weight,
    const double* __restrict__ floors, int n_floor, int size, int reach, double padding, int big,
    double2* __restrict__ out)
{
    const long long row = row_start(blockIdx.y, blockIdx.x, big);
    for (int x = threadIdx.x; x < big / 2 + 1; x += blockDim.x) {
        int r2;
        const long long at = source(blockIdx.y, blockIdx.x, x, big, size, reach, &r2);
        double2 value = make_double2(0, 0);
        if (at >= 0) {
            const int s = min(shell_of(r2, padding, 0.0), n_floor - 1);
            const double divisor = fmax(weight[at], floors[s]);
            const double2 v = data[at];
            if (divisor > 0) value = make_double2(v.x / divisor, v.y / divisor);
        }
        out[row + x] = value;
    }
}

// Rows of the even grid: data * factor.
extern "C" __global__ void multiply(
    const double2* __restrict__ data, const double* __restrict__ factor, int size, int reach,
    int big, double2* __restrict__ out)
{
    const long long row = row_start(blockIdx.y, blockIdx.x, big);
    for (int x = threadIdx.x; x < big / 2 + 1; x += blockDim.x) {
        int r2;
        const long long at = source(blockIdx.y, blockIdx.x, x, big, size, reach, &r2);
        double2 value = make_double2(0, 0);
        if (at >= 0) value = make_double2(data[at].x * factor[at], data[at].y * factor[at]);
        out[row + x] = value;
    }
}

// Rows: 1 within reach, 0 elsewhere.
extern "C" __global__ void first_factor(int size, int reach, double* __restrict__ factor)
{
    const int kz = (int)blockIdx.y - size / 2, ky = (int)blockIdx.x - size / 2;
    const long long row = row_start(blockIdx.y, blockIdx.x, size);
    for (int x = threadIdx.x; x < size / 2 + 1; x += blockDim.x)
        factor[row + x] = kz * kz + ky * ky + x * x < reach * reach;
}

// Rows of a wrapped grid of the same odd size: factor * weight out to reach.
extern "C" __global__ void weigh(
    const double* __restrict__ factor, const double* __restrict__ weight, int size, int reach,
    double2* __restrict__ out)
{
    const int z = (blockIdx.y + size / 2) % size, y = (blockIdx.x + size / 2) % size;
    const int kz = z - size / 2, ky = y - size / 2;
    const long long from = row_start(z, y, size), to = row_start(blockIdx.y, blockIdx.x, size);
    for (int x = threadIdx.x; x < size / 2 + 1; x += blockDim.x) {
        const bool inside = kz * kz + ky * ky + x * x <= reach * reach;
        out[to + x] = make_double2(inside ? factor[from + x] * weight[from + x] : 0, 0);
    }
}

// Rows of a real wrapped grid whose rows have room for size / 2 + 1 complex numbers: times the blob,
// tabulated from 0 to half of big, and times norm.
extern "C" __global__ void taper(
    double* __restrict__ grid, const double* __restrict__ blob, int n_blob, double big, double norm,
    int size)
{
    const int z = 2 * blockIdx.y < size ? blockIdx.y : (int)blockIdx.y - size;
    const int y = 2 * blockIdx.x < size ? blockIdx.x : (int)blockIdx.x - size;
    double* row = grid + 2 * row_start(blockIdx.y, blockIdx.x, size);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        const int x = 2 * i < size ? i : i - size;
        const double radius = sqrt((double)(z * z + y * y + x * x));
        const int entry = (int)(radius / big / (0.5 / n_blob));
        row[i] = entry < n_blob ? row[i] * norm * blob[entry] : 0;
    }
}

// Rows: factor / |convolved| within reach; the convolution is wrapped.
extern "C" __global__ void improve(
    double* __restrict__ factor, const double2* __restrict__ convolved, int size, int reach)
{
    const int z = (blockIdx.y + size / 2) % size, y = (blockIdx.x + size / 2) % size;
    const int kz = z - size / 2, ky = y - size / 2;
    const long long to = row_start(z, y, size), from = row_start(blockIdx.y, blockIdx.x, size);
    for (int x = threadIdx.x; kz * kz + ky * ky + x * x < reach * reach; x += blockDim.x) {
        const double2 v = convolved[from + x];
        factor[to + x] /= fmax(hypot(v.x, v.y), 1e-6);
    }
}

// 1 within radius, 0 beyond the edge, a raised cosine between.
__device__ __forceinline__ double inside_sphere(double r, double radius, double edge)
{
    if (r < radius) return 1;
    const double outer = radius + edge;
    return r > outer ? 0 : 0.5 - 0.5 * cos(3.141592653589793 * (outer - r) / edge);
}

__device__ __forceinline__ double distance(int z, int y, int x, int box)
{
    const int o = box / 2;
    return sqrt((double)((z - o) * (z - o) + (y - o) * (y - o) + (x - o) * (x - o)));
}

// One block of 256 threads a plane of the map: the middle of a wrapped real grid whose rows have
// room for big / 2 + 1 complex numbers, times scale; sums (box, 2) of outside * map and of outside.
extern "C" __global__ void crop(
    const double* __restrict__ grid, int big, int box, double scale, double edge,
    double* __restrict__ map, double* __restrict__ sums)
{
    __shared__ double totals[256], counts[256];
    const int z = blockIdx.x, t = threadIdx.x;
    const int iz = (z - box / 2 + big) % big;
    double total = 0, count = 0;
    for (int k = t; k < box * box; k += 256) {
        const int y = k / box, x = k % box;
        const int iy = (y - box / 2 + big) % big, ix = (x - box / 2 + big) % big;
        const double value = grid[2 * row_start(iz, iy, big) + ix] * scale;
        const double outside = 1 - inside_sphere(distance(z, y, x, box), 0.5 * box, edge);
        map[(long long)z * box * box + k] = value;
        total += outside * value;
        count += outside;
    }
    totals[t] = total;
    counts[t] = count;
    __syncthreads();
    for (int n = 128; n; n /= 2) {
        if (t < n) {
            totals[t] += totals[t + n];
            counts[t] += counts[t + n];
        }
        __syncthreads();
    }
    if (t == 0) {
        sums[2 * z] = totals[0];
        sums[2 * z + 1] = counts[0];
    }
}

// Rows of the map: fade its corners to their mean, divide by the roll-off of interpolation.
extern "C" __global__ void finish(
    double* __restrict__ map, int box, int big, double mean, double edge)
{
    double* row = map + ((long long)blockIdx.y * box + blockIdx.x) * box;
    for (int x = threadIdx.x; x < box; x += blockDim.x) {
        const double r = distance(blockIdx.y, blockIdx.x, x, box);
        const double inside = inside_sphere(r, 0.5 * box, edge);
        const double angle = 3.141592653589793 * (r / big);
        const double sinc = r > 0 ? sin(angle) / angle : 1;
        row[x] = (inside * row[x] + (1 - inside) * mean) / (sinc * sinc);
    }
}

// Rows of a map that is to be transformed: divide by the roll-off of interpolation.
extern "C" __global__ void undo_roll_off(double* __restrict__ map, int box, int big)
{
    double* row = map + ((long long)blockIdx.y * box + blockIdx.x) * box;
    for (int x = threadIdx.x; x < box; x += blockDim.x) {
        const double r = distance(blockIdx.y, blockIdx.x, x, box) / big;
        const double sinc = r > 0 ? sinpi(r) / (3.141592653589793 * r) : 1;
        row[x] /= sinc * sinc;
    }
}
