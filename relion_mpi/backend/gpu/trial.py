"""Try what a refinement needs of a GPU, in a second, before hours depend on it."""

from __future__ import annotations

import numpy as np

_SOURCE = """
extern "C" __global__ void twice(const float* __restrict__ a, float* __restrict__ b, const int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) b[i] = 2.0f * a[i];
}
"""
_N = 1024


def trial(index: int) -> str:
    """Compile and run a kernel, transform, and copy back on a GPU; never raises.

    Parameters
    ----------
    index
        Number of the GPU among those this process sees.

    Returns
    -------
    str
        What does not work; empty where all does.
    """
    for what, step in (("a kernel", _kernel), ("a Fourier transform", _transform)):
        try:
            wrong = step(index)
        except Exception as reason:  # noqa: BLE001 - a missing library raises what it likes
            lines = str(reason).strip().splitlines() or [type(reason).__name__]
            return f"{what} fails: {lines[0]}"
        if wrong:
            return f"{what} gives wrong numbers"
    return ""


def _kernel(index: int) -> bool:
    import cupy

    with cupy.cuda.Device(index):
        numbers = cupy.arange(_N, dtype=np.float32)
        doubled = cupy.empty_like(numbers)
        module = cupy.RawModule(code=_SOURCE, options=("-std=c++17",), backend="nvrtc")
        module.get_function("twice")((_N // 128,), (128,), (numbers, doubled, np.int32(_N)))
        return not np.array_equal(doubled.get(), 2 * np.arange(_N, dtype=np.float32))


def _transform(index: int) -> bool:
    import cupy

    waves = np.cos(2 * np.pi * 3 * np.arange(_N) / _N).astype(np.float32)
    with cupy.cuda.Device(index):
        found = np.abs(cupy.fft.rfft(cupy.asarray(waves)).get())
    expected = np.zeros(_N // 2 + 1)
    expected[3] = _N / 2
    # Single precision: eps times the largest value, with room for log2(n) roundings.
    return not np.allclose(found, expected, atol=_N / 2 * 1e-5)
