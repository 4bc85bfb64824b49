"""The sub-command in one process."""

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


def words(project, *more):
    out = project.folder / "new" / "run"
    return ["refine3d", "--i", str(project.star), "--ref", str(project.reference),
            "--o", str(out), "--random_seed", "1", "--healpix_order", "0",
            "--offset_range", "2", "--auto_iter_max", "1", "--no-report", *more]  # fmt: skip


def test_a_run_makes_its_folder_and_its_files(tmp_path, capsys):
    assert command_line.main(words(noise_project(tmp_path))) == 0
    names = {p.name for p in (tmp_path / "new").iterdir()}
    assert {"run_it000_optimiser.star", "run_it001_data.star", "run_metrics.jsonl"} <= names
    shown = capsys.readouterr()
    assert "Finished in" in shown.out
    assert "there is no final map yet" in shown.err


def test_a_mistake_is_told_before_a_folder_is_made(tmp_path, capsys):
    project = noise_project(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        command_line.main(words(project, "--particle_diameter", "1000"))
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("relion-mpi: error: --particle_diameter 1000 is larger than the box")
    assert told.count("\n") == 1
    assert not (tmp_path / "new").exists()
