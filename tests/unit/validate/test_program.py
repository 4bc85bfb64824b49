"""The checks alone: the table, the status, the list of images."""

from __future__ import annotations

import logging
import sys
import threading

import numpy as np
import polars as pl
import pytest
from factories.bad_input import BadInput

from relion_mpi.cli import main as command_line
from relion_mpi.cli.validate import spelt
from relion_mpi.doctor.table import State
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import read_star
from relion_mpi.validate.options import ValidateOptions
from relion_mpi.validate.program import judge


@pytest.fixture
def bad(tmp_path):
    return BadInput(tmp_path, n=300)


@pytest.fixture(autouse=True)
def _hooks():
    hooks = sys.excepthook, threading.excepthook
    yield
    sys.excepthook, threading.excepthook = hooks


def lines(bad, state=None, **changes):
    """Lines as (topic, found, mend), of one state if it is given."""
    found = judge(ValidateOptions(**({"i": bad.star, "j": 1} | changes)))
    return [(x.topic, x.found, x.mend) for x in found.lines if state in (None, x.state)]


def test_a_good_set_has_no_problem_and_no_note(bad):
    found = judge(ValidateOptions(i=bad.star, ref=bad.reference, full=True, j=2))
    assert {line.state for line in found.lines} == {State.OK}
    topics = [line.topic for line in found.lines]
    assert topics == [
        "symmetry", "particles", "half-sets", "options", "reference", "sample", "images"
    ]  # fmt: skip
    assert "300 particles in 1 stack(s)" in found.lines[1].found


def test_a_refusal_of_a_run_is_a_problem_with_its_cure(bad):
    bad.cell("rlnImageName", 4, "noise.mrcs")
    ((topic, found, mend),) = lines(bad, State.PROBLEM)
    assert topic == "particles"
    assert found.startswith(str(bad.star))
    assert "row 4: rlnImageName is 'noise.mrcs'" in found
    assert mend == "correct the name"


def test_a_warning_of_a_run_is_a_note_and_goes_nowhere_else(bad, caplog):
    bad.column("rlnRandomSubset", 1)
    with caplog.at_level(logging.WARNING):
        ((topic, found, mend),) = lines(bad, State.NOTE)
    assert (topic, mend) == ("half-sets", "half-sets are drawn anew")
    assert "rlnRandomSubset is 1 for every particle" in found
    assert caplog.records == []


def test_one_problem_does_not_hide_the_next(bad, tmp_path):
    write_map(tmp_path / "mask.mrc", np.full((16, 16, 16), 2.0), 4.0)
    problems = lines(
        bad, State.PROBLEM, sym="Q", particle_diameter=100.0, ref=tmp_path / "no.mrc",
        mask=tmp_path / "mask.mrc",
    )  # fmt: skip
    assert [topic for topic, _, _ in problems] == ["symmetry", "options", "reference", "mask"]


def test_without_a_readable_table_the_rest_is_left_out(bad):
    bad.star.write_text("")
    assert [topic for topic, _, _ in lines(bad)] == ["symmetry", "particles"]


def test_a_background_that_is_not_normalised_is_a_note(bad):
    bad.write_images(100 + 12 * bad.images())
    ((topic, found, _),) = lines(bad, State.NOTE)
    assert topic == "sample"
    assert "optics group a: the background has mean 100" in found


def spoilt(bad, *rows):
    images = bad.images()
    for row in rows:
        images[row - 1, 3, 3] = np.nan
    bad.write_images(images)


def test_full_finds_what_the_sample_does_not(bad):
    # Row 2 is not one of the 100 evenly spaced ones.
    spoilt(bad, 2)
    assert lines(bad, State.NOTE) == []
    found = lines(bad, State.NOTE, full=True)
    name = bad.table["rlnImageName"][1]
    assert ("unusable", f"row 2: {name}: NaN or infinite pixels", "") in found
    assert not lines(bad, State.PROBLEM, full=True)


def test_more_than_one_per_cent_is_a_problem_and_all_are_written(bad, tmp_path):
    spoilt(bad, *range(50, 90))
    found = judge(ValidateOptions(i=bad.star, full=True, o=tmp_path / "new" / "x", j=2))
    assert any("40 of 300 images are unusable" in line.found for line in found.lines)
    assert found.has_problem
    listed = read_star(tmp_path / "new" / "x_quarantine.star")["quarantine"]
    assert listed["rowInFile"].to_list() == list(range(50, 90))
    shown = [line.found for line in found.lines if line.topic == "unusable"]
    assert len(shown) == 21
    assert "all 40 are in" in shown[-1]


@pytest.mark.parametrize(("rows", "status"), [(300, 0), (1, 1)])
def test_the_status_is_1_where_a_run_would_be_refused(bad, capsys, rows, status):
    bad.table = bad.table.head(rows)
    bad.write()
    assert command_line.main(["validate", str(bad.star), "--j", "1"]) == status
    shown = capsys.readouterr()
    assert ("No problem." in shown.out) == (status == 0)
    assert shown.err == ""


def test_the_flag_of_the_file_may_be_left_out():
    assert spelt(["p.star", "--full"]) == ["--i", "p.star", "--full"]
    assert spelt(["--full", "--i", "p.star"]) == ["--full", "--i", "p.star"]


def test_old_tables_are_checked_as_they_are_read(bad):
    bad.table = bad.table.with_columns(pl.lit(1.0).alias("rlnOriginX"))
    bad.old()
    assert "4 A a pixel" in dict((t, f) for t, f, _ in lines(bad))["particles"]
