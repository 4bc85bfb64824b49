"""Every warning is heard where it should be, and a sound run has none."""

from __future__ import annotations

import numpy as np
import pytest
from factories.run_folder import (
    N_SHELL,
    even_angles,
    falling_fsc,
    particle_table,
    write_postprocess,
)

from relion_mpi.io.star import write_star
from relion_mpi.report.findings import find_all
from relion_mpi.report.findings.finding import Level
from relion_mpi.report.gather.state import State


def names(run):
    return {finding.name for finding in find_all(run)}


def level(run, name):
    return next(finding.level for finding in find_all(run) if finding.name == name)


def from_the_top(n, spread_deg):
    rng = np.random.default_rng(2)
    return rng.uniform(-180, 180, n), np.abs(spread_deg * rng.normal(size=n))


@pytest.mark.parametrize("kind", ["refine3d", "class3d", "class2d", "initialmodel"])
def test_a_sound_run_has_none(folder, gathered, kind):
    assert names(gathered(folder(kind))) == set()


def test_a_sound_post_processing_has_none(folder, gathered):
    made = folder()
    write_postprocess(made.folder)
    assert names(gathered(made)) == set()


def test_views_from_one_side_are_a_problem(folder, gathered):
    made = folder()
    rot, tilt = from_the_top(300, 10.0)
    made.particles = particle_table(rlnAngleRot=rot, rlnAngleTilt=tilt)
    assert level(gathered(made), "preferred orientation") is Level.PROBLEM


def test_rare_views_are_worth_a_note(folder, gathered):
    made = folder()
    rot, tilt = from_the_top(3000, 25.0)
    few = np.arange(3000) % 6 == 0
    some = even_angles(3000)
    made.particles = particle_table(
        3000, rlnAngleRot=np.where(few, some[0], rot), rlnAngleTilt=np.where(few, some[1], tilt)
    )
    assert level(gathered(made), "preferred orientation") is Level.NOTE


def test_views_are_not_judged_where_symmetry_is_unknown_or_nothing_was_searched(folder, gathered):
    made = folder(iterations=(0,), final=False)
    made.particles = particle_table(rlnAngleRot=np.zeros(300), rlnAngleTilt=np.zeros(300))
    assert "preferred orientation" not in names(gathered(made))


def test_symmetry_may_make_up_for_it(folder, gathered):
    made = folder()
    rot, tilt = from_the_top(300, 10.0)
    made.symmetry = "O"
    made.particles = particle_table(rlnAngleRot=rot + 20.0, rlnAngleTilt=tilt + 40.0)
    assert "preferred orientation" not in names(gathered(made))


def test_a_mask_that_correlates_by_itself_is_too_tight(folder, gathered):
    made = folder()
    write_postprocess(made.folder, random_at_end=0.25)
    assert level(gathered(made), "tight mask") is Level.PROBLEM


def test_a_mask_is_not_judged_before_phases_are_random(folder, gathered):
    made = folder()
    write_postprocess(made.folder, random_at_end=0.25, resolution=30.0)
    assert "tight mask" not in names(gathered(made))


def test_an_image_in_both_halves_is_a_problem(folder, gathered):
    made = folder()
    images = particle_table()["rlnImageName"].to_list()
    images[1] = images[0]
    made.particles = particle_table(rlnImageName=images)
    assert level(gathered(made), "halves not independent") is Level.PROBLEM


def test_an_image_twice_in_one_half_is_not(folder, gathered):
    made = folder()
    images = particle_table()["rlnImageName"].to_list()
    images[2] = images[0]
    made.particles = particle_table(rlnImageName=images)
    assert "halves not independent" not in names(gathered(made))


@pytest.mark.parametrize(("away_angst", "heard"), [(4.0, True), (9.0, False)])
def test_a_particle_picked_twice_is_found_by_its_place(folder, gathered, away_angst, heard):
    # the limit is a tenth of the diameter, 60 A
    made = folder()
    x = 300.0 * np.arange(300)
    y = 200.0 * np.arange(300)
    x[5], y[5] = x[0] + away_angst / 3.0, y[0]
    micrographs = [f"mic{i % 4}.mrc" for i in range(300)]
    micrographs[5] = micrographs[0]
    made.particles = particle_table(
        rlnCoordinateX=x, rlnCoordinateY=y, rlnMicrographName=micrographs
    )
    assert ("halves not independent" in names(gathered(made))) is heard


def test_the_same_place_on_another_micrograph_is_another_particle(folder, gathered):
    made = folder()
    x = 300.0 * np.arange(300)
    y = 200.0 * np.arange(300)
    x[5], y[5] = x[0], y[0]
    made.particles = particle_table(rlnCoordinateX=x, rlnCoordinateY=y)
    assert "halves not independent" not in names(gathered(made))


def test_half_sets_of_unequal_size_are_worth_a_note(folder, gathered):
    made = folder()
    made.particles = particle_table(rlnRandomSubset=np.where(np.arange(300) < 80, 1, 2))
    assert level(gathered(made), "unequal halves") is Level.NOTE


