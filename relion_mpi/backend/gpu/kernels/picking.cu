// Particle picking in float, phases of CTFs and sums in double; as backend/cpu/picking_kernels.py.
// OPPOSITE=1: products of angles turned by 180 degrees are written, too.
// variants: OPPOSITE=0 ; OPPOSITE=1

#define BLOCK 256  // of `moments` and `join_moments`
#define PI 3.14159265358979323846

// The sums of two numbers over a block, on thread 0; always added in one order.
__device__ double2 block_sum(double2 mine)
{
    __shared__ double2 all[BLOCK];
    all[threadIdx.x] = mine;
    __syncthreads();
    for (int n = BLOCK / 2; n; n /= 2) {
        if (threadIdx.x < n) {
            all[threadIdx.x].x += all[threadIdx.x + n].x;
            all[threadIdx.x].y += all[threadIdx.x + n].y;
        }
        __syncthreads();
    }
    return all[0];
}

// grid (blocks): sum and sum of squares of a micrograph, a pair a block.
extern "C" __global__ void moments(
    const float* __restrict__ image, long long n, double2* __restrict__ out)
{
    double2 mine = make_double2(0, 0);
    const long long step = (long long)gridDim.x * BLOCK;
    for (long long k = (long long)blockIdx.x * BLOCK + threadIdx.x; k < n; k += step) {
        const double value = image[k];
        mine.x += value;
        mine.y += value * value;
    }
    const double2 total = block_sum(mine);
    if (threadIdx.x == 0) out[blockIdx.x] = total;
}

// One block: mean, and sign over the standard deviation.
extern "C" __global__ void join_moments(
    const double2* __restrict__ parts, int n_part, long long n, double sign, float2* __restrict__ out)
{
    double2 mine = make_double2(0, 0);
    for (int k = threadIdx.x; k < n_part; k += BLOCK) {
        mine.x += parts[k].x;
        mine.y += parts[k].y;
    }
    const double2 total = block_sum(mine);
    if (threadIdx.x != 0) return;
    const double mean = total.x / n, variance = total.y / n - mean * mean;
    const double deviation = variance > 0 ? sqrt(variance) : 1.0;
    *out = make_float2((float)mean, (float)(sign / deviation));
}

// grid (pixel blocks, padded rows): (image - mean) * factor and its square, outliers as 0; the ends
// of rows and columns mirrored. out: (2, padded_y, padded_x).
extern "C" __global__ void mirrored(
    const float* __restrict__ image, int n_y, int n_x, const float2* __restrict__ scale,
    float outlier_z, int padded_y, int padded_x, float* __restrict__ out)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    if (x >= padded_x) return;
    const int from_y = y < n_y ? y : 2 * (n_y - 1) - y;
    const int from_x = x < n_x ? x : 2 * (n_x - 1) - x;
    float value = (image[(long long)from_y * n_x + from_x] - scale->x) * scale->y;
    if (!(fabsf(value) <= outlier_z)) value = 0;
    const long long at = (long long)y * padded_x + x;
    out[at] = value;
    out[at + (long long)padded_y * padded_x] = value * value;
}

__device__ __forceinline__ double passed(double radius, double limit, double highpass, double edge)
{
    if (radius > limit) return 0;
    if (highpass <= 0 || radius >= highpass + edge) return 1;
    if (radius <= highpass - edge) return 0;
    return 0.5 - 0.5 * cos(PI * (radius - highpass + edge) / (2 * edge));
}

__device__ __forceinline__ double ctf_value(const double* c, double x, double y, bool intact)
{
    const double u2 = x * x + y * y;
    const double gamma = c[0] * x * x + c[1] * x * y + c[2] * y * y + c[3] * u2 * u2 + c[4];
    double value = intact && fabs(gamma) < PI / 2 ? 1.0 : -sin(gamma);
    value *= exp(c[6] * u2) * c[5];
    if (fabs(value) < 1e-8) value = value < 0 ? -1e-8 : 1e-8;
    return value;
}

// grid (column blocks, rows of the half transform of scores). transforms: (2, padded_y, width) of
// the micrograph and its square. weighed: (n_y, n_x) times filters, CTF and scale; local:
// (2, n_y, n_x) of both times the ring and scale.
extern "C" __global__ void crop(
    const float2* __restrict__ transforms, int padded_y, int width, const float* __restrict__ ring,
    const float* __restrict__ fy, const float* __restrict__ fx, int n_y, int n_x, double limit,
    double highpass, double edge, double pixel_size, const double* __restrict__ c, int with_ctf,
    int intact, double scale, float2* __restrict__ weighed, float2* __restrict__ local)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    if (x >= n_x) return;
    const int row = y <= n_y / 2 ? y : y + padded_y - n_y;
    const long long from = (long long)row * width + x, at = (long long)y * n_x + x;
    const float2 value = transforms[from];
    const float2 square = transforms[from + (long long)padded_y * width];
    const float spread = ring[at] * (float)scale;
    local[at] = make_float2(value.x * spread, value.y * spread);
    local[at + (long long)n_y * n_x] = make_float2(square.x * spread, square.y * spread);
    const double v = fy[y], u = fx[x];
    double factor = scale * passed(sqrt(v * v + u * u), limit, highpass, edge);
    if (with_ctf && factor != 0) factor *= ctf_value(c, u / pixel_size, v / pixel_size, intact);
    weighed[at] = make_float2(value.x * (float)factor, value.y * (float)factor);
}

