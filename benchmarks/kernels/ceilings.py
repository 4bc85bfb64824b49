"""Measure what this GPU gives: slices, scatter, products, copies and float64 transforms.

    python benchmarks/kernels/ceilings.py [--r_max 45 64 90 128] [--slices 8192] [--out FILE]

Bare kernels, nothing else in them: the ceilings that the program's own kernels are held against.
Slices are of a volume padded twice, at random rotations in groups of 8 neighbours (as the fine pass
draws them). `plain` loads 8 corners, `pairs` 4 corners of a volume that keeps each voxel beside its
right neighbour, `texture` lets the texture unit interpolate (with 8 bits of the fraction).
"""

import argparse
import json

import cupy as cp
import numpy as np

SOURCE = r"""
__device__ __forceinline__ float2 mix2(float2 a, float2 b, float f)
{ return make_float2(a.x + f * (b.x - a.x), a.y + f * (b.y - a.y)); }

struct Cell { long long corner; float px, py, pz, fx, fy, fz, sign; bool inside; };

__device__ __forceinline__ Cell locate(const float* r, float x, float y, int size, float limit)
{
    Cell c;
    c.px = x * r[0] + y * r[3]; c.py = x * r[1] + y * r[4]; c.pz = x * r[2] + y * r[5];
    c.inside = c.px * c.px + c.py * c.py + c.pz * c.pz <= limit;
    c.sign = c.px < 0 ? -1.f : 1.f;
    c.px *= c.sign; c.py = c.py * c.sign + size / 2; c.pz = c.pz * c.sign + size / 2;
    const int x0 = c.px, y0 = c.py, z0 = c.pz;
    c.fx = c.px - x0; c.fy = c.py - y0; c.fz = c.pz - z0;
    c.corner = ((long long)z0 * size + y0) * (size / 2 + 1) + x0;
    return c;
}
#define ARGS const float* __restrict__ rows, const float* __restrict__ sx, \
    const float* __restrict__ sy, int n_pix, int size, float limit
#define HEAD const int k = blockIdx.x * blockDim.x + threadIdx.x; if (k >= n_pix) return; \
    const long long s = blockIdx.y; \
    const Cell c = locate(rows + 6 * s, sx[k], sy[k], size, limit);

extern "C" __global__ void plain(const float2* __restrict__ v, float2* __restrict__ out, ARGS)
{
    HEAD
    const long long row = size / 2 + 1, plane = row * size;
    const float2* p = v + c.corner;
    float2 value = make_float2(0, 0);
    if (c.inside) {
        const float2 a = mix2(__ldg(p), __ldg(p + 1), c.fx);
        const float2 b = mix2(__ldg(p + row), __ldg(p + row + 1), c.fx);
        const float2 d = mix2(__ldg(p + plane), __ldg(p + plane + 1), c.fx);
        const float2 e = mix2(__ldg(p + plane + row), __ldg(p + plane + row + 1), c.fx);
        value = mix2(mix2(a, b, c.fy), mix2(d, e, c.fy), c.fz);
        value.y *= c.sign;
    }
    out[s * n_pix + k] = value;
}
extern "C" __global__ void pairs(const float4* __restrict__ v, float2* __restrict__ out, ARGS)
{
    HEAD
    const long long row = size / 2 + 1, plane = row * size;
    const float4* p = v + c.corner;
    float2 value = make_float2(0, 0);
    if (c.inside) {
        const float4 a = __ldg(p), b = __ldg(p + row);
        const float4 d = __ldg(p + plane), e = __ldg(p + plane + row);
        const float2 A = mix2(make_float2(a.x, a.y), make_float2(a.z, a.w), c.fx);
        const float2 B = mix2(make_float2(b.x, b.y), make_float2(b.z, b.w), c.fx);
        const float2 D = mix2(make_float2(d.x, d.y), make_float2(d.z, d.w), c.fx);
        const float2 E = mix2(make_float2(e.x, e.y), make_float2(e.z, e.w), c.fx);
        value = mix2(mix2(A, B, c.fy), mix2(D, E, c.fy), c.fz);
        value.y *= c.sign;
    }
    out[s * n_pix + k] = value;
}
extern "C" __global__ void texture(cudaTextureObject_t v, float2* __restrict__ out, ARGS)
{
    HEAD
    float2 value = make_float2(0, 0);
    if (c.inside) {
        value = tex3D<float2>(v, c.px + 0.5f, c.py + 0.5f, c.pz + 0.5f);
        value.y *= c.sign;
    }
    out[s * n_pix + k] = value;
}
__device__ __forceinline__ void add4(float4* a, float x, float y, float z)
{ atomicAdd(a, make_float4(x, y, z, 0)); }
__device__ __forceinline__ void add3(float4* a, float x, float y, float z)
{ float* f = (float*)a; atomicAdd(f, x); atomicAdd(f + 1, y); atomicAdd(f + 2, z); }
#define SCATTER(NAME, ADD) \
extern "C" __global__ void NAME(float4* __restrict__ v, const float2* __restrict__ in, ARGS) \
{ \
    HEAD \
    if (!c.inside) return; \
    const long long row = size / 2 + 1, plane = row * size; \
    float4* p = v + c.corner; \
    const float2 u = in[s * n_pix + k]; \
    const float gx = 1 - c.fx, gy = 1 - c.fy, gz = 1 - c.fz, x = u.x, y = u.y, w = 1; \
    const float w0 = gz * gy, w1 = gz * c.fy, w2 = c.fz * gy, w3 = c.fz * c.fy; \
    ADD(p, w0 * gx * x, w0 * gx * y, w0 * gx * w); \
    ADD(p + 1, w0 * c.fx * x, w0 * c.fx * y, w0 * c.fx * w); \
    ADD(p + row, w1 * gx * x, w1 * gx * y, w1 * gx * w); \
    ADD(p + row + 1, w1 * c.fx * x, w1 * c.fx * y, w1 * c.fx * w); \
    ADD(p + plane, w2 * gx * x, w2 * gx * y, w2 * gx * w); \
    ADD(p + plane + 1, w2 * c.fx * x, w2 * c.fx * y, w2 * c.fx * w); \
    ADD(p + plane + row, w3 * gx * x, w3 * gx * y, w3 * gx * w); \
    ADD(p + plane + row + 1, w3 * c.fx * x, w3 * c.fx * y, w3 * c.fx * w); \
}
SCATTER(scatter_vector, add4)
SCATTER(scatter_scalar, add3)
"""


