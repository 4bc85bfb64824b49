"""A run on two nodes, each with images of its own, and what happens when one is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nodes
import pytest
from cluster import ROOT

from relion_mpi.refine.lock import STALE_SECONDS
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

MPIEXEC = Path(sys.executable).with_name("mpiexec")
pytestmark = [
    pytest.mark.skipif(not MPIEXEC.exists(), reason="there is no mpiexec (pip install mpich)"),
    pytest.mark.skipif(bool(nodes.why_not()), reason=nodes.why_not() or "nothing"),
]

MRC_HEADER = 1024
RUNS_WITHIN = 240.0
ENDS_WITHIN = 15.0

WHERE = r"""
import os, socket, sys
from relion_mpi.parallel import comm
from relion_mpi.parallel.shared_memory import share_on_node
ranks = comm.world()
memory = share_on_node(ranks, 4096, 2)
if memory.data.size:
    memory.data[ranks.rank] = ranks.rank
    memory.flags[0] += 1
ranks.comm.Barrier()
seen = [int(one) for one in memory.data[:5]] if memory.data.size else []
sys.stdout.write(f"rank {ranks.rank} on {socket.gethostname()} sees {seen}\n")
sys.stdout.flush()
ranks.comm.Barrier()
memory.close()
"""


def variables(folder):
    return {
        name: value for name, value in os.environ.items()
        if not name.startswith(("PMI_", "OMPI_", "PYTEST_", "MPI_", "SLURM_"))
    } | {"PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1", **nodes.stand_in(folder)}  # fmt: skip


def started(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "relion_mpi.cli.main", "launch", "--hosts", "n1,n2", *words],
        env=variables(folder), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def ended(job, seconds):
    try:
        told, _ = job.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        job.send_signal(signal.SIGKILL)
        pytest.fail(f"still running after {seconds} s")
    return job.returncode, told


def refinement(made, out, *words):
    return ("refine3d", "--i", made.particles, "--ref", made.reference, "--o", out / "run", "--j",
            "1", "--random_seed", "1", "--offset_range", "2", *words)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    return simulate(SimulateOptions(o=folder, n=200, box=28, angpix=8.0, snr=0.2))


def test_each_node_has_shared_memory_of_its_own(tmp_path):
    environment = variables(tmp_path)
    done = subprocess.run(
        [str(MPIEXEC), "-hosts", "n1:3,n2:2", "-n", "5", sys.executable, "-c", WHERE],
        env=environment, capture_output=True, text=True, check=False, timeout=RUNS_WITHIN,
    )  # fmt: skip
    told = set(done.stdout.splitlines())
    assert told == {
        "rank 0 on n1 sees []", "rank 1 on n1 sees [0, 1, 2, 0, 0]",
        "rank 2 on n1 sees [0, 1, 2, 0, 0]", "rank 3 on n2 sees [0, 0, 0, 3, 4]",
        "rank 4 on n2 sees [0, 0, 0, 3, 4]",
    }, done.stdout + done.stderr  # fmt: skip


@pytest.mark.long
def test_two_nodes_find_the_bits_of_one(made, tmp_path):
    quick = ("--healpix_order", "0", "--auto_iter_max", "2")
    one, two = tmp_path / "one", tmp_path / "two"
    words = map(str, refinement(made, two, *quick))
    status, told = ended(started(tmp_path, "--workers", "2", *words), RUNS_WITHIN)
    assert status == 0, told
    assert "5 rank(s): 3 on n1, 2 on n2" in told
    assert "\nn1: 2 worker(s) and rank 0 will need" in told
    assert "\nn2: 2 worker(s) will need" in told
    subprocess.run(
        [sys.executable, "-m", "relion_mpi.cli.main", *map(str, refinement(made, one, *quick))],
        check=True, env=os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1"},
        capture_output=True,
    )  # fmt: skip
    for name in ("run_it002_half1_class001.mrc", "run_it002_half2_class001.mrc"):
        maps = [(folder / name).read_bytes()[MRC_HEADER:] for folder in (one, two)]
        assert maps[0] == maps[1]


@pytest.mark.parametrize("lost", [pytest.param("n1", marks=pytest.mark.long), "n2"])
def test_a_node_that_is_lost_ends_all_ranks_with_the_reason(made, tmp_path, lost):
    out = tmp_path / "out"
    long = ("--healpix_order", "3", "--auto_iter_max", "1", "--checkpoint_minutes", "0.01")
    job = started(tmp_path, "--workers", "1", *map(str, refinement(made, out, *long)))
    deadline = time.monotonic() + RUNS_WITHIN
    while not list(out.glob("*_partial.h5")):
        assert time.monotonic() < deadline
        assert job.poll() is None, ended(job, 1)
        time.sleep(0.05)
    assert len(nodes.processes_of("n1")) == 2
    assert len(nodes.processes_of("n2")) == 1
    nodes.lose(lost)
    status, told = ended(job, ENDS_WITHIN)
    assert status != 0
    assert "a process was killed (memory?) or a host was lost (n1, n2)" in told, told
    assert f"go on with --continue {out / 'run_it000_optimiser.star'}" in told
    assert not nodes.processes_of("n1") + nodes.processes_of("n2")
    # What is on disk is whole: the run goes on, here on one rank. The lock of a lost host is
    # void after five minutes, or at once where Slurm starts the job again.
    os.utime(out / "run.lock", (time.time() - 2 * STALE_SECONDS,) * 2)
    optimiser = out / "run_it000_optimiser.star"
    done = subprocess.run(
        [sys.executable, "-m", "relion_mpi.cli.main", "refine3d", "--continue", str(optimiser)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Going on within iteration 1, of which " in done.stdout
