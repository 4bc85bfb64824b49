"""A look at all pixels, by several threads."""

from __future__ import annotations

import numpy as np
import pytest
from factories.bad_input import BadInput

from relion_mpi.core.errors import InputError
from relion_mpi.dataset import pixel_scan
from relion_mpi.dataset.particles import read_particles
from relion_mpi.dataset.pixel_checks import CONSTANT, NOT_FINITE


@pytest.mark.parametrize("chunk_bytes", [1, 16 << 20])
def test_flags_stand_at_the_rows_of_the_particles(tmp_path, monkeypatch, chunk_bytes):
    monkeypatch.setattr(pixel_scan, "_CHUNK_BYTES", chunk_bytes)
    bad = BadInput(tmp_path)
    images = bad.images()
    images[2], images[9, 1, 1] = 0, np.nan
    bad.write_images(images)
    order = np.random.default_rng(0).permutation(12)
    bad.table = bad.table.drop("rlnMicrographName")[order]  # keeps this order
    bad.write()
    done = []
    flags = pixel_scan.scan_pixels(read_particles(bad.star), 3, done.append)
    expected = np.zeros(12, np.uint8)
    expected[np.flatnonzero(order == 2)] = CONSTANT
    expected[np.flatnonzero(order == 9)] = NOT_FINITE
    np.testing.assert_array_equal(flags, expected)
    assert sum(done) == 12


def test_a_stack_that_became_shorter_is_an_input_error(tmp_path):
    bad = BadInput(tmp_path)
    particles = read_particles(bad.star)
    bad.stack.write_bytes(bad.stack.read_bytes()[:5000])
    with pytest.raises(InputError, match="the file ends at byte 5000"):
        pixel_scan.scan_pixels(particles, 2, lambda n: None)
