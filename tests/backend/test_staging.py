"""Copies of large arrays to and from a GPU through small page-locked buffers."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.gpu

CHUNK_BYTES = 256
SHAPES = [(1,), (7, 9), (64,), (5, 33, 8)]
"""Less than one chunk, a part of one at the end, exactly one, many."""


@pytest.fixture
def staging(monkeypatch):
    pytest.importorskip("cupy")
    from relion_mpi.backend.gpu import staging

    monkeypatch.setattr(staging, "CHUNK_BYTES", CHUNK_BYTES)
    return staging


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_comes_to_the_host_is_what_was_on_the_device(staging, shape, dtype):
    import cupy

    values = np.random.default_rng(1).normal(size=shape).astype(dtype)
    found = staging.to_host(cupy.asarray(values))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("there", [np.float32, np.float64])
@pytest.mark.parametrize("here", [np.float32, np.float64])
def test_what_goes_to_the_device_is_converted_there(staging, shape, here, there):
    values = np.random.default_rng(2).normal(size=shape).astype(here)
    found = staging.to_device(values, there)
    assert found.dtype == there
    np.testing.assert_array_equal(found.get(), values.astype(there))


def test_work_queued_before_is_seen(staging):
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        values = cupy.zeros(1 << 22, cupy.float32)
        for _ in range(50):
            values += 1
        found = staging.to_host(values)
    assert (found == 50).all()
