"""Starting without MPI, or with the wrong one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.parallel import comm


@pytest.fixture
def _without_mpi(monkeypatch):
    def fail():
        raise RuntimeError("cannot load MPI library")

    monkeypatch.setattr(comm, "_initialised", fail)
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    comm.world.cache_clear()
    yield
    comm.world.cache_clear()


@pytest.mark.usefixtures("_without_mpi")
def test_one_process_works_without_mpi():
    found = comm.world()
    assert (found.comm, found.rank, found.size, found.n_workers) == (None, 0, 1, 1)
    assert comm.node(found).n_workers == 1


@pytest.mark.usefixtures("_without_mpi")
def test_several_processes_without_mpi_are_refused(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(InputError, match=r"OMPI_COMM_WORLD_SIZE says that 4 processes.*mpiexec"):
        comm.world()


def test_importing_the_command_line_does_not_import_mpi4py():

    program = "import relion_mpi.cli.main, sys; sys.exit('mpi4py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_launcher_of_another_mpi_is_refused_in_one_line():

    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    program = (
        "from relion_mpi.parallel import comm\n"
        "from relion_mpi.core.errors import InputError\n"
        "try: comm.world()\n"
        "except InputError as error: print(error)\n"
    )
    environment = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stdout.startswith("OMPI_COMM_WORLD_SIZE says that 2 processes were started")
    assert done.stdout.count("\n") == 1
