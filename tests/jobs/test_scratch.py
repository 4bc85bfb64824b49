"""Jobs that read their images from a scratch disk: the same bits, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from launcher import finish, mpiexec, needs_mpiexec

from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

pytestmark = needs_mpiexec

# The first run on a machine compiles all kernels, on every rank: more than a minute.
RUNS_WITHIN = 400.0
ENDS_WITHIN = 15.0
MRC_HEADER = 1024
INTERRUPTED = 75
COARSE = ("--sym", "D2", "--healpix_order", "1", "--offset_range", "3", "--auto_iter_max", "2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return simulate(
        SimulateOptions(
            o=tmp_path_factory.mktemp("set"), n=120, box=28, angpix=8.0, sym="D2", snr=0.2,
            ini_high=40.0, float16=True,
        )
    )  # fmt: skip


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def job(n_ranks, made, out, *words):
    out.mkdir(exist_ok=True)
    return mpiexec(
        n_ranks, "-m", "relion_mpi.cli.main", "refine3d", "--i", str(made.particles),
        "--ref", str(made.reference), "--o", str(out / "run"), "--random_seed", "1", *words,
    )  # fmt: skip


def done(one):
    status, output, _ = finish(one, RUNS_WITHIN)
    assert status == 0, output
    return output


@pytest.fixture(scope="module")
def plain(made, tmp_path_factory):
    """What comes out without a scratch disk."""
    out = tmp_path_factory.mktemp("plain")
    done(job(2, made, out, *COARSE))
    return out


def same(a, b):
    names = [path.name for path in a.iterdir() if path.name.endswith((".mrc", ".mrcs"))]
    assert names
    for name in names:
        assert (a / name).read_bytes()[MRC_HEADER:] == (b / name).read_bytes()[MRC_HEADER:], name
    for path in a.glob("*_data.star"):
        assert path.read_text() == (b / path.name).read_text()


@pytest.mark.parametrize("n_ranks", [1, 3])
def test_a_scratch_disk_changes_no_bit_and_is_left_empty(made, plain, disk, tmp_path, n_ranks):
    words = (*COARSE, "--scratch_dir", str(disk), "--keep_free_scratch", "0", "--no-preread_images")
    output = done(job(n_ranks, made, tmp_path / "out", *words))
    size = made.stack.stat().st_size - MRC_HEADER
    assert f"{size / 1e6:.1f} MB of {size / 1e6:.1f} MB go to" in output
    same(plain, tmp_path / "out")
    assert list(disk.iterdir()) == []
    last = (tmp_path / "out" / "run_metrics.jsonl").read_text().splitlines()[-1]
    of_ranks = json.loads(last)["ranks"].values()
    assert sum(one["bytes_read_from_scratch"] for one in of_ranks) == size
    assert sum(one["bytes_read"] for one in of_ranks) == size
    assert sum(one["particles"] for one in of_ranks) == 120


def test_a_line_of_relion_may_have_a_scratch_disk(made, plain, disk, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    words = (
        f"--auto_refine --split_random_halves --i {made.particles} --ref {made.reference} "
        f"--o {out / 'run'} --random_seed 1 --ctf --zero_mask --flatten_solvent --norm --scale "
        "--firstiter_cc --ini_high 60 --healpix_order 1 --offset_range 3 --offset_step 2 "
        "--auto_local_healpix_order 4 --low_resol_join_halves 40 --sym D2 --oversampling 1 "
        f"--pad 2 --auto_iter_max 2 --keep_scratch --scratch_dir {disk} --keep_free_scratch 0"
    )
    output = done(mpiexec(2, "-m", "relion_mpi.cli.main", "refine", *words.split()))
    assert "were copied and checked" in output
    same(plain, out)
    assert len(list(disk.glob("relion_mpi_*/*.images"))) == 1


def started(made, disk, tmp_path, *words):
    """Start a job and wait for its first files; return it and the folder of its copies."""
    one = job(3, made, tmp_path / "out", "--no-preread_images", "--scratch_dir", str(disk),
              "--keep_free_scratch", "0", *words)  # fmt: skip
    deadline = time.monotonic() + RUNS_WITHIN
    while not (tmp_path / "out" / "run_it000_optimiser.star").exists():
        assert time.monotonic() < deadline
        assert one.poll() is None, one.communicate()
        time.sleep(0.02)
    (folder,) = disk.glob("relion_mpi_*")
    return one, folder


def gone(folder):
    deadline = time.monotonic() + ENDS_WITHIN
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not folder.exists()


LONG = ("--healpix_order", "3", "--auto_iter_max", "3")


def test_copies_that_another_job_harms_cost_a_warning_and_no_bit(made, plain, disk, tmp_path):
    one, folder = started(made, disk, tmp_path, *COARSE)
    for copy in folder.glob("*.images"):
        os.truncate(copy, 2000)
    output = done(one)
    same(plain, tmp_path / "out")
    assert f"the original {made.stack} is read instead" in output


def test_a_failing_rank_leaves_no_copies(made, disk, tmp_path):
    one, folder = started(made, disk, tmp_path, *LONG)
    os.kill(pid_of_rank(2, str(tmp_path / "out")), signal.SIGKILL)
    assert finish(one, ENDS_WITHIN)[0] != 0
    assert gone(folder)


def test_an_end_that_is_asked_for_leaves_no_copies(made, disk, tmp_path):
    one, folder = started(made, disk, tmp_path, *LONG)
    one.send_signal(signal.SIGUSR1)
    status, output, _ = finish(one, RUNS_WITHIN)
    assert status == INTERRUPTED, output
    assert not folder.exists()


def test_copies_of_a_node_that_died_are_used_by_the_next_job(made, plain, disk, tmp_path):
    one, folder = started(made, disk, tmp_path, *LONG)
    for pid in pids_with(str(folder.resolve())):  # the process that would remove them
        os.kill(pid, signal.SIGKILL)
    os.kill(pid_of_rank(0, str(tmp_path / "out")), signal.SIGKILL)
    finish(one, ENDS_WITHIN)
    assert folder.exists()
    words = (*COARSE, "--scratch_dir", str(disk), "--keep_free_scratch", "0", "--no-preread_images")
    output = done(job(2, made, tmp_path / "next", *words))
    assert "are there already" in output
    assert "copied and checked" not in output
    same(plain, tmp_path / "next")
    assert not folder.exists()


def test_a_folder_that_is_missing_is_one_line(made, tmp_path):
    one = job(3, made, tmp_path / "out", *COARSE, "--scratch_dir", str(tmp_path / "gone"))
    status, output, _ = finish(one, RUNS_WITHIN)
    assert status != 0
    assert output.count("relion-mpi: error: --scratch_dir") == 1
    assert "there is no such folder; choose a folder that every node has" in output
    assert "Traceback" not in output


def pids_with(word):
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def pid_of_rank(rank, word):
    """Find the process of a rank by a word of its command line."""
    for pid in pids_with(word):
        with contextlib.suppress(OSError):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if f"PMI_RANK={rank}".encode() in environment:
                return pid
    pytest.skip("no rank was found in /proc")
