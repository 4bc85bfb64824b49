from dataclasses import replace

import numpy as np
import pytest
from scipy import fft
from scipy.spatial.transform import Rotation

from relion_mpi.atoms.scatterers import density
from relion_mpi.compare.align import Alignment, moved
from relion_mpi.compare.maps import compare_maps
from relion_mpi.core.errors import InputError
from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.simulate.protein import made_up_protein

BOX, PIXEL = 40, 5.0
PROTEIN = made_up_protein(point_group("C1"))
MAP = density(PROTEIN, BOX, PIXEL)


def seen_from(rotation, translation, mirrored):
    """Return map b of an alignment, made from the coordinates: no interpolation."""
    hand = np.diag([1.0, 1.0, -1.0 if mirrored else 1.0])
    position = (PROTEIN.position_angst @ hand - translation) @ rotation
    return density(replace(PROTEIN, position_angst=position), BOX, PIXEL)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_map_in_any_orientation_and_hand_is_found(mirrored):
    rotation = Rotation.from_rotvec([1.5, -0.9, 0.4]).as_matrix()
    translation = np.array([6.0, -4.0, 3.0])
    result = compare_maps(MAP, seen_from(rotation, translation, mirrored), PIXEL)
    assert result.alignment.mirrored == mirrored
    left = Rotation.from_matrix(result.alignment.rotation.T @ rotation).magnitude()
    assert np.degrees(left) < 0.2
    np.testing.assert_allclose(result.alignment.translation_angst, translation, atol=0.1)
    assert result.resolution_before_angst[1] > 30
    assert result.resolution_after_angst[1] == pytest.approx(2 * PIXEL)


def test_a_start_near_the_truth_is_refined():
    rotation = Rotation.from_rotvec([0.0, 2.0, 0.5]).as_matrix()
    near = Rotation.from_rotvec([0.03, -0.04, 0.02]).as_matrix() @ rotation
    start = Alignment(near, np.array([2.0, 1.0, -2.0]))
    result = compare_maps(MAP, seen_from(rotation, np.zeros(3), False), PIXEL, start=start)
    left = Rotation.from_matrix(result.alignment.rotation.T @ rotation).magnitude()
    assert np.degrees(left) < 0.2


def test_equal_maps_correlate_at_all_shells_and_stay_in_place():
    result = compare_maps(MAP, MAP, PIXEL)
    np.testing.assert_allclose(result.fsc_after, 1.0)
    np.testing.assert_allclose(result.alignment.rotation, np.eye(3), atol=1e-3)
    assert result.fsc_area == pytest.approx(1.0)


def test_the_resolution_is_where_noise_takes_over():
    """Noise as strong as the signal at shell 10 and beyond: the curve must cross between."""
    rng = np.random.default_rng(1)
    transform = np.fft.rfftn(MAP)
    f = [np.fft.fftfreq(BOX, 1 / BOX)] * 2 + [np.fft.rfftfreq(BOX, 1 / BOX)]
    radius = np.sqrt(sum(g**2 for g in np.meshgrid(*f, indexing="ij")))
    noise = np.fft.rfftn(rng.normal(size=MAP.shape)) * (radius > 10) * 1e3
    noisy = fft.irfftn(transform + noise, s=MAP.shape).astype(np.float32)
    result = compare_maps(MAP, noisy, PIXEL, search=False)
    assert BOX * PIXEL / 11.5 < result.resolution_after_angst[0] < BOX * PIXEL / 9.5


def test_a_mask_takes_out_what_lies_outside():
    rng = np.random.default_rng(2)
    mask = soft_sphere(BOX, 16, 2, 3)
    noisy = MAP + (1 - mask) * rng.normal(0, MAP.std() * 5, MAP.shape)
    assert compare_maps(MAP, noisy, PIXEL, search=False).fsc_area < 0.9
    assert compare_maps(MAP, noisy, PIXEL, search=False, mask=mask**8).fsc_area > 0.95


def test_moving_by_whole_voxels_is_exact():
    alignment = Alignment(np.eye(3), np.array([PIXEL, 0.0, -2 * PIXEL]))
    expected = np.roll(MAP, (-2, 0, 1), axis=(0, 1, 2))
    inner = np.s_[3:-3, 3:-3, 3:-3]
    np.testing.assert_allclose(
        moved(MAP, PIXEL, alignment)[inner], expected[inner], atol=1e-4 * MAP.max()
    )


def test_maps_of_different_size_are_refused():
    with pytest.raises(InputError, match=r"second map has \(20, 20, 20\)"):
        compare_maps(MAP, MAP[:20, :20, :20], PIXEL)


def test_a_constant_map_is_refused():
    with pytest.raises(InputError, match="first map is constant"):
        compare_maps(np.ones_like(MAP), MAP, PIXEL)
