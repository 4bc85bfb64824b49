from __future__ import annotations

import os
import time

import pytest

from relion_mpi.refine.lock import OutputLock
from relion_mpi.report.gather.state import RECENT_SECONDS, State


def aged(made, seconds):
    for path in made.folder.iterdir():
        os.utime(path, (time.time() - seconds,) * 2)
    made.write = lambda: made
    return made


def test_final_files_are_the_end(folder, gathered):
    assert gathered(folder()).state is State.FINISHED


def test_the_last_iteration_of_a_classification_is_the_end(folder, gathered):
    assert gathered(folder("class3d")).state is State.FINISHED


def test_a_classification_that_has_iterations_left_and_is_old_is_unfinished(folder, gathered):
    made = folder("class3d", iterations=(0, 1)).write()
    assert gathered(aged(made, RECENT_SECONDS + 60)).state is State.UNFINISHED


def test_one_that_wrote_just_now_is_running(folder, gathered):
    assert gathered(folder("class3d", iterations=(0, 1))).state is State.RUNNING


def test_a_lock_that_is_held_is_a_running_job(folder, gathered):
    made = aged(folder(final=False).write(), RECENT_SECONDS + 60)
    with OutputLock(made.root):
        assert gathered(made).state is State.RUNNING


def test_a_lock_whose_job_is_gone_is_a_failure(folder, gathered):
    made = folder(final=False).write()
    lock = OutputLock(made.root)
    text = lock.path.read_text()
    lock.release()
    # the same process number, begun at another time
    lock.path.write_text(text.replace('"began": "', '"began": "9'))
    assert gathered(made).state is State.FAILED


def test_without_an_optimiser_file_the_state_is_unknown(folder, gathered):
    made = folder("class3d").write()
    for path in made.folder.glob("*_optimiser.star"):
        path.unlink()
    made.write = lambda: made
    assert gathered(made).state is State.UNKNOWN


@pytest.mark.parametrize("state", list(State))
def test_a_state_that_the_caller_knows_is_taken(folder, gathered, state):
    assert gathered(folder(), state=state).state is state
