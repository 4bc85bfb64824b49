"""Everything before the first iteration."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl
import pytest
from factories.maps import blob_map
from factories.project import noise_project, refine_options

from relion_mpi.core.errors import InputError
from relion_mpi.fourier.masks import lowpass
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.refine.start import image_options, make_start, start_spectra


@pytest.fixture
def project(tmp_path):
    return noise_project(tmp_path)


def rewrite(project, **columns):
    """Add or replace particle columns."""
    blocks = read_star(project.star)
    n = blocks["particles"].height
    added = [pl.Series(name, np.broadcast_to(value, n)) for name, value in columns.items()]
    write_star(project.star, {**blocks, "particles": blocks["particles"].with_columns(added)})


def test_a_seed_is_drawn_and_told(project, caplog):
    with caplog.at_level(logging.INFO):
        seeds = [make_start(refine_options(project, random_seed=-1)).options.random_seed]
        seeds.append(make_start(refine_options(project, random_seed=-1)).options.random_seed)
    assert seeds[0] != seeds[1]  # a chance of one in millions
    assert all(seed > 0 for seed in seeds)
    assert f"--random_seed {seeds[0]} was drawn" in caplog.text


def test_a_given_seed_is_kept_and_gives_the_same_half_sets(project):
    starts = [make_start(refine_options(project, random_seed=5)) for _ in range(2)]
    assert starts[0].images.random_seed == 5
    np.testing.assert_array_equal(starts[0].particles.half, starts[1].particles.half)
    assert sorted(starts[0].particles.half) == [1] * 6 + [2] * 6


def test_half_sets_of_the_file_are_kept(project):
    rewrite(project, rlnRandomSubset=[1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2])
    start = make_start(refine_options(project))
    assert list(start.particles.half) == [1] * 4 + [2] * 8
    assert [h.group_particles.sum() for h in start.model.halves] == [4, 8]


def test_the_default_diameter_is_the_box_less_the_mask_edge(project):
    start = make_start(refine_options(project))
    assert start.options.particle_diameter == (16 - 5) * 4.0
    assert start.images.particle_diameter_angst == 44.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"particle_diameter": 65.0}, r"65 is larger than the box \(64 A\); give at most 44"),
        ({"solvent_correct_fsc": True}, "needs a mask: give one with --solvent_mask"),
        ({"sym": "Q7"}, "Q7"),
    ],
)
def test_a_wrong_option_is_refused(project, changes, message):
    with pytest.raises(InputError, match=message):
        make_start(refine_options(project, **changes))


@pytest.mark.parametrize("name", ["i", "ref", "solvent_mask"])
def test_a_missing_file_is_named(project, name):
    missing = project.folder / "nowhere.mrc"
    with pytest.raises(InputError, match=str(missing)):
        make_start(refine_options(project, **{name: missing}))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("rlnDefocusU", np.nan, "row 1.*rlnDefocusU is nan"),
        ("rlnOpticsGroup", 3, "row 1.*rlnOpticsGroup is 3, expected one of"),
        ("rlnRandomSubset", 7, "row 1.*rlnRandomSubset is 7, expected 1 or 2"),
    ],
)
def test_a_wrong_column_is_named_with_file_and_row(project, column, value, message):
    rewrite(project, **{column: value})
    with pytest.raises(InputError, match=message) as told:
        make_start(refine_options(project))
    assert str(project.star) in str(told.value)


def test_both_half_sets_start_from_the_low_passed_reference(project):
    start = make_start(refine_options(project, ini_high=30.0))
    expected = lowpass(np.float32(blob_map(project.box)), project.pixel, 30.0)
    for half in start.model.halves:
        np.testing.assert_allclose(half.maps[0], expected, atol=1e-5 * expected.max())
    assert start.model.halves[0].maps is not start.model.halves[1].maps


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_references_have_the_precision_of_the_e_step(project, precision):
    start = make_start(refine_options(project, precision=precision))
    assert [half.maps.dtype for half in start.model.halves] == [precision] * 2


def test_ini_high_of_zero_leaves_the_reference(project):
    start = make_start(refine_options(project, ini_high=0.0))
    np.testing.assert_allclose(start.model.halves[0].maps[0], blob_map(project.box), rtol=1e-5)


def test_schedule_turns_pixels_into_angstrom(project):
    schedule = make_start(refine_options(project, offset_range=3, offset_step=1)).schedule
    assert (schedule.offset_range_angst, schedule.offset_step_angst) == (12.0, 4.0)


def test_every_image_option_reaches_the_e_step(project):
    options = refine_options(
        project, particle_diameter=40.0, maskedge=3.0, zero_mask=False, ctf=False,
        ctf_intact_first_peak=True, ctf_phase_flipped=True, only_flip_phases=True, norm=False,
        scale=False, adaptive_fraction=0.9, maxsig=7,
    )  # fmt: skip
    images = image_options(options)
    assert (images.particle_diameter_angst, images.mask_edge_pix) == (40.0, 3.0)
    assert (images.adaptive_fraction, images.max_significants) == (0.9, 7)
    off = (images.zero_mask, images.apply_ctf, images.correct_norm, images.correct_scale)
    assert not any(off)
    on = (images.intact_until_first_peak, images.phase_flipped, images.only_flip_phases)
    assert all(on)


# First spectra


def with_noise(start, sigma2):
    for half in start.model.halves:
        half.optics_particles[:] = half.group_particles.sum()
        half.sigma2_noise[:] = sigma2
    start_spectra(start.model, start.schedule, start.options)
    return start.model


def test_the_first_resolution_is_that_of_the_low_pass(project):
    model = with_noise(make_start(refine_options(project, ini_high=20.0)), 1.0)
    assert model.current_resolution == pytest.approx(3 / 64)  # 64 A / 20 A is shell 3.2


def test_without_a_low_pass_the_first_resolution_comes_from_the_reference(project):
    # White voxels: tau2 = 1 / 32. 6 particles give 6 / 2s observations of shell s, 0.43 of the
    # last, 0.5 of the one before: noise of 0.55 / 32 leaves a ratio above 1 up to shell 5.
    rng = np.random.default_rng(0)
    write_map(project.reference, rng.normal(size=(16, 16, 16)), 4.0)
    model = with_noise(make_start(refine_options(project, ini_high=0.0)), 0.46 / 32)
    assert model.current_resolution == pytest.approx(6 / 64)


def test_the_prior_is_half_the_power_of_a_slice_of_the_reference(project):
    rng = np.random.default_rng(0)
    write_map(project.reference, rng.normal(size=(16, 16, 16)), 4.0)
    model = with_noise(make_start(refine_options(project, ini_high=0.0, tau2_fudge=2.0)), 1.0)
    # A projection of n^3 voxels of variance 1 has variance n, so |F / n^2|^2 is 1 / n on average.
    # Outer shells have hundreds of components: within 20 %.
    np.testing.assert_allclose(model.halves[0].tau2[0, 4:8], 2 * 0.5 / 16, rtol=0.2)


def test_arithmetic_of_gpus_needs_a_gpu(project):
    with pytest.raises(InputError, match="--precision tf32 is arithmetic of GPUs"):
        make_start(refine_options(project, precision="tf32"))
