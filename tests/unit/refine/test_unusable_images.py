"""Particles with unusable images are left out of a run, and the run says so."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from factories.bad_input import BadInput
from factories.project import refine_options

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.pixel_checks import CONSTANT, HOT, NOT_FINITE
from relion_mpi.io.star import read_star
from relion_mpi.parallel.inline import InlineCrew
from relion_mpi.refine.hidden import ExpectationTasks
from relion_mpi.refine.messages import ExpectationTask
from relion_mpi.refine.refinement import Refinement
from relion_mpi.refine.start import make_start
from relion_mpi.refine.worker import RefineWorker

N = 300
BAD = {20: NOT_FINITE, 150: CONSTANT, 299: HOT}
SHORT = {"healpix_order": 0, "offset_range": 2.0, "auto_iter_max": 3}
POSE = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"]


class LastRecord:
    """A writer that keeps the last record; the folder of the output is there."""

    def submit(self, record):
        self.record = record

    def check(self):
        pass

    def wait(self):
        pass


@pytest.fixture
def made(tmp_path):
    """Noise in fixed half-sets."""
    made = BadInput(tmp_path, n=N)
    made.column("rlnRandomSubset", np.arange(N) % 2 + 1)
    (tmp_path / "out").mkdir()
    return made


def spoil(made, bad):
    images = made.images().copy()
    for row, flag in bad.items():
        if flag == NOT_FINITE:
            images[row, 3, 4] = np.nan
        elif flag == CONSTANT:
            images[row] = 7.0
        else:
            images[row, 5, 5] = 1e30
    made.write_images(images)


def refined(made, worker=None, **changes):
    start = make_start(refine_options(made.project, **(SHORT | changes)))
    crew, writer = InlineCrew(worker or RefineWorker()), LastRecord()
    try:
        Refinement(start, crew, writer, "").run()
    finally:
        crew.close()
    return writer.record


def listed(made):
    return read_star(made.folder / "out" / "run_quarantine.star")["quarantine"]


def test_a_run_with_unusable_images_is_that_without_these_particles(made):
    spoil(made, BAD)
    found = refined(made)
    assert listed(made)["rowInFile"].to_list() == [row + 1 for row in BAD]
    kept = ~pl.Series(np.isin(np.arange(N), list(BAD)))
    made.table = made.table.filter(kept)
    made.write()
    expected = refined(made)
    # Batches are cut elsewhere, so that the sums of the first noise spectra are rounded otherwise.
    for a, b in zip(found.model.halves, expected.model.halves, strict=True):
        np.testing.assert_array_equal(a.group_particles, b.group_particles)
        np.testing.assert_allclose(a.optics_particles, b.optics_particles, rtol=1e-6)
        np.testing.assert_allclose(a.sigma2_noise, b.sigma2_noise, rtol=1e-4)
        np.testing.assert_allclose(a.maps, b.maps, atol=1e-4 * np.abs(b.maps).max())
    mine = found.tables["particles"].filter(
        ~pl.col("rlnImageName").is_in([f"{row + 1:06d}@{made.stack}" for row in BAD])
    )
    theirs = expected.tables["particles"]
    assert mine["rlnImageName"].equals(theirs["rlnImageName"])
    same = np.isclose(mine[POSE].to_numpy(), theirs[POSE].to_numpy(), atol=1e-3).all(axis=1)
    assert same.mean() > 0.99


def test_a_batch_without_a_usable_image_adds_nothing(made):
    options = {"batch": 2, "auto_iter_max": 2}
    first = make_start(refine_options(made.project, **options))
    rows = first.particles.row_number[first.batches[5].particles] - 1
    spoil(made, dict.fromkeys(rows.tolist(), NOT_FINITE))
    found = refined(made, **options)
    assert listed(made)["rowInFile"].to_list() == sorted((rows + 1).tolist())
    assert sum(half.group_particles.sum() for half in found.model.halves) == N - 2
    for half in found.model.halves:
        assert np.isfinite(half.maps).all()
        assert np.isfinite(half.sigma2_noise).all()


def test_more_than_one_percent_end_the_run(made):
    spoil(made, dict.fromkeys(range(0, N, 20), NOT_FINITE))
    with pytest.raises(InputError, match=r"of 300 images are unusable .* expected at most 1%"):
        refined(made)
    assert listed(made).height > N // 100


def test_images_are_looked_at_in_the_first_iteration_alone(made, monkeypatch):
    spoil(made, BAD)
    looked = []

    def counted(images, n_threads):
        looked.append(len(images))
        return check(images, n_threads)

    from relion_mpi.dataset.pixel_checks import check_pixels as check

    monkeypatch.setattr("relion_mpi.refine.worker.check_pixels", counted)
    refined(made)
    assert sum(looked) == 2 * N  # for the first noise spectra, then in the first iteration


def test_a_task_says_which_particles_to_leave_out(made):
    start = make_start(refine_options(made.project))
    flags = np.zeros(N, np.uint8)
    out = start.batches[1].particles[[0, 2]]
    flags[out] = HOT
    tasks = ExpectationTasks(start.particles, start.batches, flags)
    assert tasks[0].keep is None
    keep = tasks[1].keep
    assert np.flatnonzero(~keep).tolist() == [0, 2]
    assert keep.size == tasks[1].batch.n_img


def test_a_batch_that_is_left_out_whole_is_not_read(made):
    start = make_start(refine_options(made.project))
    flags = np.full(N, HOT, np.uint8)
    task = ExpectationTasks(start.particles, start.batches, flags)[0]
    assert isinstance(task, ExpectationTask)

    class NoDevice(RefineWorker):
        def _read(self, batch):
            raise AssertionError("read")

    worker = NoDevice()
    worker._backend = type("Backend", (), {"attach": lambda self: None})()
    answer = worker.work(task, worker.prepare(task))
    assert answer.flags is None
    assert answer.value is None
