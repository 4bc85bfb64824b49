"""Launch geometry and the arithmetic type of a build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.compile import kernel

BLOCK = 256


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Types and product precision of one precision setting.

    Attributes
    ----------
    real, pair : dtypes of real and complex arrays
    macros : of the kernels
    tensor_cores : coarse products in TF32
    """

    real: Any
    pair: Any
    macros: tuple[tuple[str, int], ...]
    tensor_cores: bool

    def kernel(self, name: str, function: str) -> Any:
        """Return a kernel built for this arithmetic."""
        return kernel(name, function, dict(self.macros))


ARITHMETIC = {
    "float32": Arithmetic(np.dtype("f4"), np.dtype("c8"), (("DOUBLE", 0),), tensor_cores=False),
    "tf32": Arithmetic(np.dtype("f4"), np.dtype("c8"), (("DOUBLE", 0),), tensor_cores=True),
    "float64": Arithmetic(np.dtype("f8"), np.dtype("c16"), (("DOUBLE", 1),), tensor_cores=False),
}


def blocks(n: int, block: int = BLOCK) -> int:
    """Count the blocks that cover n threads."""
    return (n + block - 1) // block


def reach_limit(reach: int, real: Any) -> Any:
    """Square of the largest padded radius, with room for rounding."""
    return real.type(reach * reach * 1.00001)


def product(a: Any, b: Any, out: Any, arithmetic: Arithmetic) -> None:
    """Multiply matrices into out, on tensor cores if the arithmetic says so."""
    from cupy._core import _routines_linalg as linalg

    if not arithmetic.tensor_cores:
        cp.matmul(a, b, out=out)
        return
    before = linalg.get_compute_type(np.float32)
    linalg.set_compute_type(np.float32, linalg.COMPUTE_TYPE_TF32)
    try:
        cp.matmul(a, b, out=out)
    finally:
        linalg.set_compute_type(np.float32, before)
