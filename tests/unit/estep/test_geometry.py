import numpy as np
import pytest
from factories.optics import optics_groups
from factories.plans import batch

from relion_mpi.estep.geometry import (
    batch_optics,
    components_per_pixel,
    image_geometry,
    model_shells,
    without_cropped_row,
)
from relion_mpi.estep.plan import ImageOptions
from relion_mpi.fourier.shells import pixels_per_shell


def test_the_model_s_own_images_use_its_pixels():
    geometry = image_geometry(optics_groups(), 0, 32, 3.0, 20, 12)
    np.testing.assert_array_equal(geometry.slice_x, geometry.x)
    np.testing.assert_array_equal(geometry.slice_y, geometry.y)
    assert np.hypot(geometry.x, geometry.y).max() == 10
    assert np.hypot(geometry.x, geometry.y)[: geometry.n_coarse].max() == 6
    np.testing.assert_allclose(geometry.freq_x, geometry.x / 96.0)


def test_smaller_pixels_reach_the_same_resolution_in_the_same_box_of_angstrom():
    # 64 x 1.5 and 32 x 3 Angstrom: the same Fourier pixels.
    geometry = image_geometry(optics_groups((64,), (1.5,)), 0, 32, 3.0, 20, 12)
    np.testing.assert_array_equal(geometry.slice_x, geometry.x)
    assert np.hypot(geometry.x, geometry.y).max() == 10


def test_a_smaller_box_has_coarser_fourier_pixels():
    geometry = image_geometry(optics_groups((24,), (3.0,)), 0, 32, 3.0, 32, 20)
    np.testing.assert_allclose(geometry.slice_y, geometry.y * 32 / 24)
    np.testing.assert_allclose(geometry.freq_y, geometry.y / 72.0)
    assert geometry.n_shell == 17
    assert geometry.power_shell.max() <= 16


def test_larger_boxes_have_power_shells_up_to_the_model_s():
    geometry = image_geometry(optics_groups((48,), (3.0,)), 0, 32, 3.0, 32, 20)
    assert geometry.power_shell[0, 24] == 16
    assert geometry.power_shell[0, 3] == 2
    assert geometry.power_shell[40, 24] == -1


def test_magnification_moves_slices_and_ctf_frequencies_alike():
    matrix = np.array([[1.02, 0.01], [-0.03, 0.97]])
    geometry = image_geometry(optics_groups(magnification=matrix), 0, 32, 3.0, 32, 32)
    expected = matrix @ np.stack([geometry.x, geometry.y])
    np.testing.assert_allclose([geometry.slice_x, geometry.slice_y], expected)
    np.testing.assert_allclose([geometry.freq_x, geometry.freq_y], expected / 96.0)


@pytest.mark.parametrize("coarse", [4, 12, 32])
def test_the_coarse_pixels_come_first(coarse):
    geometry = image_geometry(optics_groups(), 0, 32, 3.0, 32, coarse)
    radius = np.hypot(geometry.x, geometry.y)
    assert radius[: geometry.n_coarse].max() <= coarse / 2
    assert (radius[geometry.n_coarse :] > coarse / 2).all()


def test_power_and_likelihood_agree_on_the_shell_of_a_pixel():
    # 48 pixels of 4 A beside 40 of 5 A: a pixel of the image is 200 / 192 pixels of the model.
    shells = model_shells(48, 4.0, 200.0, 21)
    geometry = image_geometry(optics_groups((48,), (4.0,)), 0, 40, 5.0, 40, 40)
    np.testing.assert_array_equal(geometry.power_shell, shells)
    of_pixels = geometry.power_shell[geometry.y, geometry.x]
    inside = geometry.shell < 20  # beyond the last shell power is dropped, pixels are kept
    np.testing.assert_array_equal(of_pixels[inside], geometry.shell[inside])
    counts = np.bincount(shells[shells >= 0], minlength=21)
    assert (counts > 0).all()  # no model shell goes without pixels


def test_images_like_the_model_have_a_component_for_each_pixel():
    assert (components_per_pixel(32, 3.0, 32, 3.0) == 1).all()


def test_pixels_of_a_smaller_box_stand_for_as_many_components_as_the_model_has():
    # 12 x 3 Angstrom beside 32 x 3: fewer pixels, some shells without any.
    shells = model_shells(12, 3.0, 96.0, 17)
    sums = np.bincount(shells[shells >= 0], minlength=17) * components_per_pixel(12, 3.0, 32, 3.0)
    filled = np.isin(np.arange(17), shells)
    np.testing.assert_allclose(sums[filled], pixels_per_shell(32)[filled])
    assert 0 < filled.sum() < 17
    assert (sums[~filled] == 0).all()


def test_aberrations_are_made_once_for_all_batches_of_a_group():
    optics = optics_groups(beam_tilt_mrad=np.array([[0.5, 0.2]]), even_zernike=[np.full(9, 0.1)])
    geometry = image_geometry(optics, 0, 32, 3.0, 32, 32)
    first, second = (
        batch_optics(optics, batch(n), geometry, np.ones(n), ImageOptions(80.0)) for n in (3, 5)
    )
    assert first.phase is second.phase
    assert first.gamma_offset is second.gamma_offset
    assert second.ctf_coefficients.shape == (5, 8)


def test_aberrations_are_those_of_the_optics_and_pixels_at_hand():
    phases = []
    for tilt, size in ((0.5, 32), (0.9, 32), (0.5, 20), (0.0, 32)):
        optics = optics_groups(beam_tilt_mrad=np.array([[tilt, 0.0]]))
        geometry = image_geometry(optics, 0, 32, 3.0, size, size)
        phases.append(
            batch_optics(optics, batch(2), geometry, np.ones(2), ImageOptions(80.0)).phase
        )
        if tilt:
            assert phases[-1].size == geometry.n_pix
    assert not np.allclose(phases[0], phases[1])
    assert phases[3] is None


def test_a_cropped_transform_lacks_the_row_of_the_last_negative_frequency():
    whole = image_geometry(optics_groups(), 0, 32, 3.0, 16, 12)
    cropped = without_cropped_row(whole)
    lost = (whole.power_shell >= 0) & (cropped.power_shell < 0)
    # Of shell 8 the pixels (1, -8) and (2, -8): RELION counts 22 instead of 24.
    assert np.argwhere(lost).tolist() == [[24, 1], [24, 2]]
    assert (whole.power_shell[lost] == 8).all()


def test_a_transform_that_is_not_cropped_lacks_nothing():
    whole = image_geometry(optics_groups(), 0, 32, 3.0, 32, 12)
    assert without_cropped_row(whole) is whole
