"""Particles of two structures are told apart, and each class becomes its structure's map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factories.refinement import classify, fsc_with_truth, particle_set, true_table

from relion_mpi.io.mrc import write_map

BOX, PIXEL = 32, 6.0
COMMON = [(0, 0, 0), (5, 0, 0), (-4, 3, 0), (0, -5, 2), (1, 2, 6), (-2, -1, -6), (3, -4, -3)]
EXTRA = [
    [(7, 5, 1), (8, 3, 3), (6, 7, 2), (9, 6, 4), (7, 4, 5)],
    [(-3, -6, 5), (-1, -8, 3), (-2, 6, -5), (0, 8, -4), (2, 7, -7)],
]
GRID = {"healpix_order": 1, "offset_range": 3.0, "offset_step": 1.0, "ini_high": 30.0}


def structure(extra):
    """Make a map of Gaussian blobs without symmetry."""
    axis = np.arange(BOX) - BOX // 2
    place = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    blobs = [((place - point) ** 2).sum(axis=-1) for point in COMMON + extra]
    return sum(np.exp(-distance2 / (2 * 1.4**2)) for distance2 in blobs)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    names = []
    for number, extra in enumerate(EXTRA):
        names.append(folder / f"structure{number}.mrc")
        write_map(names[-1], structure(extra), PIXEL)
    return particle_set(
        folder / "set", map=tuple(names), n=400, box=BOX, angpix=PIXEL, sym="C1", snr=1.0
    )


def both(made):
    return Path(",".join(map(str, made.maps)))


def share_right(made, found):
    """Share of the particles that are where most of their kind are; 0.5 is chance."""
    true = true_table(made)["rlnClassNumber"].to_numpy()
    same = float((found.particles.class_number == true).mean())
    return max(same, 1 - same)


@pytest.fixture(scope="module")
def from_two_maps(made):
    return classify(made, ref=both(made), iter=5, **GRID)


def test_low_passed_maps_of_both_find_nearly_every_particle(made, from_two_maps):
    assert share_right(made, from_two_maps) >= 0.99


def test_each_class_becomes_its_structure(made, from_two_maps):
    maps = from_two_maps.halves[0].maps
    shell = int(BOX * PIXEL / 27)
    for k in (0, 1):
        own, other = (fsc_with_truth(made, maps[k], c)[: shell + 1] for c in (k, 1 - k))
        assert (own > 0.9).all()
        assert own[shell] > other[shell] + 0.2


def test_the_sizes_of_the_classes_are_those_of_the_particles(made, from_two_maps):
    true = true_table(made)["rlnClassNumber"].to_numpy()
    share = from_two_maps.halves[0].pdf_class
    assert share.sum() == pytest.approx(1.0)
    assert share[0] == pytest.approx((true == 1).mean(), abs=0.02)


def test_seeds_part_the_structures_from_one_map(made):
    found = classify(made, K=2, iter=12, **GRID)
    assert share_right(made, found) >= 0.98


def test_with_the_true_poses_kept_classes_alone_are_found(made):
    found = classify(
        made, particles=made.truth, ref=both(made), skip_align=True, iter=2,
        firstiter_cc=False, ini_high=20.0,
    )  # fmt: skip
    assert share_right(made, found) == 1.0
    truth = true_table(made)
    np.testing.assert_allclose(found.particles.psi_deg, truth["rlnAnglePsi"], atol=1e-6)


def test_local_searches_score_every_class(made):
    found = classify(
        made, particles=made.truth, ref=both(made), sigma_ang=4.0, iter=2,
        healpix_order=3, offset_range=3.0, firstiter_cc=False, ini_high=20.0,
    )  # fmt: skip
    assert share_right(made, found) >= 0.99
