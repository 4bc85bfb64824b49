"""An array of jobs on a real Slurm; one is ended at its wall time and goes on by itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cluster import ROOT

from relion_mpi.io.star import read_star
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

pytestmark = pytest.mark.slow

MRC_HEADER = 1024
TASKS, LONG = range(1, 9), 3
QUICK_LINE = "--healpix_order 0 --offset_range 2 --auto_iter_max 2"
# Longer than Slurm may take to notice a time limit (30 s), saved every second.
LONG_LINE = "--healpix_order 2 --offset_range 3 --auto_iter_max 6 --checkpoint_minutes 0.02"
# The first run on a machine compiles all kernels.
RUNS_WITHIN = 240.0


def states(slurm, job):
    """State by task of an array."""
    listed = slurm.ask("squeue", "-h", "-a", "-r", "-t", "all", "-j", job, "-o", "%K %T")
    return dict(line.split() for line in listed.splitlines() if len(line.split()) == 2)


def same(a, b):
    """Hold the files of the last iteration of two folders against each other."""
    for half in (1, 2):
        maps = [(one / f"run_it006_half{half}_class001.mrc").read_bytes() for one in (a, b)]
        assert maps[0][MRC_HEADER:] == maps[1][MRC_HEADER:]
        tables = [read_star(one / f"run_it006_half{half}_model.star") for one in (a, b)]
        assert tables[0].keys() == tables[1].keys()
        for name, table in tables[0].items():
            if name != "model_classes":  # that one names files
                other = tables[1][name]
                is_table = hasattr(table, "equals")
                assert table.equals(other, null_equal=True) if is_table else table == other, name
    for name in ("run_it006_data.star", "run_it006_sampling.star"):
        assert (a / name).read_text() == (b / name).read_text(), name
    assert {path.name for path in a.iterdir()} == {path.name for path in b.iterdir()}


def test_an_array_of_eight_of_which_one_is_ended_at_its_wall_time(slurm, tmp_path):
    made = simulate(SimulateOptions(o=tmp_path / "set", n=200, box=40, angpix=6.0, snr=0.2))
    lines = [LONG_LINE if task == LONG else QUICK_LINE for task in TASKS]
    (tmp_path / "tasks.txt").write_text("# one line a task\n" + "\n".join(lines) + "\n")
    common = ["--i", made.particles, "--ref", made.reference, "--j", 1]
    size = ("--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", "--time=10")
    array = slurm.submit(
        tmp_path, "--array=1-8", *size, ROOT / "slurm" / "array.sbatch", "--list", "tasks.txt",
        "refine3d", *common, "--o", "out/%a/run", "--random_seed", "%a",
    )  # fmt: skip
    through = slurm.submit(
        tmp_path, *size, ROOT / "slurm" / "refine3d.sbatch", *common, "--o", "through/run",
        "--random_seed", LONG, *LONG_LINE.split(),
    )  # fmt: skip
    long_one = f"{array}_{LONG}"
    out = tmp_path / "out" / str(LONG)
    slurm.wait_for(lambda: list(out.glob("*_partial.h5")), "something saved", RUNS_WITHIN)
    # Three minutes before the end, which the script asks for, are now: Slurm sends the signal.
    slurm.ask("scontrol", "update", f"JobId={long_one}", "TimeLimit=3")
    told = tmp_path / f"array.{array}_{LONG}.out"
    slurm.wait_for(
        lambda: slurm.field(long_one, "Restarts") == "1", "the requeue", 90, told.read_text
    )
    assert list(out.glob("*_state.h5"))
    assert not (out / "run_it006_optimiser.star").exists()
    slurm.start_again(long_one, "TimeLimit=10")
    deadline = time.monotonic() + RUNS_WITHIN
    while set(states(slurm, array).values()) != {"COMPLETED"}:
        assert not {"FAILED", "TIMEOUT"} & set(states(slurm, array).values()), told_by(tmp_path)
        assert time.monotonic() < deadline, f"{states(slurm, array)}\n{told_by(tmp_path)}"
        time.sleep(0.5)
    assert sorted(states(slurm, array)) == sorted(map(str, TASKS))
    slurm.wait_for(lambda: slurm.field(through, "JobState") == "COMPLETED", "the other", 60)
    for task in TASKS:
        last = 6 if task == LONG else 2
        assert (tmp_path / "out" / str(task) / f"run_it{last:03d}_optimiser.star").is_file(), task
    same(tmp_path / "through", out)
    told = told.read_text()
    assert told.count("SIGUSR1 came: the run ends here") == 1
    assert told.count("Putting job") == 1
    assert told.count("Going on after iteration") == 1
    assert told.count("2 rank(s): 2 on n") == 2


def told_by(folder):
    return "\n".join(f"== {one}\n{one.read_text()}" for one in sorted(Path(folder).glob("*.out")))
