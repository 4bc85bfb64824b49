"""The master's loop, in one process: order, batches, errors, the end."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from factories.project import noise_project, refine_options

from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.parallel.inline import InlineCrew
from relion_mpi.refine.batch_size import batch_size_for
from relion_mpi.refine.messages import AccuracyTask, ExpectationTask, NoiseTask
from relion_mpi.refine.refinement import Refinement
from relion_mpi.refine.start import make_start
from relion_mpi.refine.worker import RefineWorker


class Backwards(InlineCrew):
    """Does and returns tasks last to first, as a race of many ranks might."""

    def run(self, tasks, on_result, stop=None, **named):
        for index in reversed(range(len(tasks))):
            super().run([tasks[index]], lambda _, found, i=index: on_result(i, found))


class AllAgain(InlineCrew):
    """Loses the sums of all workers in each reduction: all is said and done a second time."""

    def __init__(self, worker):
        super().__init__(worker)
        self.said, self.done, self.n_again = [], [], 0

    def begin(self, message, arrays, **named):
        self.said.append((message, arrays))
        super().begin(message, arrays, **named)

    def run(self, tasks, on_result, stop=None, *, summed=True):
        kept = list(tasks)
        self.done += kept if summed else []
        super().run(kept, on_result, stop)

    def reduce(self, shapes):
        super().reduce(shapes)
        for message, arrays in self.said:
            super().begin(message, arrays)
        super().run(self.done, lambda index, result: None)
        self.said, self.done, self.n_again = [], [], self.n_again + 1
        return super().reduce(shapes)


class Notes:
    """A writer that keeps the records."""

    def __init__(self, fail_at=None):
        self.records, self.fail_at, self.checks = [], fail_at, 0

    def submit(self, record):
        self.records.append(record)

    def check(self):
        self.checks += 1
        if self.checks == self.fail_at:
            raise InputError("the disk is full")

    def wait(self):
        pass


COARSE = {"healpix_order": 0, "offset_range": 2.0, "auto_iter_max": 2}


def refined(project, crew=InlineCrew, writer=None, **changes):
    """Run a few coarse iterations: (records, refinement)."""
    start = make_start(refine_options(project, **(COARSE | changes)))
    made = crew(RefineWorker())
    writer = writer or Notes()
    one = Refinement(start, made, writer, "relion-mpi refine3d")
    try:
        one.run()
    finally:
        made.close()
    return writer.records, one


def same(a, b):
    for half_a, half_b in zip(a.model.halves, b.model.halves, strict=True):
        np.testing.assert_array_equal(half_a.maps, half_b.maps)
        np.testing.assert_array_equal(half_a.sigma2_noise, half_b.sigma2_noise)
        np.testing.assert_array_equal(half_a.scale, half_b.scale)
        assert half_a.log_likelihood == half_b.log_likelihood
    assert a.tables["particles"].equals(b.tables["particles"])


# Batches


@pytest.mark.parametrize(
    ("n_particles", "box", "size"),
    [
        (120, 32, 16),  # never below 16
        (2560, 128, 40),  # 64 batches
        (1_000_000, 128, 64),  # never above 64
        (1_000_000, 400, 25),  # 4 million pixels
        (1_000_000, 1200, 8),  # a box so large that 16 would be too many
    ],
)
def test_batch_size_depends_on_the_data_alone(n_particles, box, size):
    assert batch_size_for(n_particles, box) == size


def test_batches_do_not_depend_on_the_number_of_workers(tmp_path):
    project = noise_project(tmp_path, n=40)
    rows = []
    for n_workers in (1, 7):
        crew = InlineCrew(RefineWorker())
        crew.n_workers = n_workers
        start = make_start(refine_options(project))
        one = Refinement(start, crew, Notes(), "")
        rows.append([(b.half, b.particles.tolist()) for b in one.batches])
        crew.close()
    assert rows[0] == rows[1]


def test_a_batch_size_of_the_user_is_taken(tmp_path):
    start = make_start(refine_options(noise_project(tmp_path, n=40), batch=3))
    one = Refinement(start, InlineCrew(RefineWorker()), Notes(), "")
    assert max(b.particles.size for b in one.batches) == 3


# Order


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_order_of_results_leaves_no_trace(tmp_path, precision):
    project = noise_project(tmp_path, n=24)
    forth, _ = refined(project, batch=4, precision=precision)
    back, _ = refined(project, Backwards, batch=4, precision=precision)
    assert len(forth) == len(back) == 3
    for a, b in zip(forth, back, strict=True):
        same(a, b)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path):
    project = noise_project(tmp_path)
    first, second, other = (refined(project, random_seed=seed)[0][-1] for seed in (1, 1, 2))
    same(first, second)
    assert not np.array_equal(first.model.halves[0].maps, other.model.halves[0].maps)


# Iterations


def test_iteration_zero_is_recorded_before_any_search(tmp_path):
    records, _ = refined(noise_project(tmp_path))
    assert [r.iteration for r in records] == [0, 1, 2]
    assert (records[0].tables["particles"]["rlnMaxValueProbDistribution"] == 0).all()
    assert (records[1].tables["particles"]["rlnMaxValueProbDistribution"] == 1).all()  # CC


def test_a_record_does_not_change_any_more(tmp_path):
    records, one = refined(noise_project(tmp_path))
    assert records[-1].model is not one.model
    one.model.halves[0].sigma2_noise[:] = 0
    assert records[-1].model.halves[0].sigma2_noise.any()


def test_an_iteration_makes_new_maps_and_leaves_those_of_the_record_before(tmp_path):
    records, _ = refined(noise_project(tmp_path))
    for earlier, later in pairwise(records):
        before, after = (r.model.halves[0].maps for r in (earlier, later))
        assert not np.shares_memory(before, after)
        assert not np.array_equal(before, after)


def test_stopping_early_says_that_there_is_no_final_map(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        records, _ = refined(noise_project(tmp_path), auto_iter_max=1)
    assert "not converged after --auto_iter_max 1 iterations" in caplog.text
    assert records[-1].iteration == 1
    assert records[-1].joined_map is None


def test_a_settled_refinement_ends_with_an_iteration_of_all_data(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "relion_mpi.refine.schedule.Schedule.check_convergence",
        lambda self: setattr(self, "has_converged", self.best_resolution > 0) or self.has_converged,
    )
    records, _ = refined(noise_project(tmp_path), auto_iter_max=9)
    assert [r.iteration for r in records] == [0, 1, None]
    last = records[-1]
    assert last.model.current_size == 16
    assert last.joined_map.shape == (16, 16, 16)
    assert len(last.unfiltered) == 2


def test_cross_correlation_keeps_the_first_map_at_the_low_pass(tmp_path):
    project = noise_project(tmp_path)
    outer = []
    for cc in (True, False):
        changes = {"firstiter_cc": cc, "ini_high": 25.0, "flatten_solvent": False}
        records, _ = refined(project, auto_iter_max=1, **changes)
        transform = np.abs(np.fft.fftn(records[1].model.halves[0].maps[0]))
        outer.append(transform[6, 0, 0] / transform[1, 0, 0])  # 64 A / 6 = 11 A
    assert outer[0] < 0.01 < outer[1]


def test_a_writer_that_cannot_write_ends_the_iteration(tmp_path):
    writer = Notes(fail_at=2)
    with pytest.raises(InputError, match="the disk is full"):
        refined(noise_project(tmp_path), writer=writer, batch=2)
    assert len(writer.records) == 1  # iteration 1 did not finish


def test_particles_that_are_not_normalised_are_told(tmp_path, caplog):
    from relion_mpi.io.mrc import read_map, write_map

    project = noise_project(tmp_path)
    images, pixel = read_map(project.stack)
    write_map(project.stack, 40 * images + 100, pixel, stack=True)
    with caplog.at_level(logging.WARNING):
        refined(project, auto_iter_max=1, particle_diameter=30.0)
    assert "were the particles normalised at extraction?" in caplog.text


# Worker


@pytest.mark.parametrize("message", ["hello", NoiseTask])
def test_a_worker_refuses_what_it_does_not_know(message):
    with pytest.raises(TypeError, match="does not know"):
        RefineWorker().begin(message, {})


def test_a_worker_reads_no_images_for_accuracies():
    assert RefineWorker().prepare(AccuracyTask(None, (0,))) is None


def test_a_stack_that_shrank_is_named(tmp_path):
    project = noise_project(tmp_path)
    start = make_start(refine_options(project, **COARSE))
    with Path(project.stack).open("r+b") as handle:
        handle.truncate(1024 + 3 * 16 * 16 * 4)
    crew = InlineCrew(RefineWorker())
    with pytest.raises(InputError, match=r"noise\.mrcs: the file ends .* expected 12 images"):
        Refinement(start, crew, Notes(), "").run()
    crew.close()


def test_a_task_of_the_e_step_is_small(tmp_path):
    import pickle

    start = make_start(refine_options(noise_project(tmp_path, n=64)))
    one = Refinement(start, InlineCrew(RefineWorker()), Notes(), "")
    from relion_mpi.refine.hidden import ExpectationTasks

    task = ExpectationTasks(one.particles, one.batches)[0]
    assert isinstance(task, ExpectationTask)
    n = task.batch.n_img
    assert len(pickle.dumps(task)) < 2500 + 250 * n  # table values, no pixels, no grids


# Lost ranks


def test_a_worker_that_is_told_all_again_does_the_same(tmp_path, monkeypatch):
    project = noise_project(tmp_path, n=120)
    images, pixel = read_map(project.stack)
    images = images.copy()
    (tmp_path / "out").mkdir()
    last = make_start(refine_options(project, **COARSE)).batches[-1].particles[0]
    images[last, 3, 3] = np.nan
    write_map(project.stack, images, pixel, stack=True)
    # So that this image is found in the first iteration, not before.
    monkeypatch.setattr("relion_mpi.refine.first_steps.MAX_PARTICLES", 1)
    once, _ = refined(project)
    again, one = refined(project, AllAgain)
    assert one.crew.n_again == 2
    assert one.quarantine.n_bad == 1
    for a, b in zip(once, again, strict=True):
        same(a, b)
