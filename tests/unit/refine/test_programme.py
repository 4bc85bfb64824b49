"""What an iteration of auto-refine or of classification is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from factories.project import class3d_options, noise_project, refine_options

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.batches import Batch
from relion_mpi.fourier.half_ball import n_kept
from relion_mpi.fourier.shells import padded_size
from relion_mpi.model.state import Accuracy
from relion_mpi.model.statistics import Statistics
from relion_mpi.refine.class_schedule import ClassSchedule
from relion_mpi.refine.planning import Stage
from relion_mpi.refine.programme import (
    AutoRefine,
    Classification3D,
    MiniBatchClassification,
    programme_of,
    say_once,
)
from relion_mpi.refine.start import first_schedule, make_start

MASKS = (np.ones((2, 2, 2)), None)


@pytest.fixture
def project(tmp_path):
    return noise_project(tmp_path)


def stages(options, n=3):
    programme = programme_of(options, np.eye(3)[None], MASKS, 100)
    schedule = first_schedule(options, 1.0)
    return [programme.stage(i, schedule, resumed=False) for i in range(1, n + 1)]


def test_options_say_which_programme_it_is(project):
    for options, kind in (
        (refine_options(project), AutoRefine), (class3d_options(project), Classification3D)
    ):  # fmt: skip
        assert isinstance(programme_of(options, np.eye(3)[None], MASKS, 100), kind)


def test_classes_of_one_map_begin_with_one_class_and_are_seeded_next(project):
    found = stages(class3d_options(project, K=2))
    assert found == [Stage(is_cc=True, one_class=True), Stage(seeded=True), Stage()]


def test_without_cross_correlation_the_first_iteration_is_seeded(project):
    found = stages(class3d_options(project, K=2, firstiter_cc=False))
    assert found == [Stage(seeded=True), Stage(), Stage()]


@pytest.mark.parametrize("changes", [{"K": 1}, {"K": 2, "ref": Path("a.mrc,b.mrc")}])
def test_one_class_and_several_maps_are_not_seeded(project, changes):
    assert stages(class3d_options(project, **changes)) == [Stage(is_cc=True), Stage(), Stage()]


def test_kept_poses_are_kept_in_every_iteration(project):
    found = stages(class3d_options(project, skip_align=True, firstiter_cc=False))
    assert all(stage.skip_align for stage in found)


def test_subsets_are_drawn_anew_and_depend_on_the_seed_alone(project):
    batches = [Batch(i, 1, np.arange(100 * i, 100 * i + 100)) for i in range(40)]

    def left_out(iteration, **changes):
        options = class3d_options(project, fast_subsets=True, **changes)
        return programme_of(options, np.eye(3)[None], MASKS, 100).left_out(iteration, batches)

    assert (~left_out(1)).sum() == 15  # of 100 particles: 1500 a class
    np.testing.assert_array_equal(left_out(1), left_out(1))
    assert (left_out(1) != left_out(2)).any()
    assert (left_out(1) != left_out(1, random_seed=2)).any()
    assert not left_out(16).any()


def test_without_subsets_nothing_is_left_out(project):
    batches = [Batch(0, 1, np.arange(5))]
    for options in (class3d_options(project), refine_options(project)):
        assert not programme_of(options, np.eye(3)[None], MASKS, 100).left_out(1, batches).any()


def test_a_classification_begins_with_one_set_of_all_particles(project):
    start = make_start(class3d_options(project, K=3))
    assert set(start.particles.half) == {1}
    assert len(start.model.halves) == 1
    assert start.model.halves[0].maps.shape == (3, 16, 16, 16)
    assert start.model.halves[0].pdf_direction.sum() == pytest.approx(1.0)
    assert isinstance(start.schedule, ClassSchedule)
    assert start.schedule.local_sigma_deg is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skip_align": True}, "found no column rlnAngleRot"),
        ({"sigma_ang": 5.0}, "expected the angles of each particle for --sigma_ang"),
        ({"sigma_ang": 5.0, "skip_align": True}, "give one of the two"),
        ({"grad": True, "fast_subsets": True}, "both choose the particles of an iteration"),
    ],
)
def test_options_that_do_not_fit_are_refused(project, changes, message):
    with pytest.raises(InputError, match=message):
        make_start(class3d_options(project, **changes))


def warned(caplog, project, accuracy_deg, stage=Stage(), **changes):  # noqa: B008 - it is frozen
    """Whether coarse angles are warned of, and how often."""
    options = class3d_options(project, **changes)
    model = SimpleNamespace(accuracy=Accuracy(np.array([999.0, accuracy_deg]), np.zeros(2)))
    say_once.cache_clear()
    caplog.clear()
    for _ in range(2):
        programme_of(options, np.eye(3)[None], MASKS, 100)._warn_of_coarse_angles(model, stage)
    return caplog.text.count("steps of 7.5 degrees")


def test_angles_much_coarser_than_they_could_be_are_warned_of_once(project, caplog):
    assert warned(caplog, project, 2.4, K=2) == 1
    assert warned(caplog, project, 2.6, K=2) == 0
    assert warned(caplog, project, 999.0, K=2) == 0


def test_one_class_and_kept_poses_have_no_coarse_angles(project, caplog):
    assert warned(caplog, project, 1.0, K=1) == 0
    assert warned(caplog, project, 1.0, K=2, stage=Stage(skip_align=True), skip_align=True) == 0


class Seen(Classification3D):
    """Notes what the M-step is given, and does none."""

    given: ClassVar[list] = []

    def maximise(self, volumes, statistics, model, stage):
        self.given.append((volumes[0].copy(), statistics[0]))


def mini_batches(project, weights, **changes):
    """What the M-step gets in iterations whose sums are of these class weights."""
    Seen.given.clear()
    options = class3d_options(project, grad=True, **{"iter": 50, "K": 2} | changes)
    one = MiniBatchClassification(options, Seen(options, np.eye(3)[None], MASKS), 10_000)
    schedule = first_schedule(options, 1.0)
    maps = np.stack([np.full((8, 8, 8), k + 1.0) for k in range(options.K)])
    model = SimpleNamespace(current_size=8, halves=[SimpleNamespace(maps=maps)])
    for iteration, weight in enumerate(weights, 1):
        sums = Statistics.empty(1, 5, 1, options.K, 3)
        sums.class_weight[:] = weight
        rows = np.ones((options.K, n_kept(padded_size(4, options.pad)), 3))
        rows *= np.array(weight)[:, None, None]
        stage = one.stage(iteration, schedule, resumed=False)
        one.maximise([rows], [sums], model, stage)
    return [(rows[:, 0, 0].tolist(), s.class_weight.tolist()) for rows, s in Seen.given], model


def test_sums_fade_but_those_of_cross_correlation_are_forgotten_at_once(project):
    given, _ = mini_batches(project, [[8, 8], [4, 4], [2, 2]])
    assert given == [([8, 8], [8, 8]), ([4, 4], [4, 4]), ([4, 4], [4, 4])]
    given, _ = mini_batches(project, [[8, 8], [4, 4]], firstiter_cc=False)
    assert given[1] == ([8, 8], [8, 8])


def test_a_class_without_particles_takes_over_those_of_the_largest(project):
    given, model = mini_batches(project, [[60, 60], [100, 50], [100, 0], [100, 0], [50, 0]])
    assert given[3][1] == [175, 12.5]
    # 137.5 and 6.25 at last: less than 0.1 of the mean of 71.9; the first one gives its last 50.
    assert given[4][1] == [87.5, 50]
    assert (model.halves[0].maps[1] == 1).all()
    _, model = mini_batches(
        project, [[60, 60], [100, 0], [100, 0]], class_inactivity_threshold=0.0
    )
    assert (model.halves[0].maps[1] == 2).all()


def test_mini_batches_are_reported_now_and_then_and_at_the_end(project):
    options = class3d_options(project, grad=True, iter=25, firstiter_cc=False)
    one = programme_of(options, np.eye(3)[None], MASKS, 1000)
    schedule = first_schedule(options, 1.0)
    stages = [one.stage(i, schedule, resumed=False) for i in range(1, 26)]
    assert [i for i, stage in enumerate(stages, 1) if stage.reported] == [10, 20, 25]
