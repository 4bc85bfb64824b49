"""Input at the edge of what can be refined, as a job."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from launcher import ROOT, finish, mpiexec, needs_mpiexec

sys.path.insert(0, str(ROOT / "tests"))
from factories.bad_input import BadInput

from relion_mpi.io.star import read_star
from relion_mpi.refine.lock import OutputLock

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


def refine(n_ranks, bad, out, *words):
    job = mpiexec(
        n_ranks, "-m", "relion_mpi.cli.main", "refine3d", "--i", str(bad.star), "--ref",
        str(bad.reference), "--o", str(out / "run"), "--random_seed", "1",
        "--healpix_order", "0", "--offset_range", "2", "--auto_iter_max", "2", *words,
    )  # fmt: skip
    return finish(job, RUNS_WITHIN)


def test_unusable_images_are_left_out_alike_on_any_number_of_ranks(tmp_path):
    bad = BadInput(tmp_path, n=300)
    images = bad.images().copy()
    images[20, 3, 4], images[150], images[299, 5, 5] = np.nan, 7.0, 1e30
    bad.write_images(images)
    alone, several, reread = tmp_path / "alone", tmp_path / "several", tmp_path / "reread"
    for n_ranks, out, words in (
        (1, alone, ()), (3, several, ()), (3, reread, ("--no-preread_images",)),
    ):  # fmt: skip
        status, output, _ = refine(n_ranks, bad, out, *words)
        assert status == 0, output
        listed = read_star(out / "run_quarantine.star")["quarantine"]
        assert listed["rowInFile"].to_list() == [21, 151, 300]
    first = read_star(alone / "run_it002_data.star")["particles"]
    assert first.height == 300
    for out in (several, reread):
        assert first.equals(read_star(out / "run_it002_data.star")["particles"])


def test_too_many_unusable_images_end_the_job_with_status_1(tmp_path):
    bad = BadInput(tmp_path, n=300)
    images = bad.images().copy()
    images[::20, 0, 0] = np.nan
    bad.write_images(images)
    for n_ranks in (1, 3):
        out = tmp_path / f"out{n_ranks}"
        status, output, _ = refine(n_ranks, bad, out)
        assert status == 1, output
        assert "of 300 images are unusable" in output
        assert "expected at most 1%" in output
        assert "Traceback" not in output
        assert (out / "run_quarantine.star").is_file()
        assert not (out / "run.lock").exists()


def test_an_output_that_another_job_writes_to_is_refused_by_all_ranks(tmp_path):
    bad = BadInput(tmp_path)
    bad.write()
    out = tmp_path / "out"
    out.mkdir()
    with OutputLock(out / "run"):
        status, output, _ = refine(3, bad, out)
    assert status == 1
    assert output.count("another job writes there") == 1
    assert f"process {os.getpid()} on " in output
    assert list(out.iterdir()) == []
    status, output, _ = refine(3, bad, out)
    assert status == 0, output
    assert not (out / "run.lock").exists()
