"""Tasks of arrays, requeues, batch scripts and the table of a scaling study."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from factories.project import noise_project

from relion_mpi.cluster import requeue, submit_program
from relion_mpi.cluster.hosts import Host
from relion_mpi.cluster.job_array import of_task, value_of
from relion_mpi.cluster.requeue import going_on, is_restart, output_root, requeue_if_ended_early
from relion_mpi.cluster.running import run, say_if_lost
from relion_mpi.cluster.scaling import as_text, read_timing
from relion_mpi.cluster.submit_options import SubmitOptions
from relion_mpi.cluster.submit_program import TEMPLATE, ask_for, options_of, script
from relion_mpi.cluster.template import filled
from relion_mpi.core.errors import InputError
from relion_mpi.refine.time_estimate import TimeEstimate

ROOT = Path(__file__).parent.parent.parent.parent
TASK_2 = {"SLURM_ARRAY_TASK_ID": "2"}


# Job arrays


def test_the_number_of_the_task_is_filled_in():
    words = ["refine3d", "--o", "out/%a/run", "--random_seed", "%a"]
    assert of_task(words, None, TASK_2) == ["refine3d", "--o", "out/2/run", "--random_seed", "2"]
    assert of_task(words, None, {}) == words


def test_a_task_gets_its_line_of_the_list(tmp_path):
    path = tmp_path / "list"
    path.write_text("# data sets\n--i one.star\n\n--i 'two sets.star' --sym D2  # the second\n")
    found = of_task(["refine3d", "--o", "out/%a/run"], path, TASK_2)
    assert found == ["refine3d", "--o", "out/2/run", "--i", "two sets.star", "--sym", "D2"]
    with pytest.raises(InputError, match=r"found 2 line\(s\) with options, but this is task 3"):
        of_task(["refine3d", "--o", "%a"], path, {"SLURM_ARRAY_TASK_ID": "3"})
    with pytest.raises(InputError, match="no task of a job array; submit with sbatch --array=1-2"):
        of_task(["refine3d"], path, {})


def test_two_tasks_with_one_output_are_refused(tmp_path):
    with pytest.raises(InputError, match="all tasks of the job array would write there"):
        of_task(["refine3d", "--o", "out/run"], None, TASK_2)
    path = tmp_path / "list"
    path.write_text("--o a/run\n--o b/run\n--o a/run\n")
    with pytest.raises(InputError, match="lines 1 and 3 both write to --o a/run"):
        of_task(["refine3d"], path, TASK_2)


def test_values_are_found_as_they_were_typed():
    assert value_of("--gpu", ["--gpu", "--i", "a"]) == ""
    assert value_of("--gpu", ["--gpu=0:1"]) == "0:1"
    assert value_of("--gpu", ["--i", "a", "--gpu"]) == ""
    assert value_of("--gpu", ["--i", "a"]) is None
    assert value_of("--ini_high", ["--ini-high", "30"]) == "30"


# Requeues


def states(folder, *numbers):
    for age, number in enumerate(reversed(numbers)):
        for ending in ("optimiser.star", "state.h5"):
            path = folder / f"run_it{number:03d}_{ending}"
            path.touch()
            os.utime(path, (time.time() - 100 - age,) * 2)


def test_a_job_that_was_started_again_goes_on_from_the_newest_state(tmp_path, monkeypatch):
    last = SimpleNamespace(last_iteration=9)
    monkeypatch.setattr(requeue, "options_of", lambda _: last)
    words = ["refine3d", "--i", "a", "--o", str(tmp_path / "run")]
    assert going_on(words) == words
    states(tmp_path, 1, 2)
    newest = str(tmp_path / "run_it002_optimiser.star")
    assert going_on(words) == [*words, "--continue", newest]
    first = ["class3d", "--continue", str(tmp_path / "run_it001_optimiser.star"), "--iter", "9"]
    assert going_on(first) == ["class3d", "--iter", "9", "--continue", newest]
    assert going_on([*words, "--continue", "auto"]) == [*words, "--continue", newest]
    last.last_iteration = 2
    assert going_on(words) is None
    last.last_iteration = 9
    (tmp_path / "run_data.star").touch()
    assert going_on(words) is None


def test_restarts_are_counted_by_slurm():
    assert not is_restart({})
    assert not is_restart({"SLURM_RESTART_COUNT": "0"})
    assert is_restart({"SLURM_RESTART_COUNT": "1"})


def test_the_output_of_a_continued_run_is_that_of_the_run():
    assert output_root(["refine3d", "--continue", "a/run_it012_optimiser.star"]) == Path("a/run")
    assert output_root(["refine3d", "--continue", "a/run_it012_optimiser.star", "--o", "b"]) == (
        Path("b")
    )


@pytest.fixture
def asked(monkeypatch):
    """What scontrol is asked."""
    said = []

    def answer(words, **_):
        said.append(words)
        return type("Done", (), {"returncode": 0, "stdout": "", "stderr": ""})

    monkeypatch.setattr(requeue.subprocess, "run", answer)
    monkeypatch.setattr(requeue, "_ENDED_WITHIN_SECONDS", 0)
    return said


@pytest.mark.parametrize(
    ("status", "came", "again"),
    [
        (75, {signal.SIGUSR1}, True),
        (75, set(), True),  # srun was signalled itself
        (143, {signal.SIGUSR1}, True),
        (0, {signal.SIGUSR1}, False),
        (1, set(), False),
        (137, set(), True),  # a rank was killed, or its host is lost
        (137, {signal.SIGTERM}, False),
        (75, {signal.SIGTERM}, False),  # scancel
    ],
)
def test_only_a_run_that_ended_early_is_put_back(tmp_path, asked, status, came, again):
    states(tmp_path, 1)
    requeue_if_ended_early(status, came, tmp_path / "run", time.time() - 1000, "4711")
    assert asked == ([["scontrol", "requeue", "4711"]] if again else [])


def test_a_run_that_saved_nothing_new_is_not_put_back_for_ever(tmp_path, asked, caplog):
    logging.getLogger("relion_mpi").propagate = True
    states(tmp_path, 1)
    requeue_if_ended_early(75, set(), tmp_path / "run", time.time(), "4711")
    assert asked == []
    assert "nothing was saved beyond" in caplog.text
    (tmp_path / "run_it002_partial.h5").touch()
    requeue_if_ended_early(75, set(), tmp_path / "run", time.time(), "4711")
    assert len(asked) == 1


def test_signals_are_handed_on_and_noted():
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))\n"
        "os.kill(os.getppid(), signal.SIGUSR1)\n"
        "time.sleep(20)"
    )
    assert run([sys.executable, "-c", code]) == (75, {signal.SIGUSR1})
    assert run(["sh", "-c", "kill -9 $$"]) == (137, set())


def test_an_end_that_nobody_told_of_is_explained(tmp_path, caplog):
    logging.getLogger("relion_mpi").propagate = True
    states(tmp_path, 3)
    for status in (0, 1, 2, 75, 130):
        say_if_lost(status, [Host("n1", 2)], tmp_path / "run")
    assert caplog.text == ""
    say_if_lost(255, [Host("n1", 2), Host("n2", 1)], tmp_path / "run")
    assert "a host was lost (n1, n2)" in caplog.text
    assert "run_it003_optimiser.star" in caplog.text


# Batch scripts


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return noise_project(tmp_path_factory.mktemp("project"))


def submitted(project, *words, **options):
    line = ["refine3d", "--i", str(project.star), "--ref", str(project.reference), *words]
    run_options = options_of(line)
    told = SubmitOptions(command="", **options)
    return script(told, line, run_options, ask_for(told, run_options)).splitlines()


def test_a_script_asks_for_what_the_run_needs(project):
    lines = submitted(project, "--o", "Refine3D/job1/run", "--gpu", nodes=2, gpus=4, gpu_memory=80,
                      partition="gpu", time="2-00:00:00", sbatch="--account=lab")  # fmt: skip
    for line in ("--partition=gpu", "--ntasks=9", "--cpus-per-task=4", "--time=2-00:00:00",
                 "--gres=gpu:4", "--nodes=2 --account=lab", "--requeue", "--open-mode=append",
                 "--signal=B:USR1@180", "--output=Refine3D/job1/run.out"):  # fmt: skip
        assert f"#SBATCH {line}" in lines
    memory = next(line for line in lines if "--mem=" in line).split("=")[1]
    # Four workers with CUDA and rank 0: 0.7 GB each at least, by docs/running.md.
    assert 3 <= int(memory.removesuffix("G")) <= 20


def test_no_field_of_a_script_is_empty(project):
    lines = submitted(project, "--o", "run", time="1:00:00")
    assert not [line for line in lines if line.startswith("#SBATCH") and "gpu" in line]
    assert not [line for line in lines if line.startswith("#SBATCH") and line.endswith(("=", " "))]
    assert not [line for line in lines if "XXX" in line]
    assert "#SBATCH --ntasks=5" in lines


def test_wall_time_is_twice_the_estimate_on_the_cores_of_the_job(monkeypatch):
    monkeypatch.setattr(submit_program.os, "sched_getaffinity", lambda _: {0, 1})
    found = SimpleNamespace(time=TimeEstimate(36000.0, 15))
    seconds = submit_program._seconds
    assert seconds(found, 4, 4, on_gpu=False)[0] == 2 * 36000 / 8
    assert seconds(found, 4, 4, on_gpu=True)[0] == 2 * 36000
    assert seconds(SimpleNamespace(time=TimeEstimate(1.0, 15)), 4, 4, on_gpu=True)[0] == 1800
    assert seconds(SimpleNamespace(time=None), 4, 4, on_gpu=True)[0] == 24 * 3600
    assert submit_program._time_text(93600) == "1-02:00:00"


def test_a_run_that_does_not_fit_is_not_submitted(project):
    with pytest.raises(InputError, match="the run would be refused: "):
        submitted(project, "--o", "run", memory=0.01)


def test_only_what_runs_on_many_ranks_is_submitted():
    with pytest.raises(InputError, match="submit mask: expected one of refine, "):
        options_of(["mask", "--i", "a.mrc"])


def test_an_unknown_variable_of_a_template_is_named(tmp_path):
    path = tmp_path / "template"
    path.write_text("#SBATCH --time=XXXhoursXXX\nXXXcommandXXX\n")
    with pytest.raises(InputError, match="found XXXhoursXXX, expected some of XXXnameXXX"):
        filled(path, {"name": "a", "command": "b"})
    path.write_text("nothing\n")
    with pytest.raises(InputError, match="found no XXXcommandXXX"):
        filled(path, {"command": "b"})


def test_the_template_of_the_interface_is_that_of_the_package():
    assert (ROOT / "slurm" / "relion_qsub.sbatch").resolve() == TEMPLATE.resolve()


@pytest.mark.parametrize("path", sorted((ROOT / "slurm").glob("*.sbatch")), ids=lambda p: p.name)
def test_scripts_are_sound_bash_without_empty_fields(path):
    import subprocess

    text = path.read_text()
    subprocess.run(["bash", "-n", str(path)], check=True)
    fields = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert not [line for line in fields if line.rstrip().endswith("=")]
    if path.name != "scaling.sbatch":  # it begins anew
        for wanted in ("--signal=B:USR1@180", "--requeue", "--open-mode=append"):
            assert f"#SBATCH {wanted}" in fields


# Scaling


def test_speed_up_is_against_the_fewest_workers(tmp_path):
    for n, seconds in ((1, 8.0), (4, 2.5)):
        rows = [{"iteration": i, "timings": {"E-step": seconds - 0.5, "M-step": 0.5}}
                for i in (1, 2)]  # fmt: skip
        rows[0]["timings"]["E-step"] = 100.0  # kernels were compiled
        path = tmp_path / f"run_w{n}_metrics.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
    table = as_text([read_timing(tmp_path / f"run_w{n}") for n in (4, 1)]).splitlines()
    assert table[1].split() == ["1", "8.00", "7.50", "0.00", "0.50", "1.00", "1.00"]
    assert table[2].split() == ["4", "2.50", "2.00", "0.00", "0.50", "3.20", "0.80"]
    with pytest.raises(InputError, match="cannot be read"):
        read_timing(tmp_path / "run_w2")
