import numpy as np
import pytest

from relion_mpi.atoms.scatterers import Scatterers, centred, density

SIGMA = 3.0


def cloud(position, weight=None):
    position = np.atleast_2d(np.asarray(position, np.float64))
    weight = np.ones(len(position)) if weight is None else np.asarray(weight, np.float64)
    width = np.array([[8 * np.pi**2 * SIGMA**2]])
    return Scatterers(position, weight, np.zeros(len(position), int), np.array([[2.0]]), width)


def test_one_scatterer_becomes_a_gaussian_at_its_place():
    pixel = 1.5
    place = np.array([2.3, -4.1, 0.7])
    volume = density(cloud(place), 32, pixel)
    axis = (np.arange(32) - 16) * pixel
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    r2 = (x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2
    expected = 2.0 * pixel**3 * np.exp(-r2 / (2 * SIGMA**2)) / (2 * np.pi * SIGMA**2) ** 1.5
    np.testing.assert_allclose(volume, expected, atol=2e-3 * expected.max())


def test_the_sum_over_voxels_is_the_sum_of_the_weights():
    volume = density(cloud(np.random.default_rng(1).normal(0, 5, (7, 3)), np.arange(7)), 24, 2.0)
    assert volume.sum(dtype=np.float64) == pytest.approx(2.0 * 21, rel=1e-4)


def test_the_centre_of_mass_goes_to_the_origin():
    moved = centred(cloud([[1, 2, 3], [5, 2, 3]], [3, 1]))
    np.testing.assert_allclose(moved.position_angst, [[-1, 0, 0], [3, 0, 0]])
