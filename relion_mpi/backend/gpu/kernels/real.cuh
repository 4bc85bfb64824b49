// The arithmetic of a build: float, or double as a reference (macro DOUBLE=1).
#pragma once

#define NO_SCORE __int_as_float(0xff800000)  // minus infinity

#if DOUBLE
typedef double real;
typedef double2 real2;
struct __align__(16) real4 {
    double x, y, z, w;
};
#else
typedef float real;
typedef float2 real2;
typedef float4 real4;
#endif

__device__ __forceinline__ real2 pair(real x, real y)
{
    real2 v;
    v.x = x;
    v.y = y;
    return v;
}

__device__ __forceinline__ real2 multiply(real2 a, real2 b)
{
    return pair(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}
