import numpy as np
import pytest

from relion_mpi.fourier.shells import (
    half_transform_shells,
    padded_size,
    pixel_list,
    pixels_per_shell,
    radius_grid,
    round_half_away,
    shell_of_frequency,
)


def test_halves_are_rounded_away_from_zero():
    values = np.array([-2.5, -1.4, -0.5, 0.0, 0.49, 0.5, 1.5, 2.5])
    assert round_half_away(values).tolist() == [-3, -1, -1, 0, 0, 1, 2, 3]


def test_pixels_per_shell_are_those_of_relion():
    # Npix_per_shell that RELION 3.1 uses for a box of 32.
    expected = [1, 4, 6, 8, 16, 14, 20, 20, 24, 34, 28, 36, 34, 44, 44, 42, 52]
    assert pixels_per_shell(32).tolist() == expected


def test_each_friedel_pair_is_listed_once():
    pixels = pixel_list(16, 8)
    listed = set(zip(pixels.x.tolist(), pixels.y.tolist(), strict=True))
    assert len(listed) == pixels.n_pix
    for x in range(-7, 8):
        for y in range(-7, 8):
            if x * x + y * y <= 64:
                assert ((x, y) in listed) + ((-x, -y) in listed) == (2 if x == y == 0 else 1)


def test_a_shorter_list_is_a_prefix_of_a_longer_one():
    long, short = pixel_list(32, 16), pixel_list(32, 9)
    np.testing.assert_array_equal(short.x, long.x[: short.n_pix])
    np.testing.assert_array_equal(short.y, long.y[: short.n_pix])
    assert long.count_within(9) == short.n_pix
    assert (np.diff(long.radius) >= 0).all()


def test_the_list_holds_every_pixel_within_the_radius():
    pixels = pixel_list(32, 5)
    assert pixels.radius.max() == 5
    assert pixels.n_pix == 1 + (81 - 1) // 2  # 81 lattice points lie within a radius of 5


def test_shells_of_a_half_transform_leave_out_corners_and_duplicates():
    shells = half_transform_shells(8)
    assert shells[0, 4] == 4
    assert shells[4, 0] == 4
    assert shells[4, 4] == -1
    assert shells[7, 0] == -1
    assert shells[7, 1] == 1


@pytest.mark.parametrize(("resolution", "shell"), [(96.0, 1), (9.6, 10), (9.0, 11), (6.0, 16)])
def test_shell_of_a_resolution(resolution, shell):
    assert shell_of_frequency(resolution, 32, 3.0) == shell


def test_radii_are_measured_from_the_centre_voxel():
    radius = radius_grid(8, 3)
    assert radius[4, 4, 4] == 0
    assert radius[4, 4, 0] == 4
    assert radius[7, 4, 0] == 5


def test_the_padded_grid_is_odd_with_a_border_of_one():
    assert padded_size(16, 2) == 67
