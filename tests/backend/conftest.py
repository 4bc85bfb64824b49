"""Every backend runs the same tests; a new one is a new entry of BACKENDS."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from relion_mpi.backend import select_backend

BACKENDS = [
    pytest.param(("cpu", "float32", False), id="cpu-float32"),
    pytest.param(("cpu", "float64", False), id="cpu-float64"),
    pytest.param(("gpu", "float32", False), id="gpu-float32", marks=pytest.mark.gpu),
    pytest.param(("gpu", "float64", False), id="gpu-float64", marks=pytest.mark.gpu),
    pytest.param(("gpu", "float32", True), id="gpu-float32-exact", marks=pytest.mark.gpu),
    pytest.param(("gpu", "float64", True), id="gpu-float64-exact", marks=pytest.mark.gpu),
]
DETERMINISTIC = [
    pytest.param(("cpu", "float32", True), id="cpu-float32"),
    pytest.param(("cpu", "float64", True), id="cpu-float64"),
    *(
        pytest.param(("gpu", precision, True), id=f"gpu-{precision}", marks=pytest.mark.gpu)
        for precision in ("float32", "float64", "tf32")
    ),
]


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request):
    return made(*request.param)


@pytest.fixture(scope="session", params=DETERMINISTIC)
def deterministic(request):
    """A backend whose sums are the same in any order."""
    return made(*request.param)


def made(name, precision, deterministic):
    if name == "gpu":
        if importlib.util.find_spec("cupy") is None:
            pytest.skip("CuPy is not installed")
        from relion_mpi.backend.gpu.device import n_devices

        if n_devices() == 0:
            pytest.skip("there is no CUDA device")
    return select_backend(name, precision, deterministic=deterministic)


@pytest.fixture(scope="session")
def eps(backend):
    """Rounding of one operation, and at best that of the steps sums are rounded to."""
    return max(float(np.finfo(backend.precision).eps), 2.0**-49)
