"""An iteration that is saved in its middle: the same bits, whoever goes on with it."""

from __future__ import annotations

import dataclasses
import logging
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from factories.project import noise_project, refine_options

from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.parallel.inline import InlineCrew
from relion_mpi.refine.ending import EndAsked
from relion_mpi.refine.messages import ExpectationTask
from relion_mpi.refine.outputs.writer import OutputWriter
from relion_mpi.refine.refinement import Refinement
from relion_mpi.refine.saving import Saving
from relion_mpi.refine.start import make_start
from relion_mpi.refine.worker import RefineWorker

COARSE = {
    "healpix_order": 0, "offset_range": 2.0, "auto_iter_max": 3, "firstiter_cc": False,
    "batch": 20, "checkpoint_minutes": 0.0, "particle_diameter": 44.0,
}  # fmt: skip
ALWAYS = 1e-9
N_BATCH = 6


class Counting(InlineCrew):
    """Counts the batches of E-steps, and says so to whoever wants to end the run."""

    def __init__(self, end_after):
        super().__init__(RefineWorker())
        self.n_batch, self.end_after = 0, end_after

    def run(self, tasks, on_result, stop=None, **named):
        def take(index, answer):
            self.n_batch += isinstance(tasks[index], ExpectationTask)
            on_result(index, answer)

        super().run(tasks, take, stop, **named)

    def is_over(self):
        return self.n_batch >= self.end_after


def run(options, end_after=10**9):
    """Refine until so many batches were done: (refinement, batches)."""
    crew = Counting(end_after)
    try:
        with OutputWriter() as writer:
            one = Refinement(make_start(options), crew, writer, "relion-mpi", crew.is_over)
            try:
                one.run()
            except EndAsked:
                pass
    finally:
        crew.close()
    return one, crew.n_batch


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """120 particles, one of which cannot be used."""
    made = noise_project(tmp_path_factory.mktemp("project"), n=120)
    images, pixel = read_map(made.stack)
    images = images.copy()
    images[7, 3, 3] = np.nan
    write_map(made.stack, images, pixel, stack=True)
    return made


@pytest.fixture(scope="module")
def whole(project, tmp_path_factory):
    return run(options(project, tmp_path_factory.mktemp("whole")))


def options(project, folder, **changes):
    return refine_options(project, **(COARSE | {"o": folder / "run"} | changes))


def going_on(project, folder, iteration, **changes):
    at = folder / f"run_it{iteration:03d}_optimiser.star"
    return options(project, folder, continue_=at, **changes)


def same(a, b):
    for one, other in zip(a.model.halves, b.model.halves, strict=True):
        np.testing.assert_array_equal(one.maps, other.maps)
        np.testing.assert_array_equal(one.sigma2_noise, other.sigma2_noise)
        np.testing.assert_array_equal(one.orientability, other.orientability)
        assert one.log_likelihood == other.log_likelihood
    assert dataclasses.asdict(a.schedule) == dataclasses.asdict(b.schedule)
    assert a.quarantine.n_bad == b.quarantine.n_bad == 1
    for name in ("rot_deg", "origin_angst", "norm_correction", "log_likelihood"):
        np.testing.assert_array_equal(getattr(a.particles, name), getattr(b.particles, name))


def partials(folder):
    return sorted(path.name for path in folder.glob("*_partial.h5"))


@pytest.mark.parametrize(("end_after", "iteration"), [(2, 1), (9, 2), (15, 3)])
def test_an_interrupted_iteration_goes_on_where_it_was(
    project, whole, tmp_path, end_after, iteration
):
    _, n = run(options(project, tmp_path, checkpoint_minutes=ALWAYS), end_after)
    assert partials(tmp_path) == [f"run_it{iteration:03d}_partial.h5"]
    done = n - N_BATCH * (iteration - 1)
    assert 0 < done < N_BATCH
    one, n = run(going_on(project, tmp_path, iteration - 1, j=2))
    assert n == N_BATCH * (4 - iteration) - done
    same(whole[0], one)
    assert partials(tmp_path) == []


def test_saving_after_every_batch_changes_nothing_and_leaves_nothing(project, whole, tmp_path):
    one, n = run(options(project, tmp_path, checkpoint_minutes=ALWAYS))
    assert n == whole[1] == 3 * N_BATCH
    same(whole[0], one)
    assert partials(tmp_path) == []


