import pytest

from relion_mpi.backend.gpu import volume_memory
from relion_mpi.backend.gpu.volume_memory import peak_bytes, slabs_at_once, too_large

GIB = 2.0**30


def test_a_box_of_512_fits_on_a_card_of_80_gb():
    for skip_gridding in (True, False):
        need = peak_bytes(512, 256, 2, skip_gridding=skip_gridding, n_operators=60)
        assert 40e9 < need < 79 * GIB - 512 * 2**20


def test_the_peak_holds_both_halves_and_one_transform():
    voxels = 259 * 259 * 130
    need = peak_bytes(128, 64, 2) - volume_memory.WORK_BYTES
    assert need == 2 * 24 * voxels + 8 * voxels + 16 * 256 * 256 * 129


def test_symmetry_needs_a_second_copy_of_one_half():
    voxels = 259 * 259 * 130
    need = peak_bytes(128, 64, 2, n_operators=4) - volume_memory.WORK_BYTES
    assert need == 3 * 24 * voxels + 24 * volume_memory.SLAB_VOXELS


@pytest.mark.parametrize("n", [16, 29, 60, 261, 1024])
def test_slabs_divide_the_cube_and_keep_within_their_bytes(n):
    k = slabs_at_once(n, 1024)
    assert n % k == 0
    assert k == 1 or 16 * 1024 * 513 * k <= volume_memory.SLAB_BYTES


def test_a_plane_that_is_larger_than_a_slab_is_taken_alone():
    assert slabs_at_once(4096, 4096) == 1


def test_a_padded_box_beyond_32_bits_is_too_large():
    assert not too_large(640, 2)
    assert too_large(648, 2)
