"""The fits and the model of scaling, which programs under benchmarks/ use."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys

import numpy as np
import pytest
from factories.benchmark_runs import MPIEXEC, ROOT, needs_mpiexec, run

SCALING = ROOT / "benchmarks" / "scaling"


def load(*names):
    """Import files of benchmarks/scaling, which is no package."""
    sys.path.insert(0, str(SCALING))
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(SCALING))


fits, model, predict = load("fits", "model", "predict")

SECONDS = {"load": 0.1, "accuracy": 0.2, "E-step": 5.06, "reduce": 0.3, "M-step": 0.4}


def job(**changes):
    plain = model.Job(
        name="made up", n_particles=102_400, box=64, n_class=1, n_half=2, current_size=64,
        batch=2048, seconds=dict(SECONDS), start_s=0.06,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def test_amdahl_finds_a_known_serial_share_and_what_a_doubling_adds():
    n = np.array([1, 2, 4, 8, 16])
    found = fits.strong(n, 2.0 + 8.0 / n + 0.05 * np.log2(n))
    assert found.serial_share == pytest.approx(0.2)
    assert found.doubling_s == pytest.approx(0.05)
    assert found.seconds(32) == pytest.approx(2.5)


def test_two_runs_give_serial_and_parallel_alone():
    found = fits.strong([1, 2], [10.0, 6.0])
    assert (found.serial_s, found.parallel_s) == pytest.approx((2.0, 8.0))
    assert found.doubling_s is None


def test_gustafson_finds_a_known_serial_share():
    n = np.array([1, 2, 4, 8])
    found = fits.weak(n, 3.0 * n / (0.1 + 0.9 * n))
    assert found.serial_share == pytest.approx(0.1)


def test_gustafson_counts_from_the_fewest_workers():
    n = np.array([2, 4, 8])
    found = fits.weak(n, np.full(3, 5.0))
    assert found.serial_share == pytest.approx(0.0, abs=1e-12)
    assert found.base_s == pytest.approx(5.0)


def test_what_messages_took_is_a_base_and_so_much_for_every_doubling():
    n = np.array([3, 6, 12, 24])
    assert fits.communication(n, [0.2, 0.25, 0.3, 0.35]) == pytest.approx((0.2, 0.05))


def test_runs_on_one_number_of_workers_are_refused():
    with pytest.raises(ValueError, match="at least two"):
        fits.strong([4, 4], [1.0, 1.1])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("reduce_s", [0.3, 0.0001])
def test_a_prediction_for_what_was_measured_is_the_measurement(workers, reduce_s):
    seconds = SECONDS | {"reduce": reduce_s}
    found = model.predict(job(workers=workers, seconds=seconds), workers)
    assert {name: found.seconds[name] for name in seconds} == pytest.approx(seconds)


def test_two_gpus_halve_all_of_an_e_step_but_its_start():
    found = model.predict(job(), 2)
    assert found.seconds["E-step"] == pytest.approx(0.06 + 2.5)
    assert found.seconds["M-step"] == SECONDS["M-step"]


def test_no_end_of_gpus_leaves_what_is_serial():
    """One batch each, or rank 0's dispatch where that is longer; the rest does not shrink."""
    free = model.Links(command_s=0.0, inter_gb_s=1e9, add_gb_s=1e9, meet_s=0.0)
    batch_s = 5.0 / 50
    found = model.predict(job(), 1024, free)
    assert found.seconds["E-step"] == pytest.approx(0.06 + batch_s)
    slow = model.predict(job(), 1024, free, rank_0=model.Rank0(particle_s=1e-5, batch_s=0.0))
    assert slow.seconds["E-step"] == pytest.approx(102_400 * 1e-5)
    assert slow.limit == "rank 0 hands out batches"
    for name in ("accuracy", "M-step"):
        assert found.seconds[name] == SECONDS[name]


