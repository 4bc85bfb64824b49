"""`relion-mpi refine` in one process."""

from __future__ import annotations

import sys
import threading

import pytest
from factories.project import noise_project

from relion_mpi.cli import main as command_line


@pytest.fixture(autouse=True)
def _hooks():
    hooks = sys.excepthook, threading.excepthook
    yield
    sys.excepthook, threading.excepthook = hooks


def line(project, *more):
    out = project.folder / "job"
    return ["refine", "relion_refine", "--auto_refine", "--split_random_halves",
            "--i", str(project.star), "--ref", str(project.reference), "--o", f"{out}/run",
            "--pipeline_control", f"{out}/", *more]  # fmt: skip


def signs(project):
    return {path.name for path in (project.folder / "job").glob("RELION_JOB_*")}


@pytest.fixture
def project(tmp_path):
    """What a line needs; the interface has made the folder and an earlier run has failed."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "RELION_JOB_EXIT_FAILURE").touch()
    return noise_project(tmp_path)


def test_a_line_runs_and_tells_of_success(project, capsys):
    words = ("--pool", "30", "--healpix_order", "0", "--offset_range", "2", "--auto_iter_max",
             "1", "--ini_high", "20", "--random_seed", "1")  # fmt: skip
    assert command_line.main(line(project, *words)) == 0
    assert signs(project) == {"RELION_JOB_EXIT_SUCCESS"}
    assert (project.folder / "job" / "run_it001_data.star").exists()
    assert capsys.readouterr().out.count("--pool") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--helix",), "--helix: helices are not refined"),
        (("--pooll", "3"), "unknown option --pooll; did you mean --pool?"),
        (("--ref", "nowhere.mrc"), "nowhere.mrc"),
    ],
)
def test_a_mistake_is_one_line_and_a_sign_of_failure(project, capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        command_line.main(line(project, *words))
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("relion-mpi: error: ")
    assert message in told
    assert told.count("\n") == 1
    assert signs(project) == {"RELION_JOB_EXIT_FAILURE"}
