"""Make `crew_worker` importable, and let a failure on one rank fail the test on all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Compare outcomes after a collective test, so that no rank goes on alone and hangs."""
    if item.get_closest_marker("mpi") is None:
        return (yield)
    from mpi4py import MPI

    failure = None
    try:
        return (yield)
    except BaseException as error:
        failure = error
        raise
    finally:
        failed = MPI.COMM_WORLD.allgather(failure is not None)
        if failure is None and any(failed):
            pytest.fail(f"failed on rank(s) {[rank for rank, bad in enumerate(failed) if bad]}")