def median_ms(call, n=10):
    """Milliseconds of a call, median after warming up."""
    for _ in range(3):
        call()
    times = []
    for _ in range(n):
        start, stop = cp.cuda.Event(), cp.cuda.Event()
        start.record()
        call()
        stop.record()
        stop.synchronize()
        times.append(cp.cuda.get_elapsed_time(start, stop))
    return float(np.median(times))


def disc(r_max):
    """Pixels of a half transform within r_max, row by row."""
    y, x = np.mgrid[-r_max : r_max + 1, 0 : r_max + 1]
    keep = (x * x + y * y <= r_max * r_max) & ~((x == 0) & (y < 0))
    return x[keep].astype(np.float32), y[keep].astype(np.float32)


def rotations(n, rng, spread_deg=4.0, group=8):
    """Rows (n, 6) of random rotations times 2, in groups of neighbours."""
    quaternion = rng.standard_normal((-(-n // group), 1, 4))
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    quaternion = quaternion + np.radians(spread_deg) / 2 * rng.standard_normal(
        (quaternion.shape[0], group, 4)
    )
    q = (quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)).reshape(-1, 4)[:n]
    a, b, c, d = q.T
    first = [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)]
    second = [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)]
    return 2 * np.stack(first + second, axis=1).astype(np.float32)


