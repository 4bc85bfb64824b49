// Positions on the padded half transform and trilinear interpolation there.
// Layout: (size, size, size / 2 + 1), z and y centred at size / 2, x from 0.
#pragma once
#include "real.cuh"

// Pixels exactly on the last shell are inside whatever the rounding of their rotation.
#define ON_THE_EDGE ((real)1.00001)

struct Cell {
    long long corner;  // index of the first corner
    real fx, fy, fz;   // fractions
    real sign;         // -1 where the Friedel mate is read
    bool inside;
};

// rows: first two rows of the rotation times the padding.
__device__ __forceinline__ Cell locate(const real* rows, real x, real y, int size, real limit)
{
    Cell cell;
    real px = x * rows[0] + y * rows[3];
    real py = x * rows[1] + y * rows[4];
    real pz = x * rows[2] + y * rows[5];
    cell.inside = px * px + py * py + pz * pz <= limit;
    cell.sign = px < (real)0 ? (real)-1 : (real)1;
    px *= cell.sign;
    py = py * cell.sign + (real)(size / 2);
    pz = pz * cell.sign + (real)(size / 2);
    const int x0 = (int)px, y0 = (int)py, z0 = (int)pz;
    cell.fx = px - (real)x0;
    cell.fy = py - (real)y0;
    cell.fz = pz - (real)z0;
    cell.corner = ((long long)z0 * size + y0) * (size / 2 + 1) + x0;
    return cell;
}

__device__ __forceinline__ real2 mix(real2 a, real2 b, real f)
{
    return pair(a.x + f * (b.x - a.x), a.y + f * (b.y - a.y));
}

__device__ __forceinline__ real2 slice_value(
    const real2* __restrict__ volume, const real* rows, real x, real y, int size, real limit)
{
    const Cell c = locate(rows, x, y, size, limit);
    if (!c.inside) return pair(0, 0);
    const long long row = size / 2 + 1, plane = row * size;
    const real2* v = volume + c.corner;
    const real2 v00 = mix(__ldg(v), __ldg(v + 1), c.fx);
    const real2 v01 = mix(__ldg(v + row), __ldg(v + row + 1), c.fx);
    const real2 v10 = mix(__ldg(v + plane), __ldg(v + plane + 1), c.fx);
    const real2 v11 = mix(__ldg(v + plane + row), __ldg(v + plane + row + 1), c.fx);
    real2 value = mix(mix(v00, v01, c.fy), mix(v10, v11, c.fy), c.fz);
    value.y *= c.sign;
    return value;
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

// Where a child of a coarse hypothesis lies: psi children run fastest.
struct Grid {
    int n_orient, n_psi, n_child_direction, n_child_psi;
};

__device__ __forceinline__ void child_rows(
    int hypothesis, int child, const double* __restrict__ directions,
    const double* __restrict__ psis, Grid grid, double padding, real* rows)
{
    const int orient = hypothesis % grid.n_orient;
    const int d = orient / grid.n_psi * grid.n_child_direction + child / grid.n_child_psi;
    const int p = orient % grid.n_psi * grid.n_child_psi + child % grid.n_child_psi;
    rotation_rows(directions + 9 * d, psis[p], padding, rows);
}