def test_fewer_batches_than_gpus_are_the_limit_and_smaller_ones_the_way_out():
    quick = dict.fromkeys(("load", "accuracy", "reduce", "M-step"), 0.001)
    large = job(seconds=quick | {"E-step": 50.06})
    assert model.predict(large, 8).limit == "the work of the E-step"
    assert model.predict(large, 128).limit == "50 batches for 128 GPUs"
    better = model.best_batch(large, 128)
    assert better.batch < 2048
    assert better.total_s < model.predict(large, 128).total_s / 1.5


def test_efficiency_never_exceeds_one_and_falls():
    shares = [model.efficiency(job(), model.predict(job(), n)) for n in (1, 2, 8, 64, 512)]
    assert shares[0] == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)


def test_a_tree_takes_a_level_where_relion_s_chain_takes_two_hops_a_rank():
    links = model.Links(
        per_node=1, inter_gb_s=1.0, add_gb_s=1e9, intra_gb_s=1e9, node_gb_s=1e9, meet_s=0.0
    )
    assert model.tree_s(1e9, 16, links, add=True) == pytest.approx(4, rel=1e-6)
    assert model.chain_s(1e9, 16, 1, links) == pytest.approx(2 * 15, rel=1e-6)
    # two half-sets: chains half as long with half as much, side by side
    assert model.chain_s(1e9, 16, 2, links) == pytest.approx(2 * 7 / 2, rel=1e-6)
    assert model.segments_s(1e9, 16, links, add=True) == pytest.approx(2 * 15 / 16, rel=1e-6)


def test_files_cost_only_what_they_take_longer_than_the_next_iteration():
    short = model.predict(job(seconds=SECONDS | {"write": 1.0}), 1)
    assert short.seconds["write"] == 0
    many = model.predict(job(seconds=SECONDS | {"write": 5.0}), 512)
    assert many.total_s == pytest.approx(5.0)
    assert many.limit == "files of the iteration before"


def test_sums_have_the_bytes_of_the_shapes_that_are_reduced():
    from relion_mpi.fourier.half_ball import n_kept

    # current size 64 at padding 2: a cube of 2 (2 * 32 + 1) + 1
    assert job(n_class=3).sum_bytes == 2 * 3 * n_kept(131) * 3 * 8


def test_more_gpus_are_predicted_from_one():
    """Within 10 %, as benchmarks/README.md says; no worse."""
    jobs = predict.study_jobs(predict.MEASURED)
    gpu = {key for key in jobs if "gpu" in key[0]}
    assert {workers for _, workers in gpu} == {1, 2, 4}
    for name, workers in gpu:
        measured = predict.job_total(jobs[name, workers])
        predicted = model.predict(jobs[name, 1], workers).total_s
        assert predicted == pytest.approx(measured, rel=0.1)


def test_the_batches_of_a_study_are_those_that_were_counted(tmp_path):
    row = {
        "name": "made up", "n": 200, "box": 32, "classes": 1, "halves": 2, "batch": 16,
        "batches": 14.0, "current_size": [30, 32], "workers": 2, "where": "cpu",
        "seconds": {"load": 0.1, "E-step": 0.7, "reduce": 0.1, "total": 1.0},
        "rank_0_s": {"write": 0.05},
    }  # fmt: skip
    (tmp_path / "runs.jsonl").write_text(json.dumps(row) + "\n")
    [found] = predict.study_jobs(tmp_path / "runs.jsonl").values()
    assert predict.job_total(found) == pytest.approx(1.0)
    # 14 batches are 7 rounds of two workers, 14 are one round
    assert model.predict(found, 14).seconds["E-step"] == pytest.approx(0.1)


@needs_mpiexec
def test_every_way_to_reduce_gives_the_known_sum(tmp_path):
    """The program checks the sums itself, and ends all ranks if one is wrong."""
    out = tmp_path / "reduce.jsonl"
    words = ["--boxes", "16,20", "--repeats", "1", "--out", out]
    run("scaling/reduce.py", words, [MPIEXEC, "-n", "3"])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    done = {(row["way"], row["box"]) for row in rows if row["best_s"] > 0}
    ways = ("shared memory", "chunked", "double buffer", "one message", "chain")
    assert done == {(way, box) for way in ways for box in (16, 20)}
