"""Images of three shapes are told apart without references, and averages become the shapes."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import polars as pl
import pytest
from factories.refinement import classify_images

from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import write_star

BOX, PIXEL, N, K = 32, 4.0, 300, 3
SHAPES = [
    [(0, 0), (0, 4), (0, 8), (0, -4), (0, -8)],
    [(-5, -4), (-5, 4), (6, 0), (0, 0), (6, 4)],
    [(-7, 0), (7, 0), (0, 7), (0, -7), (5, 5)],
]


def drawn(points, psi_deg=0.0, shift=(0.0, 0.0)):
    """Draw a shape of blobs, turned and then shifted, y first."""
    angle = np.radians(psi_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    axis = np.arange(BOX) - BOX // 2
    place = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    places = np.array(points) - np.mean(points, axis=0)
    return sum(
        np.exp(-((place - turn @ point - shift) ** 2).sum(axis=-1) / (2 * 1.6**2))
        for point in places
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Write images without CTF; the folder, and the shape of each."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(3)
    true = rng.integers(0, len(SHAPES), N)
    images = np.stack([
        drawn(SHAPES[k], rng.uniform(0, 360), rng.uniform(-2, 2, 2)) for k in true
    ])  # fmt: skip
    images = (images + rng.normal(0, 0.4, images.shape)) / 0.4
    write_map(folder / "images.mrcs", images, PIXEL, stack=True)
    optics = pl.DataFrame({
        "rlnOpticsGroupName": ["a"], "rlnOpticsGroup": [1], "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [PIXEL], "rlnImageSize": [BOX],
    })  # fmt: skip
    particles = pl.DataFrame({
        "rlnImageName": [f"{i + 1:06d}@{folder / 'images.mrcs'}" for i in range(N)],
        "rlnMicrographName": ["mic.mrc"] * N, "rlnOpticsGroup": [1] * N,
    })  # fmt: skip
    write_star(folder / "particles.star", {"optics": optics, "particles": particles})
    return folder, true


@pytest.fixture(scope="module")
def found(made):
    return classify_images(made[0], K=K, iter=15, ctf=False)


def assignment(made, found):
    """Shape of each class, and the share of the particles that are where their shape is."""
    _, true = made
    numbers = found.particles.class_number - 1
    shares = {order: (np.array(order)[numbers] == true).mean() for order in permutations(range(K))}
    best = max(shares, key=shares.get)
    return best, shares[best]


def test_classes_are_pure(made, found):
    assert assignment(made, found)[1] >= 0.95


def test_averages_are_the_shapes(made, found):
    shapes, _ = assignment(made, found)
    for average, k in zip(found.halves[0].maps, shapes, strict=True):
        turned = (drawn(SHAPES[k], angle) for angle in range(0, 360, 5))
        assert max(np.corrcoef(average.ravel(), one.ravel())[0, 1] for one in turned) > 0.9
