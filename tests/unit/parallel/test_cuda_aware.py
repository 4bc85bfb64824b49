"""Only an MPI that says so itself is handed device pointers."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest

from relion_mpi.parallel import cuda_aware
from relion_mpi.parallel.comm import World

JOB = World(comm=object(), rank=0, size=2)


class MPICH:
    def __init__(self, answer, status=0):
        self.answer, self.status = answer, status
        self.MPIX_GPU_query_support = self._ask()

    def _ask(self):
        def ask(kind, found):
            found._obj.value = self.answer if kind == 0 else 1
            return self.status

        return ask


class OpenMPI:
    def __init__(self, answer):
        self.MPIX_Query_cuda_support = lambda: answer


@pytest.fixture
def library(monkeypatch):
    """Set the MPI library that is asked."""
    cuda_aware._library_says_so.cache_clear()
    monkeypatch.delenv("MPIR_CVAR_ENABLE_GPU", raising=False)
    module = SimpleNamespace(MPI=SimpleNamespace(__file__="MPI.so"))
    monkeypatch.setitem(sys.modules, "mpi4py", module)

    def is_(there):
        monkeypatch.setattr(ctypes, "CDLL", lambda path: there)

    yield is_
    cuda_aware._library_says_so.cache_clear()


@pytest.mark.parametrize(
    ("there", "aware"),
    [
        (MPICH(1), True),
        (MPICH(0), False),
        (MPICH(1, status=1), False),
        (OpenMPI(1), True),
        (OpenMPI(0), False),
        (OpenMPI(-1), False),
        (SimpleNamespace(), False),
    ],
)
def test_the_library_is_believed_only_where_it_says_yes(library, there, aware):
    library(there)
    assert cuda_aware.is_cuda_aware(JOB) is aware


def test_gpus_switched_off_in_mpich_s_environment_are_off(library, monkeypatch):
    library(MPICH(1))
    monkeypatch.setenv("MPIR_CVAR_ENABLE_GPU", "0")
    assert not cuda_aware.is_cuda_aware(JOB)


def test_a_process_without_mpi_is_not_cuda_aware():
    alone = World(comm=None, rank=0, size=1)
    assert not cuda_aware.is_cuda_aware(alone)
    assert cuda_aware.library_name(alone) == "none"
