"""Ranks that are killed at any moment: the others do their work, and the bits are the same."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from launcher import COLLECTIVE, finish, needs_ulfm, ulfm_mpiexec

from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

pytestmark = needs_ulfm

ENDS_WITHIN = 60.0
COMPILES_WITHIN = 400.0
MRC_HEADER = 1024
LOST = re.compile(r"WARNING: rank (\d) on \S+ has died")


def crew(folder, kill, n_ranks=4):
    job = ulfm_mpiexec(n_ranks, str(COLLECTIVE / "losing.py"), str(folder), "1", kill=kill)
    status, output, _ = finish(job, ENDS_WITHIN)
    return status, output


@pytest.mark.parametrize(
    ("kill", "n_left"),
    [
        ("1:broadcast:2,3:pack:1", 2),
        ("2:begin:2,1:reduce:2", 2),  # after one of two arrays
        ("2:reduce:1,3:work:16", 2),  # the second one while the first one's work is done again
        ("1:between:1,2:count:1", 2),
        ("1:obey:25", 3),
    ],
)
def test_a_crew_that_loses_workers_has_the_same_sums(tmp_path, kill, n_left):
    status, output = crew(tmp_path, kill)
    assert status == 0, output
    assert f"all is well on {n_left} ranks" in output
    lost = [found.group(1) for found in LOST.finditer(output)]
    assert sorted(lost) == sorted(part.split(":")[0] for part in kill.split(",")), output


def test_rank_0_that_has_lost_all_workers_ends_with_the_reason(tmp_path):
    status, output = crew(tmp_path, "1:work:7,2:work:7,3:work:7")
    assert status == 1, output
    assert "relion-mpi: error: all workers have died" in output
    assert "Traceback" not in output


def test_workers_that_have_lost_rank_0_end_with_the_reason(tmp_path):
    status, output = crew(tmp_path, "0:between:3")
    assert status == 1, output
    assert "relion-mpi: error: rank 0 has died" in output


def refined(folder, made, kill, status=0):
    """Refine in a folder, always under the same name, for files name each other."""
    folder.mkdir()
    shutil.copytree(made.particles.parent, folder / "set")
    job = ulfm_mpiexec(
        4, str(COLLECTIVE / "lossy_run.py"), str(folder), "refine3d", "--i", "set/particles.star",
        "--ref", "set/reference.mrc", "--o", "out/run", "--random_seed", "1", "--sym", "D2",
        "--healpix_order", "1", "--offset_range", "3", "--auto_iter_max", "2", "--batch", "6",
        "--no-report", kill=kill, cwd=folder,
    )  # fmt: skip
    found, output, _ = finish(job, COMPILES_WITHIN)
    assert found == status, output
    return folder / "out", output


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "set"
    made = simulate(
        SimulateOptions(o=folder, n=120, box=24, angpix=8.0, sym="D2", snr=0.2, ini_high=40.0)
    )
    # An image that is found unusable in the first pass, by whoever does its batch.
    stack = np.memmap(folder / "particles.mrcs", np.float32, "r+", MRC_HEADER)
    stack.reshape(120, 24, 24)[33, 5, 5] = np.nan
    stack.flush()
    return made


@pytest.fixture(scope="module")
def undisturbed(made, tmp_path_factory):
    out, _ = refined(tmp_path_factory.mktemp("whole") / "run", made, "")
    return out


def contents(path):
    """What a file says but for when it was made."""
    data = path.read_bytes()
    if path.suffix == ".mrc":
        return data[MRC_HEADER:]
    return b"\n".join(line for line in data.split(b"\n") if not line.startswith(b"#"))


@pytest.mark.parametrize(
    "kill",
    [
        "2:work:9,1:reduce:2",  # in the first iteration, whose pixels are checked
        "3:between:1,1:broadcast:8",  # in the first M-step, then as the references are told
    ],
)
def test_a_refinement_that_loses_two_workers_ends_with_the_same_bits(
    undisturbed, made, tmp_path, kill
):
    out, output = refined(tmp_path / "run", made, kill)
    lost = [found.group(1) for found in LOST.finditer(output)]
    assert sorted(lost) == sorted(part.split(":")[0] for part in kill.split(",")), output
    names = {path.name for path in undisturbed.iterdir()}
    assert {path.name for path in out.iterdir()} == names
    same = [name for name in sorted(names) if not name.endswith((".h5", ".jsonl"))]
    assert len(same) > 20
    for name in same:
        assert contents(out / name) == contents(undisturbed / name), name
    for ours, theirs in zip(metrics(out), metrics(undisturbed), strict=True):
        assert ours == theirs


def metrics(out):
    lines = (out / "run_metrics.jsonl").read_text(encoding="utf-8").splitlines()
    timed = {"written", "timings", "ranks"}
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


def test_a_refinement_that_has_lost_all_workers_says_how_to_go_on(made, tmp_path):
    out, output = refined(tmp_path / "run", made, "1:begin:4,2:begin:4,3:begin:4", status=1)
    assert "relion-mpi: error: all workers have died" in output
    line = re.search(r"go on with: relion-mpi refine3d --continue (\S+)", output)
    assert line is not None, output
    assert (out.parent / line.group(1)).exists()