def texture_of(volume):
    """Texture object of a complex64 volume (z, y, x) with linear interpolation."""
    from cupy.cuda import runtime, texture

    channels = texture.ChannelFormatDescriptor(32, 32, 0, 0, runtime.cudaChannelFormatKindFloat)
    depth, height, width = volume.shape
    array = texture.CUDAarray(channels, width, height, depth)
    flat = volume.view(cp.float32).reshape(depth, height, 2 * width)
    array.copy_from(flat)
    resource = texture.ResourceDescriptor(runtime.cudaResourceTypeArray, cuArr=array)
    clamp = (runtime.cudaAddressModeClamp,) * 3
    how = texture.TextureDescriptor(
        clamp, runtime.cudaFilterModeLinear, runtime.cudaReadModeElementType
    )
    return texture.TextureObject(resource, how)


def slices_and_scatter(r_max, n_slices):
    """Gigapixels a second of each way to draw slices and to add them; how far textures are off."""
    rng = np.random.default_rng(r_max)
    size = 2 * (2 * r_max + 1) + 1
    shape = (size, size, size // 2 + 1)
    volume = (
        cp.random.standard_normal(shape, dtype=cp.float32)
        + 1j * cp.random.standard_normal(shape, dtype=cp.float32)
    )
    doubled = cp.zeros((*shape, 2), cp.complex64)
    doubled[..., 0] = volume
    doubled[..., :-1, 1] = volume[..., 1:]
    x, y = (cp.asarray(one) for one in disc(r_max))
    n_pix = x.size
    rows = cp.asarray(rotations(n_slices, rng))
    out = {name: cp.zeros((n_slices, n_pix), cp.complex64) for name in ("plain", "other")}
    module = cp.RawModule(code=SOURCE, options=("-std=c++17",), backend="nvrtc")
    limit = np.float32((2 * r_max) ** 2 * 1.00001)
    rest = (rows, x, y, np.int32(n_pix), np.int32(size), limit)
    grid, block = ((n_pix + 255) // 256, n_slices), (256,)
    found = {"r_max": r_max, "n_pix": n_pix, "slices": n_slices}
    tex = texture_of(volume)
    for name, source in (("plain", volume), ("pairs", doubled), ("texture", tex)):
        kernel = module.get_function(name)
        target = out["plain" if name == "plain" else "other"]
        where = np.uint64(source.ptr) if name == "texture" else source
        ms = median_ms(lambda: kernel(grid, block, (where, target, *rest)))
        found[f"{name}_gpix_s"] = round(n_slices * n_pix / ms / 1e6, 2)
        difference = cp.abs(out["other"] - out["plain"]) if name != "plain" else cp.zeros(1)
        found[f"{name}_error"] = float(cp.sqrt((difference**2).mean() / 2))
    del doubled, tex
    target = cp.zeros((*shape, 4), cp.float32)
    for name in ("scatter_vector", "scatter_scalar"):
        kernel = module.get_function(name)
        ms = median_ms(lambda: kernel(grid, block, (target, out["plain"], *rest)))
        found[f"{name}_gpix_s"] = round(n_slices * n_pix / ms / 1e6, 2)
    return found


def transfers():
    """Gigabytes a second of copies."""
    import cupyx

    n = 256 * 2**20
    pinned = cupyx.empty_pinned(n, np.uint8)
    device, other = cp.empty(n, cp.uint8), cp.empty(n, cp.uint8)
    stream = cp.cuda.get_current_stream()
    up = median_ms(lambda: device.data.copy_from_host_async(pinned.ctypes.data, n, stream))
    down = median_ms(lambda: device.data.copy_to_host_async(pinned.ctypes.data, n, stream))
    across = median_ms(lambda: other.data.copy_from_device_async(device.data, n, stream))
    return {"up_gb_s": round(n / up / 1e6, 1), "down_gb_s": round(n / down / 1e6, 1),
            "device_gb_s": round(2 * n / across / 1e6, 1)}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--r_max", type=int, nargs="+", default=[45, 64, 90, 128])
    parser.add_argument("--slices", type=int, default=8192)
    parser.add_argument("--out")
    options = parser.parse_args()
    device = cp.cuda.runtime.getDeviceProperties(0)["name"].decode()
    lines = [{"device": device, **transfers()}]
    lines += [slices_and_scatter(r, options.slices) for r in options.r_max]
    text = "\n".join(json.dumps(line) for line in lines)
    print(text)
    if options.out:
        with open(options.out, "w") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
