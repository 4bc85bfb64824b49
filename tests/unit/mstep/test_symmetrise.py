import numpy as np
import pytest
from factories.sums import interleaved, packed, projected_sums, random_sums

from relion_mpi.core.errors import NumericalError
from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.mstep.maximise import symmetrised
from relion_mpi.mstep.reconstruct import reconstruct
from relion_mpi.simulate.sources import symmetrised as symmetric_map


def test_friedel_mates_of_the_x0_plane_are_added():
    sums = random_sums()
    data, weight = sums.data.copy(), sums.weight.copy()
    sums.backend.enforce_friedel(sums)
    o = sums.data.shape[0] // 2
    assert sums.data[o + 3, o - 2, 0] == data[o + 3, o - 2, 0] + data[o - 3, o + 2, 0].conj()
    assert sums.data[o - 3, o + 2, 0] == sums.data[o + 3, o - 2, 0].conj()
    assert sums.weight[o + 3, o - 2, 0] == weight[o + 3, o - 2, 0] + weight[o - 3, o + 2, 0]


def test_the_origin_and_other_planes_stay():
    sums = random_sums()
    data, weight = sums.data.copy(), sums.weight.copy()
    sums.backend.enforce_friedel(sums)
    o = sums.data.shape[0] // 2
    assert sums.data[o, o, 0] == data[o, o, 0]
    assert sums.weight[o, o, 0] == weight[o, o, 0]
    np.testing.assert_array_equal(sums.data[:, :, 1:], data[:, :, 1:])


def test_a_fourfold_axis_adds_four_exact_voxels():
    # Rotations by 90 degrees about z move voxels onto voxels: no interpolation.
    sums = random_sums(seed=2)
    sums.backend.enforce_friedel(sums)
    data, o = sums.data.copy(), sums.data.shape[0] // 2

    def at(x, y, z):
        return data[o + z, o + y, x] if x >= 0 else data[o - z, o - y, -x].conj()

    sums.backend.apply_point_group(sums, point_group("C4").operators)
    for x, y, z in ((3, 2, 1), (1, -4, 2), (5, 0, -3)):
        expected = at(x, y, z) + at(-y, x, z) + at(-x, -y, z) + at(y, -x, z)
        assert sums.data[o + z, o + y, x] == pytest.approx(expected, abs=1e-9)


def test_weights_of_one_count_the_operators():
    sums = random_sums(seed=3)
    sums.weight[...] = 1.0
    sums.backend.apply_point_group(sums, point_group("D2").operators)
    o = sums.data.shape[0] // 2
    assert sums.weight[o + 2, o + 1, 3] == pytest.approx(4.0)


def test_no_symmetry_changes_nothing():
    sums = random_sums(seed=4)
    before = sums.copy()
    sums.backend.apply_point_group(sums, point_group("C1").operators)
    np.testing.assert_array_equal(sums.data, before.data)


def test_a_symmetrised_reconstruction_has_the_symmetry():
    volume, sums = projected_sums(n=200)
    group = point_group("C4")  # four-fold axes turn the grid into itself
    sums.backend.enforce_friedel(sums)
    sums.backend.apply_point_group(sums, group.operators)
    found = reconstruct(sums, None)
    turned = np.rot90(found[1:, 1:, 1:], axes=(1, 2))
    np.testing.assert_allclose(turned, found[1:, 1:, 1:], atol=1e-6 * np.abs(found).max())
    # Both sides interpolate; without the operators the correlation is far lower.
    expected = symmetric_map(volume.astype(np.float32), group).astype(float)
    assert fourier_shell_correlation(found, expected)[:8].min() > 0.95
    assert fourier_shell_correlation(volume, expected)[:8].min() < 0.8


def test_sums_that_are_not_finite_are_refused():
    volume = interleaved(random_sums())
    volume[13, 13, 3, 0] = np.nan
    with pytest.raises(NumericalError, match="NaN"):
        symmetrised(packed(volume), np.eye(3)[None], 12, 6, 2)


def test_sums_without_particles_are_refused():
    with pytest.raises(NumericalError, match="no particle"):
        symmetrised(np.zeros_like(packed(interleaved(random_sums()))), np.eye(3)[None], 12, 6, 2)
