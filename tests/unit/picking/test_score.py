"""One-to-one matching, and the program that prints precision and recall."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import polars as pl
import pytest

from relion_mpi.cli import main as command_line
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.picking.matching import Coordinates, counts_at, curve, n_pairs


def brute_force(truth, picks, cutoff):
    """Try all assignments of a few picks."""
    near = np.hypot(*(truth[:, None] - picks[None]).transpose(2, 0, 1)) <= cutoff
    if len(picks) > len(truth):
        near = near.T
    return max(
        sum(near[row, k] for k, row in enumerate(order))
        for order in permutations(range(near.shape[0]), near.shape[1])
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_most_pairs_are_found(seed):
    rng = np.random.default_rng(seed)
    truth, picks = rng.uniform(0, 10, (6, 2)), rng.uniform(0, 10, (5, 2))
    assert n_pairs(truth, picks, 3.0) == brute_force(truth, picks, 3.0)


def test_a_chain_that_the_nearest_pick_would_break_is_matched_whole():
    truth = np.array([[0.0, 0.0], [10.0, 0.0]])
    picks = np.array([[6.0, 0.0], [14.0, 0.0]])  # the first pick is nearer to the second particle
    assert n_pairs(truth, picks, 7.0) == 2


def test_two_picks_of_one_particle_are_one_pair():
    picks = np.array([[5.0, 4.0], [5.0, 6.0]])
    one = Coordinates(np.array([[5.0, 5.0]]), picks, np.array([2.0, 1.0]))
    counts = counts_at([one], -np.inf, 2.0)
    assert (counts.precision, counts.recall, counts.fdr) == (0.5, 1.0, 0.5)
    assert counts.f1 == pytest.approx(2 / 3)
    assert counts_at([one], 1.5, 2.0).precision == 1.0


def test_a_curve_has_the_counts_of_every_threshold():
    one = Coordinates(np.zeros((1, 2)), np.array([[0.0, 0.0], [50.0, 0.0]]), np.array([0.9, 0.3]))
    thresholds, counts = curve([one], 5.0)
    assert thresholds.tolist() == [0.3, 0.9]
    assert [(c.n_pick, c.n_pair) for c in counts] == [(2, 1), (1, 1)]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two micrographs: of 4 particles 3 picked, of 3 picks one wrong; one particle at the edge."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job" / "mics").mkdir(parents=True)
    write_map("a.mrc", np.zeros((100, 120), np.float32), 1.0)
    write_map("b.mrc", np.zeros((100, 120), np.float32), 1.0)
    names = pl.DataFrame({"rlnMicrographName": ["a.mrc", "b.mrc"]})
    write_star("mics.star", {"micrographs": names})

    def coordinates(path, rows, merit=None):
        x, y = zip(*rows, strict=True) if rows else ((), ())
        columns = {"rlnCoordinateX": list(map(float, x)), "rlnCoordinateY": list(map(float, y))}
        if merit is not None:
            columns["rlnAutopickFigureOfMerit"] = merit
        write_star(path, {"": pl.DataFrame(columns)})

    coordinates("a_truth.star", [(20, 30), (60, 60), (119, 50)])
    coordinates("b_truth.star", [(50, 50)])
    coordinates("job/mics/a_autopick.star", [(22, 31), (61, 60), (90, 20)], [0.9, 0.8, 0.2])
    return tmp_path


def run(*words):
    return command_line.main(["pick-score", "--truth", "a_truth.star", "b_truth.star", "--picks",
                              "job", "--cutoff", "5", *words])  # fmt: skip


def test_one_line_is_printed(files, capsys):
    assert run() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "precision 0.6667 recall 0.5000 fdr 0.3333 f1 0.5714"


def test_a_threshold_and_the_best_one(files, capsys):
    run("--threshold", "0.5")
    run("--best")
    said = capsys.readouterr().out.splitlines()
    assert said.count("precision 1.0000 recall 0.5000 fdr 0.0000 f1 0.6667") == 2
    assert "best threshold 0.8000" in said


def test_a_border_is_left_out_of_both_counts(files, capsys):
    run("--border", "10", "--i", "mics.star")
    assert "precision 0.6667 recall 0.6667" in capsys.readouterr().out


def test_the_curve_is_written(files):
    run("--o", "out/curve")
    table = read_star("out/curve.star")["pick_score"]
    assert table["rlnAutopickFigureOfMerit"].to_list() == [0.2, 0.8, 0.9]
    assert table["recall"].to_list() == [0.5, 0.5, 0.25]
    assert pl.read_csv("out/curve.csv").equals(table)
    assert (files / "out" / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--border", "3"), "--i"), (("--pickname", "manual"), "_manual.star")],
)
def test_what_is_missing_is_told(files, capsys, words, said):
    assert run(*words) == 1
    text = capsys.readouterr().err
    assert said in text
    assert "Traceback" not in text
