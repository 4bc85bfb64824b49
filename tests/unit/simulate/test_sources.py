from dataclasses import replace

import gemmi
import numpy as np
import pytest
from scipy import ndimage

from relion_mpi.atoms.models import read_model
from relion_mpi.core.errors import InputError
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.sources import symmetrised, true_maps


def write_model(path, atoms):
    structure = gemmi.Structure()
    model, chain, residue = gemmi.Model(1), gemmi.Chain("A"), gemmi.Residue()
    residue.name, residue.seqid = "ALA", gemmi.SeqId("1")
    for name, position in atoms:
        atom = gemmi.Atom()
        atom.name, atom.element, atom.b_iso = name, gemmi.Element(name), 60.0
        atom.pos = gemmi.Position(*position)
        residue.add_atom(atom)
    chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.write_pdb(str(path))
    return path


def test_a_model_is_centred_and_its_atoms_stand_where_the_file_says(tmp_path):
    path = write_model(tmp_path / "m.pdb", [("C", (10, 0, 0)), ("C", (22, 0, 0)), ("H", (0, 0, 0))])
    (volume,) = true_maps(SimulateOptions(o=tmp_path, box=32, angpix=2.0, model=(path,)))
    peaks = [volume[16, 16, 13], volume[16, 16, 19]]
    np.testing.assert_allclose(peaks, volume.max(), rtol=1e-3)
    assert volume[16, 16, 16] < 0.05 * volume.max()


def test_heavier_elements_scatter_more(tmp_path):
    path = write_model(tmp_path / "m.pdb", [("C", (0, 0, 0)), ("S", (20, 0, 0))])
    scatterers = read_model(path)
    strength = scatterers.amplitude.sum(axis=1)[scatterers.kind]
    assert strength[1] > 1.5 * strength[0]


@pytest.mark.parametrize("text", ["", "not a model\n"])
def test_a_file_without_atoms_is_refused_by_name(tmp_path, text):
    path = tmp_path / "bad.pdb"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.pdb"):
        read_model(path)


def test_map_and_model_together_are_refused(tmp_path):
    both = SimulateOptions(o=tmp_path, map=(tmp_path / "a",), model=(tmp_path / "b",))
    with pytest.raises(InputError, match="keep one"):
        true_maps(both)


def test_a_symmetrised_map_does_not_change_when_turned_by_the_group():
    rng = np.random.default_rng(2)
    volume = ndimage.gaussian_filter(rng.normal(size=(24,) * 3), 2.0).astype(np.float32)
    result = symmetrised(volume, point_group("C4"))
    turned = np.rot90(result[1:, 1:, 1:], axes=(1, 2))  # about the voxel 12, which is n // 2
    inner = np.s_[4:-4, 4:-4, 4:-4]
    np.testing.assert_allclose(turned[inner], result[1:, 1:, 1:][inner], atol=1e-3 * volume.std())


def test_the_bfactor_damps_high_resolution_as_its_formula_says(tmp_path):
    plain = SimulateOptions(o=tmp_path, box=32, angpix=7.0)
    before, after = (np.abs(np.fft.rfftn(true_maps(o)[0])) for o in
                     (plain, replace(plain, bfactor=800.0)))  # fmt: skip
    s = 8 / (32 * 7.0)
    assert after[8, 0, 0] / before[8, 0, 0] == pytest.approx(np.exp(-200.0 * s**2), rel=1e-3)
