"""Progress on a terminal, in a log, and on quiet ranks."""

from __future__ import annotations

import logging

import pytest

from relion_mpi.core.progress import Progress, clock


def test_without_a_terminal_there_is_one_line_at_the_end(caplog, capsys):
    with caplog.at_level(logging.INFO), Progress(10, "Reading") as progress:
        for _ in range(10):
            progress.update()
    assert [record.getMessage() for record in caplog.records] == ["Reading: 10 of 10 in 0:00"]
    assert capsys.readouterr().err == ""


def test_a_disabled_progress_is_silent(caplog, capsys):
    with caplog.at_level(logging.INFO), Progress(2, "Reading", enabled=False) as progress:
        progress.update(2)
    assert progress.done == 2
    assert caplog.records == []
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_counts_on_one_line(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Progress(4, "Reading") as progress:
        progress.update(1)
        progress.update(3)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "Reading" in shown
    assert "4/4" in shown.split("\r")[-1]


def test_nothing_to_do_is_drawn_as_done(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    Progress(0, "Reading").close()
    assert "0/0" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "0:07"), (59.6, "1:00"), (3723, "1:02:03")])
def test_clock_reads_as_people_write_it(seconds, text):
    assert clock(seconds) == text
