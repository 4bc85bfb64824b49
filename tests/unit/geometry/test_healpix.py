"""HEALPix directions."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.geometry import healpix
from relion_mpi.geometry.euler import directions


def test_order_1_starts_and_ends_as_in_relion():
    rot, tilt = healpix.pixel_angles(1)
    first = [(45, 70.528779), (67.5, 48.189685), (22.5, 48.189685), (45, 23.556464)]
    last = [(-45, 156.443536), (-22.5, 131.810315), (-67.5, 131.810315), (-45, 109.471221)]
    angles = np.stack([rot, tilt], axis=1)
    assert np.allclose(angles[:4], first, atol=1e-6)
    assert np.allclose(angles[-4:], last, atol=1e-6)


@pytest.mark.parametrize("order", range(6))
def test_angles_agree_with_healpy(order: int):
    healpy = pytest.importorskip("healpy")
    theta, phi = healpy.pix2ang(2**order, np.arange(12 * 4**order), nest=True)
    rot, tilt = healpix.pixel_angles(order)
    assert np.allclose(directions(rot, tilt), directions(np.degrees(phi), np.degrees(theta)))
    assert rot.min() > -180.0
    assert rot.max() <= 180.0


@pytest.mark.parametrize("order", [0, 1, 4])
def test_pixel_radius_agrees_with_healpy(order: int):
    healpy = pytest.importorskip("healpy")
    assert np.isclose(healpix.max_pixel_radius_rad(order), healpy.max_pixrad(2**order))


@pytest.mark.parametrize("oversampling", [0, 1, 2])
def test_children_partition_the_finer_grid(oversampling: int):
    found = healpix.children(np.arange(48), oversampling)
    assert found.shape == (48, 4**oversampling)
    assert np.array_equal(np.sort(found.ravel()), np.arange(48 * 4**oversampling))


def test_children_surround_their_parent():
    order = 3
    parent = directions(*healpix.pixel_angles(order))
    child = directions(*healpix.pixel_angles(order + 2))[healpix.children(np.arange(768), 2)]
    angle = np.arccos(np.einsum("pk,pck->pc", parent, child))
    assert angle.max() < healpix.max_pixel_radius_rad(order)


def test_children_of_children_have_x_fastest():
    # (x, y) of the 16 children two orders down: x in the even bits, y in the odd ones
    expected = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    assert healpix.children([0], 2)[0].tolist() == expected
