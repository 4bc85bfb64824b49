// Padded half grids (size, size, size / 2 + 1), z and y centred at size / 2, x from 0.
#pragma once

// Rows are grid (y, z); threads of a block take the voxels of one.
__device__ __forceinline__ long long row_start(int z, int y, int size)
{
    return ((long long)z * size + y) * (size / 2 + 1);
}

// Shell of a squared radius; rounding 0.5 gives the nearest one, 0 truncates.
__device__ __forceinline__ int shell_of(int r2, double padding, double rounding)
{
    return (int)(sqrt((double)r2) / padding + rounding);
}