def test_an_fsc_that_rises_again_is_a_problem(folder, gathered):
    made = folder()
    made.fsc = falling_fsc(0.4)
    made.fsc[-4:] = 0.5
    assert level(gathered(made), "fsc rises again") is Level.PROBLEM


def test_noise_of_an_fsc_after_its_fall_is_not(folder, gathered):
    made = folder()
    made.fsc = falling_fsc(0.4)
    made.fsc[-3:] += [0.2, -0.2, 0.15]
    assert "fsc rises again" not in names(gathered(made))


def test_an_fsc_that_does_not_fall_is_limited_by_the_pixels(folder, gathered):
    made = folder()
    made.fsc = np.linspace(1.0, 0.5, N_SHELL)
    assert level(gathered(made), "nyquist") is Level.NOTE


def test_particles_without_weight_are_a_problem(folder, gathered):
    made = folder()
    made.particles = particle_table(
        rlnMaxValueProbDistribution=np.where(np.arange(300) < 7, 0.0, 0.5)
    )
    found = [one for one in find_all(gathered(made)) if one.name == "zero weight"]
    assert [one.title for one in found] == ["7 particles have no weight"]


def test_mini_batches_leave_particles_without_weight_for_a_while(folder, gathered):
    made = folder("initialmodel")
    made.particles = particle_table(
        rlnMaxValueProbDistribution=np.where(np.arange(300) < 7, 0.0, 0.5)
    )
    assert "zero weight" not in names(gathered(made))


def test_particles_that_were_left_out_are_counted_once(folder, gathered):
    made = folder()
    made.particles = particle_table(
        rlnMaxValueProbDistribution=np.where(np.arange(300) < 7, 0.0, 0.5)
    )
    made.folder.mkdir(parents=True)
    write_star(made.folder / "run_quarantine.star", {"quarantine": made.particles[:7]})
    found = names(gathered(made))
    assert "left out" in found
    assert "zero weight" not in found


def test_particles_far_off_centre_are_worth_a_note(folder, gathered):
    made = folder()
    made.particles = particle_table(rlnOriginXAngst=np.where(np.arange(300) < 30, 25.0, 0.0))
    assert level(gathered(made), "far off centre") is Level.NOTE


def test_odd_defoci_are_worth_a_note(folder, gathered):
    made = folder()
    made.particles = particle_table(rlnDefocusU=np.full(300, -1e4), rlnDefocusV=np.full(300, -1e4))
    assert level(gathered(made), "odd defocus") is Level.NOTE


def test_uncertain_poses_are_worth_a_note(folder, gathered):
    made = folder()
    made.pmax = 0.02
    assert level(gathered(made), "low pmax") is Level.NOTE


def test_empty_classes_and_one_that_took_all_are_worth_a_note(folder, gathered):
    made = folder("class3d")
    made.shares = np.array([0.97, 0.03, 0.0])
    assert names(gathered(made)) == {"empty classes", "one class"}


def test_classes_that_have_not_settled_are_worth_a_note(folder, gathered):
    made = folder("class3d")
    made.changed_classes = 0.2
    assert names(gathered(made)) == {"classes change"}


def test_a_running_classification_need_not_have_settled(folder, gathered):
    made = folder("class3d")
    made.changed_classes = 0.2
    assert names(gathered(made, state=State.RUNNING)) == set()


def test_workers_that_wait_are_worth_a_note_in_long_iterations_only(folder, gathered):
    made = folder()
    made.ranks = {
        rank: {"particles": 9, "estep_seconds": 100.0 - idle, "idle_seconds": idle}
        for rank, idle in ((1, 10.0), (2, 60.0))
    }
    assert names(gathered(made)) == {"idle ranks"}
    made.ranks = {rank: {k: v / 10 for k, v in one.items()} for rank, one in made.ranks.items()}
    assert names(gathered(made)) == set()


@pytest.mark.parametrize(
    ("state", "name"),
    [(State.FAILED, "failed"), (State.STOPPED, "stopped"), (State.UNFINISHED, "unfinished")],
)
def test_how_a_run_ended_is_told(folder, gathered, state, name):
    assert names(gathered(folder(final=False), state=state)) == {name}


def test_a_refinement_that_did_not_converge_is_told(folder, gathered):
    made = folder(final=False)
    made.converged = False
    assert names(gathered(made, state=State.FINISHED)) == {"not converged"}


def test_warnings_of_the_log_are_counted(folder, gathered):
    made = folder()
    made.folder.mkdir(parents=True)
    (made.folder / "run.err").write_text("WARNING: the disk is nearly full\nall is well\n" * 2)
    run = gathered(made)
    assert run.messages == ("WARNING: the disk is nearly full",)
    assert names(run) == {"log"}


def test_problems_come_first(folder, gathered):
    made = folder()
    made.pmax = 0.02
    made.fsc = falling_fsc(0.4)
    made.fsc[-4:] = 0.5
    assert [one.level for one in find_all(gathered(made))] == [Level.PROBLEM, Level.NOTE]
