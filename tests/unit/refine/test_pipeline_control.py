"""How a job tells RELION's interface of its end."""

from __future__ import annotations

import threading

import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.refine import pipeline_control
from relion_mpi.refine.pipeline_control import ABORT_NOW, ABORTED, FAILURE, SUCCESS


def left(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--i", "p", "--pipeline_control", "a/b/"], "a/b"),
        (["--pipeline-control=a", "--i", "p"], "a"),
        (["--pipeline_control", "a", "--pipeline_control", "b"], "b"),
        (["--pipeline_control", "--i", "p"], "None"),
        (["--i", "p"], "None"),
        ([], "None"),
    ],
)
def test_the_folder_is_found_in_any_line(words, found):
    assert str(pipeline_control.folder_in(words)) == found


@pytest.mark.parametrize(("rank", "names"), [(0, {SUCCESS}), (1, set())])
def test_rank_0_tells_of_success(tmp_path, rank, names):
    assert pipeline_control.signed(tmp_path, rank, lambda: 0) == 0
    assert left(tmp_path) == names


@pytest.mark.parametrize("error", [InputError("x"), SystemExit(1), KeyboardInterrupt()])
def test_any_rank_tells_of_its_failure(tmp_path, error):
    def run():
        raise error

    with pytest.raises(type(error)):
        pipeline_control.signed(tmp_path, 1, run)
    assert left(tmp_path) == {FAILURE}


def test_a_status_that_is_not_0_is_a_failure(tmp_path):
    assert pipeline_control.signed(tmp_path, 0, lambda: 1) == 1
    assert left(tmp_path) == {FAILURE}


def test_a_failure_in_a_thread_is_told(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    hook = threading.excepthook

    def run():
        thread = threading.Thread(target=lambda: 1 // 0)
        thread.start()
        thread.join()
        assert left(tmp_path) == {FAILURE}
        return 1

    pipeline_control.signed(tmp_path, 1, run)
    assert [one.exc_type for one in told] == [ZeroDivisionError]
    assert threading.excepthook == hook


def test_a_job_that_is_asked_to_end_says_that_it_was_aborted(tmp_path):
    (tmp_path / ABORT_NOW).touch()

    def run():
        assert pipeline_control.abort_asked(tmp_path)
        raise pipeline_control.JobEnded(pipeline_control.ABORTED_STATUS)

    with pytest.raises(SystemExit) as stopped:
        pipeline_control.signed(tmp_path, 0, run)
    assert stopped.value.code == 2  # RELION 3.1.3 leaves with this status
    # The request has been met: it must not end the job that goes on with this one.
    assert left(tmp_path) == {ABORTED}


def test_signs_of_an_earlier_job_are_removed(tmp_path):
    for name in (SUCCESS, FAILURE, ABORTED, "run_it000_data.star"):
        (tmp_path / name).touch()
    pipeline_control.clear(tmp_path)
    assert left(tmp_path) == {"run_it000_data.star"}


def test_a_folder_that_is_not_there_does_not_end_the_job(tmp_path):
    assert pipeline_control.signed(tmp_path / "none", 0, lambda: 0) == 0
    pipeline_control.clear(None)
    assert not pipeline_control.abort_asked(None)
