"""Input at the edge of what can be refined, as a job."""

from __future__ import annotations

import sys
from pathlib import Path

from launcher import ROOT, finish, mpiexec, needs_mpiexec

sys.path.insert(0, str(ROOT / "tests"))
from factories.bad_input import BadInput

pytestmark = needs_mpiexec

# Kernels may have to be compiled, on every rank.
RUNS_WITHIN = 400.0


def test_more_ranks_than_particles_is_a_run_like_any_other(tmp_path):
    bad = BadInput(tmp_path)
    bad.table = bad.table.head(2)
    bad.write()
    job = mpiexec(
        5, "-m", "relion_mpi.cli.main", "refine3d", "--i", str(bad.star), "--ref",
        str(bad.reference), "--o", str(tmp_path / "out" / "run"), "--random_seed", "1",
        "--healpix_order", "0", "--offset_range", "2", "--auto_iter_max", "1",
    )  # fmt: skip
    status, output, _ = finish(job, RUNS_WITHIN)
    assert status == 0, output
    assert Path(tmp_path / "out" / "run_it001_data.star").is_file()
