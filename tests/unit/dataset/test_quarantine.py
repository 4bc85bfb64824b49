"""The master's list of unusable particles."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from factories.bad_input import BadInput

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.particles import read_particles
from relion_mpi.dataset.pixel_checks import CONSTANT, HOT, NOT_FINITE
from relion_mpi.dataset.quarantine import Quarantine
from relion_mpi.io.star import read_star

N = 400


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """400 particles whose rows in the file are in reverse: sorting moves every row."""
    bad = BadInput(tmp_path_factory.mktemp("set"), n=N)
    bad.table = bad.table.reverse()
    bad.write()
    return read_particles(bad.star)


def flags(**by_row):
    out = np.zeros(N, np.uint8)
    for row, flag in by_row.items():
        out[int(row[1:])] = flag
    return out


def test_particles_are_listed_with_row_of_the_file_name_and_reason(particles, tmp_path):
    path = tmp_path / "run_quarantine.star"
    found = Quarantine(particles, path)
    found.add(np.arange(N), flags(r0=NOT_FINITE, r399=HOT))
    found.write()
    table = read_star(path)["quarantine"]
    names = particles.frame["rlnImageName"]
    file_rows = [int(particles.row_number[row]) for row in (0, 399)]
    listed = dict(zip(table["rowInFile"], table["rlnImageName"], strict=True))
    assert listed == {file_rows[0]: names[0], file_rows[1]: names[399]}
    assert table["rowInFile"].is_sorted()
    reasons = dict(zip(table["rowInFile"], table["rlnComment"], strict=True))
    assert reasons[file_rows[0]] == "NaN or infinite pixels"
    assert "rlnMicrographName" in table.columns


def test_the_first_is_told_and_the_same_again_is_not(particles, caplog):
    found = Quarantine(particles, None)
    with caplog.at_level(logging.WARNING):
        found.add(np.array([3, 5]), np.array([0, CONSTANT], np.uint8))
        found.add(np.array([5]), np.array([CONSTANT], np.uint8))
        found.add(np.array([9]), np.array([HOT], np.uint8))
    assert found.n_bad == 2
    assert len(caplog.records) == 1
    assert particles.frame["rlnImageName"][5] in caplog.text
    assert f"row {particles.row_number[5]}" in caplog.text


def test_one_per_cent_is_borne_and_more_ends_the_run_with_the_list_written(particles, tmp_path):
    path = tmp_path / "run_quarantine.star"
    found = Quarantine(particles, path)
    found.add(np.arange(4), np.full(4, HOT, np.uint8))
    assert not path.exists()
    with pytest.raises(InputError, match=r"5 of 400 images are unusable \(1 x NaN.*4 x a pixel"):
        found.add(np.array([7]), np.array([NOT_FINITE], np.uint8))
    assert read_star(path)["quarantine"].height == 5


def test_kept_rows_are_those_not_listed(particles):
    found = Quarantine(particles, None)
    found.add(np.array([2, 4]), np.array([HOT, 0], np.uint8))
    assert found.kept(np.array([4, 2, 1])).tolist() == [4, 1]


def test_nothing_is_written_while_nothing_is_bad(particles, tmp_path):
    found = Quarantine(particles, tmp_path / "q.star")
    found.add(np.arange(N), np.zeros(N, np.uint8))
    found.write()
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_an_earlier_run_does_not_stay(particles, tmp_path):
    path = tmp_path / "run_quarantine.star"
    path.touch()
    Quarantine(particles, path).write()
    assert not path.exists()


def test_what_is_taken_from_a_worker_comes_back_without_the_bad(particles):
    found = Quarantine(particles, None)
    assert found.take(np.array([1, 2]), np.array([HOT, 0], np.uint8)).tolist() == [2]
    assert found.take(np.array([1, 3]), None).tolist() == [3]
