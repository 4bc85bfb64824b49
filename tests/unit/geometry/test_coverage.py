from __future__ import annotations

import numpy as np
import pytest
from factories.run_folder import even_angles
from scipy.optimize import brentq

from relion_mpi.geometry.coverage import coverage, psf_widths, sampling, view_counts
from relion_mpi.geometry.euler import directions
from relion_mpi.geometry.healpix import pixel_angles
from relion_mpi.geometry.symmetry import point_group

N = 20_000
C1 = point_group("C1")


def worth(rot, tilt, group=C1):
    return coverage(view_counts(rot, tilt, group))


def rings(spread_deg, tilt_deg, seed=1):
    """Draw views around the z axis at a mean tilt."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-180, 180, N), tilt_deg + spread_deg * rng.normal(size=N)


def efficiency_of(transfer):
    """Integrate the point spread function of a transfer function of the polar angle plainly.

    `transfer` takes cos(theta) of points on the sphere.
    """
    nodes, weights = np.polynomial.legendre.leggauss(48)
    phi = (np.arange(64) + 0.5) * 2 * np.pi / 64
    sine = np.sqrt(1 - nodes**2)
    value = transfer(nodes) * weights
    widths = []
    for cosine in nodes:
        mu = nodes[:, None] * cosine + sine[:, None] * np.sqrt(1 - cosine**2) * np.cos(phi)

        def profile(radius, mu=mu):
            a = radius * mu
            ring = ((1 - a**2) * np.exp(-(a**2) / 2)).mean(axis=1)
            return (value * ring).sum() / value.sum() - np.exp(-1)

        widths.append(brentq(profile, 0.3, 4.0))
    mean = np.average(widths, weights=weights)
    variance = np.average((np.array(widths) - mean) ** 2, weights=weights)
    return 1 - 2 * np.sqrt(variance) / mean


def test_even_views_are_worth_all():
    found = worth(*even_angles(N))
    # what is missing to 1 is the noise of counting 20000 views in 3072 pixels
    assert found.efficiency == pytest.approx(1.0, abs=0.01)
    assert found.sampling_factor == pytest.approx(1.0, abs=0.01)
    assert found.unseen_share == 0.0


def test_a_point_spread_function_of_even_coverage_is_a_gaussian():
    # exp(-r^2 / 2) falls to 1/e at the square root of 2
    assert psf_widths(np.ones(768)) == pytest.approx(np.full(768, np.sqrt(2)), rel=2e-3)


def test_side_views_have_the_sampling_factor_of_the_formula():
    # density 2 / (pi sin(theta)): the mean reciprocal is pi^2 / 8 (Baldwin and Lyumkis 2020)
    found = worth(*rings(1.5, 90.0))
    # slices are 3.4 degrees thick on either side, which blunts the poles
    assert found.sampling_factor == pytest.approx(8 / np.pi**2, abs=0.03)


def test_side_views_have_the_efficiency_of_a_plain_integral():
    expected = efficiency_of(lambda cosine: (1 - cosine**2) ** -0.25)
    assert 0.8 < expected < 0.95
    assert worth(*rings(1.5, 90.0)).efficiency == pytest.approx(expected, abs=0.03)


def test_views_within_a_cone_have_the_efficiency_of_a_plain_integral():
    # slices of views 50 degrees from z cross a direction as often as the speed of the crossing
    # allows: the density is 1 / sqrt(sin(50)^2 - cos(theta)^2)
    tilt = np.radians(50.0)

    def density(cosine):
        inside = np.sin(tilt) ** 2 - cosine**2
        return np.where(inside > 0, 1 / np.sqrt(np.maximum(inside, 1e-9)), 0.0)

    smooth = np.convolve(density(np.linspace(-1, 1, 4001)), np.ones(121) / 121, "same")

    def transfer(cosine):
        return np.sqrt(np.interp(cosine, np.linspace(-1, 1, 4001), smooth))

    found = worth(*rings(0.8, 50.0))
    assert found.efficiency == pytest.approx(efficiency_of(transfer), abs=0.04)
    # directions within 40 degrees of z are never seen; thickness of slices (3.4 degrees), spread of
    # views (3) and pixels (2) take up to 10 off
    assert 1 - np.cos(np.radians(30)) < found.unseen_share < 1 - np.cos(np.radians(40))
    assert found.sampling_factor == 0.0


def test_one_view_is_worth_nothing():
    found = worth(np.full(N, 20.0), np.full(N, 40.0))
    assert found.efficiency == 0.0
    assert found.unseen_share > 0.9


def test_views_from_the_top_are_worse_than_side_views():
    top, broad, side = (worth(*ring).efficiency for ring in (
        rings(10.0, 0.0), rings(30.0, 0.0), rings(10.0, 90.0)
    ))
    assert top < 0.3 < broad < 0.8 < side


def test_worth_does_not_depend_on_the_frame():
    rot, tilt = rings(10.0, 90.0)
    views = directions(rot, tilt)
    turned = np.column_stack([views[:, 2], views[:, 0], views[:, 1]])
    other = worth(
        np.degrees(np.arctan2(turned[:, 1], turned[:, 0])), np.degrees(np.arccos(turned[:, 2]))
    )
    assert other.efficiency == pytest.approx(worth(rot, tilt).efficiency, abs=0.01)


def test_a_slice_is_at_right_angles_to_its_view():
    seen = sampling(view_counts([0.0], [0.0], C1))
    height = np.abs(directions(*pixel_angles(4))[:, 2])
    assert height[seen > 0].max() < 0.12
    assert seen.mean() == pytest.approx(1.0)


def test_symmetry_repeats_views_where_the_map_looks_the_same():
    group = point_group("C4")
    counts = view_counts([10.0], [60.0], group, order=3)
    assert counts.sum() == pytest.approx(1.0)
    centres = directions(*pixel_angles(3))[counts > 0]
    expected = directions([10.0, 100.0, -170.0, -80.0], [60.0] * 4)
    nearest = np.linalg.norm(centres[:, None] - expected[None], axis=2).min(axis=1)
    assert len(centres) == 4
    assert nearest.max() < 0.12  # a pixel of order 3


def test_symmetry_makes_a_few_views_worth_more():
    few = rings(5.0, 0.0)
    tilted = few[0], np.abs(few[1]) + 40.0
    one = np.full(N, 20.0) + 4 * few[1], tilted[1]
    assert worth(*one, point_group("O")).efficiency > 0.9 > worth(*one).efficiency + 0.3
