from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.plots.montage import central_slices
from relion_mpi.plots.surface import first_crossing, surface_views

N = 48
SIDE = 96


def ball(centre=(0.0, 0.0, 0.0), radius=10.0):
    """Return a soft ball; the contour 0.5 is at its radius. Centre is (x, y, z)."""
    z, y, x = np.indices((N, N, N)) - N // 2
    distance = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
    return (1 / (1 + np.exp(2.0 * (distance - radius)))).astype(np.float32)


def centroid(opacity):
    y, x = np.indices(opacity.shape)
    total = opacity.sum()
    return (x * opacity).sum() / total, (y * opacity).sum() / total


def test_a_ray_meets_a_ball_where_it_should():
    hit, depth = first_crossing(ball(), 0.5)
    y, x = np.indices((N, N)) - N // 2
    inside = x**2 + y**2 < 9.0**2
    expected = N // 2 - np.sqrt(100.0 - (x**2 + y**2)[inside])
    assert hit[inside].all()
    # linear interpolation of a curve that bends within a voxel
    np.testing.assert_allclose(depth[inside], expected, atol=0.15)
    assert not hit[x**2 + y**2 > 11.0**2].any()


def test_nothing_is_met_where_there_is_nothing():
    hit, depth = first_crossing(np.zeros((N, N, N), np.float32), 0.5)
    assert not hit.any()
    assert (depth == N).all()


@pytest.mark.parametrize("view", [0, 1, 2])
def test_views_lie_as_the_slices_do(view):
    volume = ball((6.0, -7.0, 4.0), 6.0) + ball((-8.0, 2.0, -9.0), 4.0)
    opacity = surface_views(volume, 0.5, SIDE)[view][..., 3] > 127
    # projections along z, y and x with the axes of central_slices
    shadow = [volume.max(0), volume.max(1), volume.max(2)][view] > 0.5
    ours, theirs = centroid(opacity), centroid(shadow)
    np.testing.assert_allclose(np.array(ours) * N / SIDE, theirs, atol=0.5)
    assert central_slices(volume)[:, view * N : (view + 1) * N].shape == shadow.shape


@pytest.mark.parametrize(
    ("view", "near", "far"),
    [(0, (0, 0, -12.0), (0, 0, 12.0)), (1, (0, 12.0, 0), (0, -12.0, 0)),
     (2, (-12.0, 0, 0), (12.0, 0, 0))],
)  # fmt: skip
def test_the_viewer_stands_where_no_view_is_mirrored(view, near, far):
    # right x down points into the picture: z; -y; x
    def seen(*balls):
        return surface_views(np.maximum.reduce(balls), 0.5, SIDE)[view].astype(int)

    large, small = ball(near, 8.0), ball(far, 4.0)
    # what is behind changes nothing, what is before does; tails of the blobs are worth a grey value
    assert np.abs(seen(large, small) - seen(large)).max() <= 3
    large, small = ball(far, 8.0), ball(near, 4.0)
    assert np.abs(seen(large, small) - seen(large)).max() > 30


def test_light_comes_from_above_on_the_left():
    picture = surface_views(ball(), 0.5, SIDE)[0].astype(float)
    grey = picture[..., :3].mean(axis=-1)
    third = SIDE // 2 - 13, SIDE // 2 + 13
    assert grey[third[0], third[0]] > 1.5 * grey[third[1], third[1]]


def test_the_ground_is_transparent_and_the_body_is_not():
    opacity = surface_views(ball(), 0.5, SIDE)[0][..., 3]
    assert opacity[0, 0] == 0
    assert opacity[SIDE // 2, SIDE // 2] == 255
    # the area of a disc of radius 10 of 48 voxels
    assert (opacity / 255.0).sum() == pytest.approx(np.pi * (10.0 * SIDE / N) ** 2, rel=0.03)


def test_an_empty_map_has_an_empty_picture():
    assert not surface_views(np.zeros((N, N, N), np.float32), 0.5, SIDE)[0][..., 3].any()
