"""Launch geometry, matrix products, and the arithmetic type of a build."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.compile import kernel

BLOCK = 256
MAX_GROUP = 16
"""Slices that one block takes after another; as in slice.cuh."""
BLOCKS_WANTED = 4096
"""Blocks that keep a large GPU busy."""
_DEFAULT_MATH, _TF32_MATH = 0, 3  # cublasMath_t
_DRAWS_SLICES = ("project", "fine", "accumulate")
_KNOWS_PLANES = (*_DRAWS_SLICES, "reference")
_ADDS = ("accumulate", "coarse", "fine", "pack", "posterior", "prepare", "slices")


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Types and shortcuts of one precision setting.

    Attributes
    ----------
    real, pair : dtypes of real and complex arrays
    double : the kernels' arithmetic is double
    tensor_cores : coarse products in TF32
    textures : slices through the texture unit, which interpolates with 8 bits of the fraction
    exact : sums are the same in any order: integers that count steps, or one fixed order
    """

    real: Any
    pair: Any
    double: bool
    tensor_cores: bool
    textures: bool
    exact: bool = False

    def kernel(self, name: str, function: str, *, planar: bool = False) -> Any:
        """Return a kernel built for this arithmetic, and for 2D references if planar.

        The texture unit is not used for these: planes are small.
        """
        macros = {"DOUBLE": int(self.double)}
        if planar and name in _KNOWS_PLANES:
            macros["PLANAR"] = 1
        elif name in _DRAWS_SLICES:
            macros["TEXTURE"] = int(self.textures)
        if name in _ADDS:
            macros["EXACT"] = int(self.exact)
        return kernel(name, function, macros)

    @property
    def slice_bytes(self) -> int:
        """Bytes of a `Slice` of slice.cuh."""
        return 64 if self.double else 32

    @property
    def added(self) -> Any:
        """Type of what kernels add up by atomics, the volume excepted."""
        return np.dtype("i8" if self.exact else "f8")


def _single(*, tensor_cores: bool, textures: bool) -> Arithmetic:
    return Arithmetic(
        np.dtype("f4"), np.dtype("c8"), double=False, tensor_cores=tensor_cores, textures=textures
    )


ARITHMETIC = {
    "float32": _single(tensor_cores=False, textures=False),
    "tf32": _single(tensor_cores=True, textures=True),
    "float64": Arithmetic(
        np.dtype("f8"), np.dtype("c16"), double=True, tensor_cores=False, textures=False
    ),
}


def arithmetic_of(precision: str, *, exact: bool = False) -> Arithmetic:
    """Return the arithmetic of a key of `ARITHMETIC`."""
    return replace(ARITHMETIC[precision], exact=exact)


def blocks(n: int, block: int = BLOCK) -> int:
    """Count the blocks that cover n threads."""
    return (n + block - 1) // block


def block_for(n: int, most: int = BLOCK) -> int:
    """Choose threads a block, a multiple of 32, that are not many more than n."""
    return min(most, max(32, (n + 31) // 32 * 32))


def group_size(n_slice: int, n_chunk: int) -> int:
    """Choose how many slices a block takes, so that there are blocks enough for the GPU."""
    return int(min(max(n_slice * n_chunk // BLOCKS_WANTED, 1), MAX_GROUP))


def reach_limit(reach: int, real: Any) -> Any:
    """Square of the largest padded radius, with room for rounding."""
    return real.type(reach * reach * 1.00001)


def product(
    a: Any, b: Any, out: Any, *, transposed: bool = False, tensor_cores: bool = False
) -> None:
    """Multiply matrices into out: a (m, k) with b (k, n), or with b (n, k) transposed.

    All in C order and of one type. Thread-safe, unlike a global setting of CuPy's products.
    """
    from cupy_backends.cuda.libs import cublas

    (m, k), n = a.shape, out.shape[1]
    if not (m and n and k):
        out[...] = 0
        return
    handle = cp.cuda.device.get_cublas_handle()
    cublas.setMathMode(handle, _TF32_MATH if tensor_cores else _DEFAULT_MATH)
    multiply = cublas.sgemm if a.dtype.itemsize == 4 else cublas.dgemm
    one, zero = np.ones(1, a.dtype), np.zeros(1, a.dtype)
    # cuBLAS sees the transposes: out^T = b^T a^T in column order.
    multiply(
        handle, int(transposed), 0, n, m, k, one.ctypes.data, b.data.ptr, k if transposed else n,
        a.data.ptr, k, zero.ctypes.data, out.data.ptr, n,
    )  # fmt: skip
