import numpy as np
import pytest
from factories.optics import optics_groups

from relion_mpi.estep.geometry import image_geometry


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
