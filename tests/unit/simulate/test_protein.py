from dataclasses import replace

import numpy as np
import pytest

from relion_mpi.atoms.scatterers import density
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.simulate.protein import made_up_protein


@pytest.mark.parametrize("name", ["C1", "C4", "D2", "D7", "O", "I1"])
def test_the_made_up_protein_is_about_150_angstrom_across(name):
    diameter = 2 * made_up_protein(point_group(name)).radius_angst
    assert diameter == pytest.approx(150, abs=5)


@pytest.mark.parametrize("name", ["C3", "D2", "O"])
def test_the_made_up_protein_has_the_symmetry_asked_for(name):
    group = point_group(name)
    position = made_up_protein(group).position_angst
    turned = position @ group.operators[-1].T
    nearest = np.abs(turned[:50, None] - position[None]).max(axis=2).min(axis=1)
    np.testing.assert_allclose(nearest, 0.0, atol=1e-9)


def test_the_made_up_protein_has_no_mirror_image_in_itself():
    position = made_up_protein(point_group("C1")).position_angst
    values, axes = np.linalg.eigh(position.T @ position)
    skew = ((position @ axes) ** 3).mean(axis=0) / (values / len(position)) ** 1.5
    # Three different moments, and a skew along each axis: no rotation turns it into its mirror.
    assert np.diff(values).min() > 0.05 * values.max()
    assert np.abs(skew).min() > 0.02


def test_the_made_up_protein_is_the_same_every_time():
    group = point_group("C1")
    np.testing.assert_array_equal(
        made_up_protein(group).position_angst, made_up_protein(group).position_angst
    )


def test_helices_show_at_ten_angstrom():
    """Rods on a lattice 10.5 A wide scatter into spots; beads moved at random lose them."""
    protein = made_up_protein(point_group("C1"))
    noise = np.random.default_rng(0).normal(0, 2.5, protein.position_angst.shape)
    blurred = replace(protein, position_angst=protein.position_angst + noise)
    axis, half = np.fft.fftfreq(64, 3.5) ** 2, np.fft.rfftfreq(64, 3.5) ** 2
    s = np.sqrt(axis[:, None, None] + axis[None, :, None] + half)
    band = np.abs(s - 1 / 9.5) < 0.008

    def spottiness(one):
        power = (np.abs(np.fft.rfftn(density(one, 64, 3.5))) ** 2)[band]
        return power.max() / power.mean()

    # Speckle of n independent pixels peaks at ln n = 9 times its mean.
    assert spottiness(blurred) < 15
    assert spottiness(protein) > 25
