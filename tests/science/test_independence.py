"""The half-sets know nothing of each other beyond what both were given."""

from __future__ import annotations

import numpy as np
import pytest
from factories.refinement import particle_set, refine

from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.io.mrc import write_map

BOX, PIXEL, INI_HIGH = 32, 5.0, 40.0


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A set whose images are noise alone, refined from a real map."""
    made = particle_set(tmp_path_factory.mktemp("noise"), n=200, box=BOX, angpix=PIXEL, sym="C1")
    images = np.random.default_rng(11).normal(size=(200, BOX, BOX))
    write_map(made.stack, images, PIXEL, stack=True)
    return made


@pytest.fixture(scope="module")
def refined(noise):
    return refine(noise, sym="C1", healpix_order=1, offset_range=2.0, ini_high=INI_HIGH,
                  auto_iter_max=4)  # fmt: skip


def test_einstein_from_noise_has_no_fsc_beyond_the_low_pass(refined):
    limit = int(np.ceil(BOX * PIXEL / INI_HIGH))
    fsc = refined.halves[0].fsc
    assert fsc[limit] > 0.9  # joined, and of the reference: nothing can be said here
    # The low-pass ends in an edge of two shells, which the halves' common reference still has.
    beyond = fsc[limit + 2 : refined.model.current_size // 2]
    assert beyond.size >= 8
    # Shells have 100 and more independent components: chance is below 0.1, its mean near 0.
    assert np.abs(beyond).max() < 0.143
    assert abs(beyond.mean()) < 0.05


def test_noise_gains_no_resolution(refined):
    # The lowest that is ever reported is shell 5.
    assert refined.resolution_angst >= BOX * PIXEL / 5 - 1e-6


def test_the_noise_spectrum_of_noise_is_its_power(refined):
    kept = (soft_sphere(BOX, (BOX - 5) / 2, 5.0, 2) ** 2).mean()
    for half in refined.halves:
        np.testing.assert_allclose(
            half.sigma2_noise[0, 6:15].mean(), kept / (2 * BOX**2), rtol=0.03
        )