// The second half of local (2, n), means of squares, becomes the deviation.
extern "C" __global__ void deviation(float* __restrict__ local, long long n, float smallest)
{
    const long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (k >= n) return;
    const float mean = local[k];
    local[k + n] = sqrtf(fmaxf(local[k + n] - mean * mean, smallest));
}

// grid (column blocks, rows, angles): a micrograph's transform times the conjugate of a turned
// template. plane: (size, size / 2 + 1), y centred, x from 0; turn: (angles,) cosine and sine times
// padded pixels per cycle; out: (angles, n_y, n_x), those of the opposite angles behind.
extern "C" __global__ void multiplied(
    const float2* __restrict__ plane, int size, const float2* __restrict__ turn,
    const float2* __restrict__ image, const float* __restrict__ fy, const float* __restrict__ fx,
    int n_y, int n_x, float limit2, float2* __restrict__ out)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y, i = blockIdx.z;
    if (x >= n_x) return;
    const long long n = (long long)n_y * n_x, at = (long long)y * n_x + x;
    const float u = fx[x], v = fy[y];
    float2 product = make_float2(0, 0), opposite = make_float2(0, 0);
    if (u * u + v * v <= limit2) {
        const float2 angle = turn[i];
        float px = u * angle.x - v * angle.y, py = u * angle.y + v * angle.x;
        const float sign = px < 0 ? -1.0f : 1.0f;
        px *= sign;
        py = py * sign + (float)(size / 2);
        const int x0 = (int)px, y0 = (int)py, width = size / 2 + 1;
        const float ax = px - (float)x0, ay = py - (float)y0;
        const float2* corner = plane + (long long)y0 * width + x0;
        const float2 v00 = corner[0], v01 = corner[1], v10 = corner[width], v11 = corner[width + 1];
        const float re = (1 - ay) * ((1 - ax) * v00.x + ax * v01.x)
            + ay * ((1 - ax) * v10.x + ax * v11.x);
        const float im = sign * ((1 - ay) * ((1 - ax) * v00.y + ax * v01.y)
            + ay * ((1 - ax) * v10.y + ax * v11.y));
        const float2 g = image[at];
        product = make_float2(re * g.x + im * g.y, re * g.y - im * g.x);
        opposite = make_float2(re * g.x - im * g.y, re * g.y + im * g.x);
    }
    out[i * n + at] = product;
#if OPPOSITE
    out[((long long)gridDim.z + i) * n + at] = opposite;
#endif
}

// One thread a pixel: keep where maps (n_map, n) times weight are above what is there. Map k is
// angle first + k, or first + k - n_angle + n_slice behind the first n_angle. With `fresh` nothing
// is there yet; with `deviation` what is kept is divided by it.
extern "C" __global__ void keep_best(
    const float* __restrict__ maps, long long n, int n_map, int n_angle, float weight, int first,
    int n_slice, int fresh, const float* __restrict__ deviation, float* __restrict__ score,
    int* __restrict__ index)
{
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= n) return;
    float best = fresh ? __int_as_float(0xff800000) : score[at];
    int which = fresh ? 0 : index[at];
    for (int k = 0; k < n_map; k++) {
        const float value = maps[k * n + at] * weight;
        if (value > best) {
            best = value;
            which = first + (k < n_angle ? k : k - n_angle + n_slice);
        }
    }
    score[at] = deviation ? best / deviation[at] : best;
    index[at] = which;
}

// Whether a pixel of score (n_y, n_x) is above all within `reach` rows and columns.
__device__ bool is_highest(const float* __restrict__ score, int n_y, int n_x, int y, int x, int reach)
{
    const float value = score[y * n_x + x];
    for (int j = max(y - reach, 0); j < min(y + reach + 1, n_y); j++)
        for (int i = max(x - reach, 0); i < min(x + reach + 1, n_x); i++) {
            const float other = score[j * n_x + i];
            const bool before = j < y || (j == y && i < x);
            if (other > value || (before && other == value)) return false;
        }
    return value > __int_as_float(0xff800000);  // NaN is above nothing
}

// grid (column blocks, rows of the area): local maxima of score (n_y, n_x). found: at most n_most
// rows of 9 floats: place and index as integers, score, the four around it, mean, deviation.
extern "C" __global__ void local_maxima(
    const float* __restrict__ score, const int* __restrict__ index,
    const float* __restrict__ mean, const float* __restrict__ deviation, int n_y, int n_x, int y0,
    int x0, int x1, int reach, int n_most, int* __restrict__ count, float* __restrict__ found)
{
    const int x = x0 + blockIdx.x * blockDim.x + threadIdx.x, y = y0 + blockIdx.y;
    if (x >= x1) return;
    // Most pixels have a neighbour that is higher.
    if (!is_highest(score, n_y, n_x, y, x, 1) || !is_highest(score, n_y, n_x, y, x, reach)) return;
    const int at = y * n_x + x;
    const float value = score[at];
    const int k = atomicAdd(count, 1);
    if (k >= n_most) return;
    float* row = found + 9ll * k;
    row[0] = __int_as_float(at);
    row[1] = __int_as_float(index[at]);
    row[2] = value;
    row[3] = score[at - n_x];
    row[4] = score[at + n_x];
    row[5] = score[at - 1];
    row[6] = score[at + 1];
    row[7] = mean[at];
    row[8] = deviation[at];
}
