"""Only one job writes to an output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.refine import lock
from relion_mpi.refine.lock import STALE_SECONDS, OutputLock

HOLD = """
import sys, time
from pathlib import Path
from relion_mpi.refine.lock import OutputLock
OutputLock(Path(sys.argv[1]))
print("held", flush=True)
if len(sys.argv) > 2:
    time.sleep(60)
"""


@pytest.fixture
def root(tmp_path):
    return tmp_path / "run"


def holder_process(root, *words):
    job = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root), *words], stdout=subprocess.PIPE, text=True
    )
    with job.stdout as said:
        assert said.readline() == "held\n"
    return job


def files(root):
    return sorted(path.name for path in root.parent.iterdir())


def write(root, age=0.0, **changes):
    """Write another job's lock of an age."""
    path = root.with_name("run.lock")
    path.write_text(json.dumps(lock._this_job() | changes))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_second_job_is_refused_and_told_who_holds_the_output(root, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    held = OutputLock(root)
    with pytest.raises(InputError) as refused:
        OutputLock(root)
    text = str(refused.value)
    for part in (f"--o {root}", f"process {os.getpid()}", "job 4711", "choose another", "run.lock"):
        assert part in text
    held.release()
    assert files(root) == []


def test_a_released_output_can_be_taken_again(root):
    OutputLock(root).release()
    again = OutputLock(root)
    assert files(root) == ["run.lock"]
    again.release()
    again.release()
    assert files(root) == []


def test_the_lock_goes_with_a_program_that_ends(root):
    assert holder_process(root).wait(20) == 0
    assert files(root) == []


def test_the_lock_of_a_killed_job_of_this_host_is_void(root, caplog):
    job = holder_process(root, "stay")
    with pytest.raises(InputError, match=f"process {job.pid}"):
        OutputLock(root)
    job.kill()
    job.wait(20)
    assert files(root) == ["run.lock"]
    OutputLock(root).release()
    assert "is gone" in caplog.text
    assert files(root) == []


def test_the_lock_of_a_process_whose_number_was_given_again_is_void(root):
    write(root, began="1")
    OutputLock(root).release()


@pytest.mark.parametrize("other", [{"host": "node17"}, {"pids": "pid:[1]"}])
def test_a_lock_of_another_host_or_container_is_void_when_it_is_old(root, other):
    path = write(root, STALE_SECONDS / 2, **other)
    with pytest.raises(InputError, match="another job writes there"):
        OutputLock(root)
    assert files(root) == ["run.lock"]
    os.utime(path, (time.time() - 2 * STALE_SECONDS,) * 2)
    OutputLock(root).release()


def test_a_lock_of_the_same_job_is_void_once_the_scheduler_has_started_it_again(root, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    write(root, host="node17", job="4711", restarts=1)
    for restarts in ("", "1"):
        monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
        with pytest.raises(InputError, match="another job writes there"):
            OutputLock(root)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    OutputLock(root).release()
    monkeypatch.setenv("SLURM_JOB_ID", "4712")
    write(root, host="node17", job="4711", restarts=1)
    with pytest.raises(InputError, match="another job writes there"):
        OutputLock(root)


def test_a_lock_that_is_being_written_is_held(root):
    root.with_name("run.lock").touch()
    with pytest.raises(InputError, match="it does not say which"):
        OutputLock(root)


def test_the_time_of_the_file_is_renewed(root):
    held = OutputLock(root, refresh_seconds=0.02)
    os.utime(held.path, (0, 0))
    deadline = time.monotonic() + 10
    while held.path.stat().st_mtime == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert held.path.stat().st_mtime > 0
    held.release()


def test_a_lock_that_was_taken_away_ends_the_job_and_is_left(root, monkeypatch):
    raised = []
    monkeypatch.setattr(threading, "excepthook", lambda what: raised.append(what.exc_value))
    held = OutputLock(root, refresh_seconds=0.02)
    write(root, host="node17")
    deadline = time.monotonic() + 10
    while not raised and time.monotonic() < deadline:
        time.sleep(0.01)
    assert isinstance(raised[0], InputError)
    assert "node17" in str(raised[0])
    held.release()
    assert files(root) == ["run.lock"]


def test_of_many_that_take_a_void_lock_one_gets_it(root):
    write(root, began="1")
    start, found = threading.Barrier(16), []

    def take():
        start.wait()
        try:
            found.append(OutputLock(root))
        except InputError:
            pass

    threads = [threading.Thread(target=take) for _ in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 1
    found[0].release()
    assert files(root) == []


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    with pytest.raises(InputError, match="could not be made"):
        OutputLock(tmp_path / "nowhere" / "run")


def test_what_a_killed_job_had_not_finished_is_removed_and_nothing_else(tmp_path):
    ours = [
        ".run_it003_state.h5.12.tmp", ".run_half1_class001_unfil.mrc.7.tmp", ".run_data.star.7.tmp",
    ]  # fmt: skip
    others = [
        ".run_ct3_it004_state.h5.9.tmp", ".run2_data.star.9.tmp", "run_it003_state.h5", ".x.tmp",
    ]  # fmt: skip
    for name in ours + others:
        (tmp_path / name).touch()
    with OutputLock(tmp_path / "run"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
