"""Every backend runs the same tests; a new one is a new entry of BACKENDS."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.backend import select_backend

BACKENDS = [("cpu", "float32"), ("cpu", "float64")]


@pytest.fixture(scope="session", params=BACKENDS, ids="-".join)
def backend(request):
    return select_backend(*request.param)


@pytest.fixture(scope="session")
def eps(backend):
    """Rounding of one operation, and at best that of the steps sums are rounded to."""
    return max(float(np.finfo(backend.precision).eps), 2.0**-49)
