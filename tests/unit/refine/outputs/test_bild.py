import numpy as np
import pytest

from relion_mpi.geometry.symmetry import point_group
from relion_mpi.refine.outputs.bild import angdist_text, write_angdist
from relion_mpi.sampling.orientations import make_orientation_grid

BOX_ANGST = 96.0
# 48 directions as RELION 3.1.3 wrote them for 60 particles (counts), and its lines
COUNTS = "030310010000136235412301102011110110103102001220"
FROM_RELION = """.color 0.373989 0 0.626011
.cylinder 61.6913 81.0537 80 63.745 86.0118 84.8 6.28319
.color 0.373989 0 0.626011
.cylinder 61.5647 61.5647 92 63.5994 63.5994 98.6 6.28319
.color 0.137049 0 0.862951
.cylinder 16 80 64 14.4 81.6 64.8 6.28319
.color 0.137049 0 0.862951
.cylinder 34.4353 61.5647 92 33.7571 62.2429 94.2 6.28319
.color 0.137049 0 0.862951
.cylinder 80 16 64 81.6 14.4 64.8 6.28319
.color 0.373989 0 0.626011
.cylinder 81.0537 34.3087 80 86.0118 32.255 84.8 6.28319
.color 0.729398 0 0.270602
.cylinder 61.6913 14.9463 80 65.7987 5.03017 89.6 6.28319
.color 0.255519 0 0.744481
.cylinder 61.5647 34.4353 92 62.9211 33.0789 96.4 6.28319
.color 0.373989 0 0.626011
.cylinder 93.2548 48 32 100.043 48 29.6 6.28319
.color 0.610928 0 0.389072
.cylinder 92.3462 66.3688 48 103.433 70.961 48 6.28319
.color 0.492459 0 0.507541
.cylinder 92.3462 29.6312 48 101.215 25.9574 48 6.28319
.color 0.137049 0 0.862951
.cylinder 93.2548 48 64 95.5176 48 64.8 6.28319
.color 0.255519 0 0.744481
.cylinder 48 93.2548 32 48 97.7803 30.4 6.28319
.color 0.373989 0 0.626011
.cylinder 29.6312 92.3462 48 26.8759 98.9982 48 6.28319
.color 0.137049 0 0.862951
.cylinder 48 93.2548 64 48 95.5176 64.8 6.28319
.color 0.137049 0 0.862951
.cylinder 2.74517 48 32 0.482424 48 31.2 6.28319
.color 0.255519 0 0.744481
.cylinder 3.65378 66.3688 48 -0.780839 68.2057 48 6.28319
.color 0.137049 0 0.862951
.cylinder 48 2.74517 32 48 0.482424 31.2 6.28319
.color 0.137049 0 0.862951
.cylinder 66.3688 3.65378 48 67.2872 1.43647 48 6.28319
.color 0.137049 0 0.862951
.cylinder 29.6312 3.65378 48 28.7128 1.43647 48 6.28319
.color 0.137049 0 0.862951
.cylinder 48 2.74517 64 48 0.482424 64.8 6.28319
.color 0.137049 0 0.862951
.cylinder 61.6913 81.0537 16 62.3759 82.7064 14.4 6.28319
.color 0.137049 0 0.862951
.cylinder 81.0537 61.6913 16 82.7064 62.3759 14.4 6.28319
.color 0.137049 0 0.862951
.cylinder 34.4353 61.5647 4 33.7571 62.2429 1.8 6.28319
.color 0.373989 0 0.626011
.cylinder 34.3087 81.0537 16 32.255 86.0118 11.2 6.28319
.color 0.137049 0 0.862951
.cylinder 16 80 32 14.4 81.6 31.2 6.28319
.color 0.255519 0 0.744481
.cylinder 34.3087 14.9463 16 32.9396 11.6409 12.8 6.28319
.color 0.137049 0 0.862951
.cylinder 61.5647 34.4353 4 62.2429 33.7571 1.8 6.28319
.color 0.255519 0 0.744481
.cylinder 81.0537 34.3087 16 84.3591 32.9396 12.8 6.28319
.color 0.255519 0 0.744481
.cylinder 61.6913 14.9463 16 63.0604 11.6409 12.8 6.28319
"""


@pytest.fixture
def grid():
    return make_orientation_grid(1, point_group("C1"))


def numbers(text, word):
    lines = [line.split() for line in text.splitlines()]
    return np.array([line[1:] for line in lines if line[0] == word], dtype=float)


def test_uniform_distribution_is_drawn_as_relion_draws_it(grid):
    lines = angdist_text(grid, np.full(48, 1 / 48), BOX_ANGST).splitlines()
    assert len(lines) == 96
    # the first lines of RELION 3.1.3's file
    assert lines[:4] == [
        ".color 0.166667 0 0.833333",
        ".cylinder 80 80 64 89.6 89.6 68.8 6.28319",
        ".color 0.166667 0 0.833333",
        ".cylinder 61.6913 81.0537 80 65.7987 90.9698 89.6 6.28319",
    ]


def test_distribution_of_particles_is_drawn_as_relion_draws_it(grid):
    counts = np.array([int(digit) for digit in COUNTS], dtype=float)
    text = angdist_text(grid, counts / counts.sum(), BOX_ANGST)
    for word in (".color", ".cylinder"):
        # both were rounded to six digits
        expected = numbers(FROM_RELION, word)
        np.testing.assert_allclose(numbers(text, word), expected, rtol=1e-5, atol=1e-5)


def test_empty_directions_are_not_drawn(grid):
    pdf = np.zeros(48)
    pdf[7] = 1.0
    text = angdist_text(grid, pdf, BOX_ANGST)
    assert len(text.splitlines()) == 2
    assert text.startswith(".color 1 0 0\n")


def test_cylinders_too_short_to_see_are_not_drawn(grid):
    pdf = np.full(48, 1e-9)
    pdf[7] = 1.0
    assert len(angdist_text(grid, pdf, BOX_ANGST).splitlines()) == 2


def test_the_file_holds_the_lines(grid, tmp_path):
    pdf = np.full(48, 1 / 48)
    write_angdist(tmp_path / "a.bild", grid, pdf, BOX_ANGST)
    assert (tmp_path / "a.bild").read_text() == angdist_text(grid, pdf, BOX_ANGST)
