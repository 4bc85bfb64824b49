from __future__ import annotations

import pytest
from factories.run_folder import write_postprocess

from relion_mpi.cli.main import main
from relion_mpi.core.errors import InputError
from relion_mpi.report.options import ReportOptions
from relion_mpi.report.program import report


def test_the_command_writes_the_page_beside_the_run(folder, capsys):
    made = folder(iterations=(0, 1), final=False).write()
    assert main(["report", str(made.folder)]) == 0
    page = made.folder / "run_report.html"
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert str(page) in capsys.readouterr().out


def test_an_iteration_and_a_name_may_be_chosen(folder, tmp_path, without_pictures):
    made = folder().write()
    page = report(ReportOptions(i=made.root, o=tmp_path / "new" / "page.html", iteration=1))
    text = page.read_text(encoding="utf-8")
    assert "30.00 Å" in text  # the resolution of iteration 1
    assert "10.00 Å" not in text
    assert not (made.folder / "run_report.html").exists()


def test_a_post_processing_may_be_named(folder, tmp_path, without_pictures):
    made = folder(iterations=(0,), final=False).write()
    write_postprocess(tmp_path / "post")
    page = report(ReportOptions(i=made.root, postprocess=tmp_path / "post" / "postprocess.star"))
    assert "12.00 Å" in page.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_told(folder, tmp_path, without_pictures):
    made = folder(iterations=(0,), final=False).write()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="could not be written"):
        report(ReportOptions(i=made.root, o=tmp_path / "file" / "page.html"))


def test_an_unknown_point_group_is_told(folder):
    made = folder(iterations=(0,), final=False).write()
    with pytest.raises(InputError, match="X9"):
        report(ReportOptions(i=made.root, sym="X9"))
