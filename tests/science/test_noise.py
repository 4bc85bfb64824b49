"""Noise in, nothing out: a reference must not come back from images that do not contain it."""

from __future__ import annotations

import numpy as np
import pytest
from factories.refinement import particle_set, refine

from relion_mpi.io.mrc import read_map

INI_HIGH = 40.0


@pytest.fixture(scope="module")
def from_noise(tmp_path_factory):
    # A coarse grid: for noise very many of its samples are significant.
    size = {"box": 28, "angpix": 7.0}
    made = particle_set(tmp_path_factory.mktemp("noise"), snr=1e-9, n=160, **size)
    # A structure on the grey scale that it would have in images of fair contrast.
    wanted = particle_set(tmp_path_factory.mktemp("wanted"), snr=0.1, n=8, **size)
    result = refine(
        made, ref=wanted.reference, ini_high=INI_HIGH, firstiter_cc=False, auto_iter_max=3,
        healpix_order=1, offset_range=2.0,
    )  # fmt: skip
    return made, result


def test_no_resolution_beyond_what_was_put_in_is_reported(from_noise):
    _, result = from_noise
    # The halves share what lies below 40 A; a shell more is chance.
    assert result.resolution_angst > 0.75 * INI_HIGH


def test_the_half_sets_agree_on_nothing_beyond(from_noise):
    made, result = from_noise
    # Not of the finished maps: these are masked, and the edge of the mask is in both.
    fsc = result.record.model.halves[0].fsc
    _, pixel_size = read_map(made.reference)
    joined = int(np.ceil(2 * (fsc.size - 1) * pixel_size / INI_HIGH))
    assert fsc[: joined + 1].min() > 0.9
    beyond = fsc[joined + 2 :]
    assert abs(beyond.mean()) < 0.143
    assert beyond.max() < 0.5