def test_an_iteration_may_be_interrupted_again(project, whole, tmp_path):
    _, first = run(options(project, tmp_path, checkpoint_minutes=ALWAYS), N_BATCH + 1)
    _, second = run(going_on(project, tmp_path, 1, checkpoint_minutes=ALWAYS), 1)
    one, third = run(going_on(project, tmp_path, 1))
    assert 0 < second < N_BATCH
    assert first + second + third == 3 * N_BATCH
    same(whole[0], one)


def test_what_took_no_time_is_not_saved_when_the_run_ends(project, tmp_path):
    run(options(project, tmp_path), 9)
    assert partials(tmp_path) == []


@pytest.fixture
def interrupted(project, tmp_path):
    """A run that ended in the middle of its second iteration."""
    run(options(project, tmp_path, checkpoint_minutes=ALWAYS), 9)
    return SimpleNamespace(folder=tmp_path, path=tmp_path / "run_it002_partial.h5")


def test_a_broken_file_is_told_and_the_iteration_done_anew(
    project, whole, interrupted, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("relion_mpi"), "propagate", True)
    with h5py.File(interrupted.path, "r+") as file:
        file["sums/000"][0, 0, 0] += 1
    with caplog.at_level(logging.WARNING):
        one, n = run(going_on(project, interrupted.folder, 1))
    assert "run_it002_partial.h5 is not used: its content does not have the checksum" in caplog.text
    assert n == 2 * N_BATCH
    same(whole[0], one)


@pytest.mark.parametrize("changes", [{"batch": 30}, {"precision": "float64"}])
def test_other_batches_or_another_precision_begin_the_iteration_anew(
    project, interrupted, caplog, monkeypatch, changes
):
    monkeypatch.setattr(logging.getLogger("relion_mpi"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        _, n = run(going_on(project, interrupted.folder, 1, **changes))
    assert "its batches or their precision are not those of this job" in caplog.text
    assert n == 2 * (4 if "batch" in changes else N_BATCH)


def test_what_belongs_to_another_state_is_not_used(project, interrupted, tmp_path, caplog):
    other = tmp_path / "other"
    other.mkdir()
    run(options(project, other, random_seed=2, auto_iter_max=1))
    interrupted.path.rename(other / interrupted.path.name)
    _, n = run(going_on(project, other, 1, random_seed=2))
    assert n == 2 * N_BATCH


def test_under_a_new_name_the_file_beside_the_state_is_used(project, whole, interrupted, tmp_path):
    (tmp_path / "new").mkdir()
    new = going_on(project, interrupted.folder, 1, o=tmp_path / "new" / "run_ct1")
    one, n = run(new)
    assert n < 2 * N_BATCH
    same(whole[0], one)


def test_a_new_run_of_the_same_name_forgets_it(project, interrupted):
    run(options(project, interrupted.folder, auto_iter_max=1), 1)
    assert not interrupted.path.exists()


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("minutes", "seconds", "n_batch", "is_due", "is_worth_it"),
    [
        (10, 599, 9, False, True),
        (10, 600, 9, True, True),
        (10, 600, 0, False, False),  # nothing new
        (10, 19, 9, False, False),
        (0.1, 6, 1, True, True),
        (0, 1e6, 9, False, True),  # never, but when the run ends
    ],
)
def test_when_it_is_time_to_save(minutes, seconds, n_batch, is_due, is_worth_it):
    clock = Clock()
    saving = Saving(None, minutes, clock)
    clock.now = seconds
    for _ in range(n_batch):
        saving.note_batch()
    assert (saving.is_due(), saving.is_worth_it()) == (is_due, is_worth_it)


def test_a_file_that_cannot_be_written_is_told_and_the_run_goes_on(
    project, whole, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("relion_mpi"), "propagate", True)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("relion_mpi.refine.saving.write_partial", full)
    with caplog.at_level(logging.WARNING):
        one, _ = run(options(project, tmp_path, checkpoint_minutes=ALWAYS))
    assert "run_it002_partial.h5: could not be written" in caplog.text
    same(whole[0], one)
