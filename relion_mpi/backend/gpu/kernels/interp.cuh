// Positions on the padded half transform and trilinear interpolation there.
// Layout: (size, size, size / 2 + 1), z and y centred at size / 2, x from 0.
// TEXTURE=1: the texture unit interpolates, with 8 bits of the fraction; half again as fast.
// PLANAR=1: 2D references, one plane (size, size / 2 + 1) a class; z does not exist.
#pragma once
#include "real.cuh"

#if TEXTURE
typedef const cudaTextureObject_t* Volumes;  // one texture a class
typedef cudaTextureObject_t Volume;
#else
typedef const real2* Volumes;  // class after class
typedef const real2* Volume;
#endif

__device__ __forceinline__ Volume volume_of(Volumes volumes, int k_class, long long length)
{
#if TEXTURE
    return volumes[k_class];
#else
    return volumes + k_class * length;
#endif
}

struct Cell {
    real px, py, pz;   // position, on the half that is stored
    real fx, fy, fz;   // fractions
    long long corner;  // index of the first corner
    real sign;         // -1 where the Friedel mate is read
    bool inside;
};

#if PLANAR
// rows: first two rows of a rotation in the plane times the padding.
__device__ __forceinline__ Cell locate(const real* rows, real x, real y, int size, real limit)
{
    Cell cell;
    real px = x * rows[0] + y * rows[3];
    real py = x * rows[1] + y * rows[4];
    cell.inside = px * px + py * py <= limit;
    cell.sign = px < (real)0 ? (real)-1 : (real)1;
    cell.px = px *= cell.sign;
    cell.py = py = py * cell.sign + (real)(size / 2);
    const int x0 = (int)px, y0 = (int)py;
    cell.fx = px - (real)x0;
    cell.fy = py - (real)y0;
    cell.corner = (long long)y0 * (size / 2 + 1) + x0;
    return cell;
}
#else
// rows: first two rows of the rotation times the padding.
__device__ __forceinline__ Cell locate(const real* rows, real x, real y, int size, real limit)
{
    Cell cell;
    real px = x * rows[0] + y * rows[3];
    real py = x * rows[1] + y * rows[4];
    real pz = x * rows[2] + y * rows[5];
    cell.inside = px * px + py * py + pz * pz <= limit;
    cell.sign = px < (real)0 ? (real)-1 : (real)1;
    cell.px = px *= cell.sign;
    cell.py = py = py * cell.sign + (real)(size / 2);
    cell.pz = pz = pz * cell.sign + (real)(size / 2);
    const int x0 = (int)px, y0 = (int)py, z0 = (int)pz;
    cell.fx = px - (real)x0;
    cell.fy = py - (real)y0;
    cell.fz = pz - (real)z0;
    cell.corner = ((long long)z0 * size + y0) * (size / 2 + 1) + x0;
    return cell;
}
#endif

__device__ __forceinline__ real2 mix(real2 a, real2 b, real f)
{
    return pair(a.x + f * (b.x - a.x), a.y + f * (b.y - a.y));
}

__device__ __forceinline__ real2 value_at(Volume volume, const Cell& c, int size)
{
    if (!c.inside) return pair(0, 0);
#if TEXTURE
    real2 value = tex3D<float2>(volume, c.px + 0.5f, c.py + 0.5f, c.pz + 0.5f);
#elif PLANAR
    const long long row = size / 2 + 1;
    const real2* v = volume + c.corner;
    real2 value = mix(
        mix(__ldg(v), __ldg(v + 1), c.fx), mix(__ldg(v + row), __ldg(v + row + 1), c.fx), c.fy);
#else
    const long long row = size / 2 + 1, plane = row * size;
    const real2* v = volume + c.corner;
    const real2 v00 = mix(__ldg(v), __ldg(v + 1), c.fx);
    const real2 v01 = mix(__ldg(v + row), __ldg(v + row + 1), c.fx);
    const real2 v10 = mix(__ldg(v + plane), __ldg(v + plane + 1), c.fx);
    const real2 v11 = mix(__ldg(v + plane + row), __ldg(v + plane + row + 1), c.fx);
    real2 value = mix(mix(v00, v01, c.fy), mix(v10, v11, c.fy), c.fz);
#endif
    value.y *= c.sign;
    return value;
}

__device__ __forceinline__ real2 slice_value(
    Volume volume, const real* rows, real x, real y, int size, real limit)
{
    return value_at(volume, locate(rows, x, y, size, limit), size);
}

// First two rows of Rz(psi) * direction, times the padding; direction is (3, 3).
__device__ __forceinline__ void rotation_rows(
    const double* __restrict__ direction, double psi, double padding, real* rows)
{
    double sine, cosine;
    sincos(psi, &sine, &cosine);
    for (int j = 0; j < 3; ++j) {
        rows[j] = (real)(padding * (cosine * direction[j] + sine * direction[3 + j]));
        rows[3 + j] = (real)(padding * (cosine * direction[3 + j] - sine * direction[j]));
    }
}
