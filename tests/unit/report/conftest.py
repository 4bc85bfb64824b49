from __future__ import annotations

import pytest
from factories.run_folder import RunFolder

from relion_mpi.report import page
from relion_mpi.report.gather.job import find_job
from relion_mpi.report.gather.run import gather


@pytest.fixture
def folder(tmp_path):
    """Make the folder of a run; keywords as for RunFolder."""

    def make(kind="refine3d", **words):
        if kind != "refine3d":
            words.setdefault("n_class", 3)
        return RunFolder(tmp_path / "job", kind=kind, **words)

    return make


@pytest.fixture
def gathered():
    """Write a folder and read it as the report does."""

    def read(made, **words):
        made.write()
        return gather(find_job(made.folder), **words)

    return read


@pytest.fixture
def without_pictures(monkeypatch):
    """Leave the pictures out of pages: they take a second, and their tests are elsewhere."""
    monkeypatch.setattr(page, "SECTIONS", ())
