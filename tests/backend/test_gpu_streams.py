"""What one thread's stream makes for all is used by other threads only when it is there."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from factories.pixels import geometry

from relion_mpi.backend import select_backend
from relion_mpi.backend.protocol import ImageMask
from relion_mpi.fourier.masks import soft_sphere

pytestmark = pytest.mark.gpu

BOX = 32
CLOCKS = 10**9
"""Half a second."""
SPIN = """
extern "C" __global__ void spin(long long clocks)
{
    const long long start = clock64();
    while (clock64() - start < clocks);
}
"""


def test_a_mask_is_not_seen_before_it_is_there():
    cp = pytest.importorskip("cupy")
    backend = select_backend("gpu", "float32")

    from relion_mpi.backend.gpu.prepare import DeviceGeometry

    spin = cp.RawKernel(SPIN, "spin")
    pixels = DeviceGeometry.of(geometry(BOX, BOX, BOX), backend.arithmetic)
    mask = ImageMask(10.0, 3.0)
    cp.cuda.Device().synchronize()

    def slow():
        backend.attach()
        stale = cp.full((BOX, BOX), np.nan, backend.arithmetic.real)
        del stale  # the mask takes its place in memory
        spin((1,), (1,), (np.int64(CLOCKS),))
        pixels.mask(mask, backend.arithmetic.real)

    def quick():
        backend.attach()
        time.sleep(0.1)
        return pixels.mask(mask, backend.arithmetic.real).get()

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.submit(slow), threads.submit(quick)
        first.result()
        np.testing.assert_allclose(second.result(), soft_sphere(BOX, 10.0, 3.0, 2), rtol=1e-6)
