"""A run tells what memory its ranks will need, and needs it."""

from __future__ import annotations

import re

import pytest
from launcher import finish, mpiexec, needs_mpiexec

from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

pytestmark = needs_mpiexec

# The first run on a machine compiles all kernels, on every rank: more than a minute.
RUNS_WITHIN = 400.0
TOLERANCE = 0.15


def test_what_a_run_uses_is_near_what_it_predicted(tmp_path):
    made = simulate(SimulateOptions(o=tmp_path / "set", n=64, box=64, angpix=4.0, snr=1.0))
    words = (
        "-m", "relion_mpi.cli.main", "refine3d", "--i", str(made.particles), "--ref",
        str(made.reference), "--o", str(tmp_path / "out" / "run"), "--ini_high", "8",
        "--auto_local_healpix_order", "3", "--auto_iter_max", "2", "--random_seed", "1",
    )  # fmt: skip
    # Compiling takes memory: the first run leaves its kernels to the second.
    for _ in range(2):
        status, output, _ = finish(mpiexec(3, *words), RUNS_WITHIN)
        assert status == 0, output
    assert re.search(r"2 worker\(s\) and rank 0 will need \d", output)
    found = re.search(
        r"a worker used ([\d.]+) GiB at most, ([\d.]+) predicted; rank 0 ([\d.]+), ([\d.]+)", output
    )
    assert found is not None, output
    used_by_worker, of_worker, used_by_rank0, of_rank0 = map(float, found.groups())
    assert used_by_worker == pytest.approx(of_worker, rel=TOLERANCE)
    assert used_by_rank0 == pytest.approx(of_rank0, rel=TOLERANCE)
