"""The line an iteration leaves in the log."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from relion_mpi.model.state import Accuracy
from relion_mpi.model.statistics import Statistics
from relion_mpi.refine.schedule import Changes, Schedule
from relion_mpi.refine.table import HEADER, REPEAT_HEADER_EVERY, IterationTable, class_line


def call(table, iteration=3, **changes):
    halves = [SimpleNamespace(ave_pmax=0.4), SimpleNamespace(ave_pmax=0.6)]
    model = SimpleNamespace(
        current_resolution=1 / 12.5, current_size=44, halves=halves,
        accuracy=Accuracy(np.array([1.23]), np.array([0.87])), n_class=1,
    )  # fmt: skip
    schedule = Schedule(3, 1, 10.0, 3.0, 0.5, 4, **changes)
    statistics = [Statistics.empty(1, 5, 1, 1, 1) for _ in range(2)]
    for one in statistics:
        one.totals[4:7] = 10, 250, 40
    seconds = {"E-step": 3.0, "reduce": 0.25, "M-step": 0.5, "write": 0.125, "total": 4.0}
    ranks = {1: {"prepare_wait": 0.5}, 2: {"prepare_wait": 1.0}}
    table.line(iteration, model, schedule, statistics, seconds, ranks)


def test_the_line_has_a_number_below_every_heading(caplog):
    with caplog.at_level(logging.INFO):
        call(IterationTable(), local_sigma_deg=7.5)
    header, line = caplog.messages
    assert header == HEADER
    cells = line.replace("|", " ").split()
    names = header.splitlines()[0].replace("|", " ").split()
    row = dict(zip(names, cells, strict=True))
    assert row == {
        "iter": "3", "resol": "12.50", "size": "44", "angle": "3.75", "offset": "1.5",
        "local": "7.5", "Pmax": "0.500", "acc.rot": "1.23", "acc.trans": "0.87",
        "signif": "4.0", "slices": "25.0", "read": "1.00", "E-step": "2.00", "reduce": "0.25",
        "M-step": "0.50", "write": "0.12", "total": "4.0",
    }  # fmt: skip


def test_global_searches_have_a_dash(caplog):
    with caplog.at_level(logging.INFO):
        call(IterationTable())
    assert caplog.messages[1].split()[5] == "-"


def test_numbers_end_where_their_headings_end(caplog):
    with caplog.at_level(logging.INFO):
        call(IterationTable())
    header, line = caplog.messages
    assert line.index("|") == header.splitlines()[0].index("|")


@pytest.mark.parametrize("n", [1, REPEAT_HEADER_EVERY, REPEAT_HEADER_EVERY + 1])
def test_the_header_comes_back_now_and_then(caplog, n):
    table = IterationTable()
    with caplog.at_level(logging.INFO):
        for _ in range(n):
            call(table)
    assert caplog.messages.count(HEADER) == -(-n // REPEAT_HEADER_EVERY)


def test_classes_have_a_line_with_their_sizes_and_the_share_that_changed():
    line = class_line(np.array([0.341, 0.33, 0.329]), Changes(1.0, 2.0, 0.1234))
    assert line.strip() == "classes 34.1 33.0 32.9 %, changed 12.3 %"


def test_many_classes_take_several_lines():
    lines = class_line(np.full(50, 0.02), None).splitlines()
    assert len(lines) == 3
    assert max(len(line) for line in lines) <= 100
    assert " ".join(lines).split().count("2.0") == 50


def test_one_class_has_no_line(caplog):
    with caplog.at_level(logging.INFO):
        call(IterationTable())
    assert not any("classes" in message for message in caplog.messages)
