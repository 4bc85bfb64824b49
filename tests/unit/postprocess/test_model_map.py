"""Models beside maps made of them by summing structure factors atom by atom."""

from __future__ import annotations

import struct
from xml.etree import ElementTree

import gemmi
import numpy as np
import pytest
from scipy import fft

from relion_mpi.cli import main as command_line
from relion_mpi.core.errors import InputError
from relion_mpi.fourier.masks import half_transform_radius, soft_sphere
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import read_star
from relion_mpi.postprocess.model_density import is_model, model_density
from relion_mpi.postprocess.options import FscOptions
from relion_mpi.postprocess.two_maps import correlate

BOX, ANGPIX = 32, 2.0
SIDE = BOX * ANGPIX
ORIGIN = np.array([-11.0, 40.0, 7.0])
ELEMENTS = ("C", "N", "O", "S", "P")


def atoms(n=60, seed=0):
    """Elements, positions within the map, occupancies and B-factors."""
    rng = np.random.default_rng(seed)
    position = ORIGIN + (0.5 + rng.uniform(-0.25, 0.25, (n, 3))) * SIDE
    return (rng.choice(ELEMENTS, n), position.round(3), rng.choice([0.5, 1.0], n),
            rng.uniform(10.0, 150.0, n).round(2))  # fmt: skip


def write_model(path, elements, position, occupancy, b_factor):
    structure = gemmi.Structure()
    model, chain = gemmi.Model(1), gemmi.Chain("A")
    for i, (name, xyz, occ, b) in enumerate(
        zip(elements, position, occupancy, b_factor, strict=True)
    ):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(i + 1))
        atom.name, atom.element = str(name), gemmi.Element(str(name))
        atom.pos, atom.occ, atom.b_iso = gemmi.Position(*xyz), occ, b
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    if path.suffix == ".pdb":
        structure.write_pdb(str(path))
    else:
        structure.setup_entities()
        structure.make_mmcif_document().write_file(str(path))
    return path


def summed(elements, position, occupancy, b_factor):
    """Sum f(s) exp(-B s^2 / 4) exp(-2 pi i s x) over the atoms, x from voxel 0."""
    k = np.fft.fftfreq(BOX, 1 / BOX) / SIDE
    kx = np.arange(BOX // 2 + 1) / SIDE
    s2 = (half_transform_radius(BOX, 3) / SIDE) ** 2
    values, which = np.unique(s2, return_inverse=True)
    total = np.zeros(s2.shape, complex)
    for name, xyz, occ, b in zip(elements, position - ORIGIN, occupancy, b_factor, strict=True):
        phases = [np.exp(-2j * np.pi * f * x) for f, x in ((k, xyz[2]), (k, xyz[1]), (kx, xyz[0]))]
        form = gemmi.Element(str(name)).c4322.calculate_sf
        factor = np.array([form(v / 4) for v in values])[which].reshape(s2.shape)
        total += occ * factor * np.exp(-b * s2 / 4) * np.einsum("i,j,k->ijk", *phases)
    return fft.irfftn(total, s=(BOX,) * 3)


def write_placed(path, volume, *, by_start=False):
    """Write a map whose header says where it lies, by ORIGIN or by NSTART."""
    write_map(path, volume, ANGPIX)
    raw = bytearray(path.read_bytes())
    if by_start:
        struct.pack_into("<3i", raw, 16, *np.round(ORIGIN / ANGPIX).astype(int))
    else:
        struct.pack_into("<3f", raw, 196, *ORIGIN)
    path.write_bytes(raw)
    return path


@pytest.fixture(scope="module")
def volume():
    return summed(*atoms())


@pytest.fixture
def pair(tmp_path, volume):
    return write_placed(tmp_path / "map.mrc", volume), write_model(tmp_path / "m.cif", *atoms())


def test_a_model_correlates_with_its_own_density_up_to_nyquist(pair, tmp_path):
    found = correlate(FscOptions(a=pair[0], b=pair[1], o=tmp_path / "fsc"))
    assert found.with_model
    assert found.unmasked[: BOX // 2].min() > 0.999
    assert found.unmasked[: BOX // 4].min() > 0.99999


def test_its_density_is_the_sum_of_its_atoms(pair, volume):
    made = model_density(pair[1], pair[0], BOX, ANGPIX)
    inside = half_transform_radius(BOX, 3) < BOX / 4
    theirs, ours = (fft.rfftn(one)[inside] for one in (volume, made))
    np.testing.assert_allclose(ours, theirs, atol=0.01 * np.abs(theirs).max())
    assert ours[0] == pytest.approx(theirs[0], rel=1e-3)


def test_the_order_of_map_and_model_does_not_matter(pair, tmp_path):
    forth, back = (correlate(FscOptions(a=a, b=b, o=tmp_path / "fsc")) for a, b in
                   (pair, pair[::-1]))  # fmt: skip
    np.testing.assert_array_equal(forth.unmasked, back.unmasked)


@pytest.mark.parametrize("name", ["m.pdb", "m.cif"])
def test_the_frame_may_be_told_by_the_start_of_the_grid(tmp_path, name):
    elements, position, occupancy, b_factor = atoms()
    shifted = position - ORIGIN + np.round(ORIGIN / ANGPIX) * ANGPIX
    path = write_placed(tmp_path / "map.mrc", summed(*atoms()), by_start=True)
    model = write_model(tmp_path / name, elements, shifted, occupancy, b_factor)
    found = correlate(FscOptions(a=path, b=model, o=tmp_path / "fsc"))
    assert found.unmasked[: BOX // 2].min() > 0.999


def test_noise_of_known_power_is_told_at_0_5(tmp_path, pair, volume):
    """Beside a noiseless model, FSC = 1 / sqrt(1 + noise / signal): 0.5 where noise is 3 fold."""
    rng = np.random.default_rng(2)
    radius = half_transform_radius(BOX, 3)
    noise = np.exp(2j * np.pi * rng.random(radius.shape)) * np.abs(fft.rfftn(volume))
    noise *= np.where(radius < 9.5, 0.1, np.sqrt(30.0))
    path = write_placed(tmp_path / "noisy.mrc", volume + fft.irfftn(noise, s=(BOX,) * 3))
    found = correlate(FscOptions(a=path, b=pair[1], o=tmp_path / "fsc"))
    strict, half = found.resolutions_angst(found.unmasked)
    assert SIDE / 10 < half < SIDE / 9
    assert strict < half
    assert found.final_angst == half
    general = read_star(tmp_path / "fsc.star")["general"]
    assert float(general["rlnFinalResolution"]) == pytest.approx(half, rel=1e-6)


def test_atoms_far_from_where_they_belong_are_noticed(tmp_path, pair, caplog):
    elements, position, occupancy, b_factor = atoms()
    shifted = position + np.array([14.0, 0, 0])
    other = write_model(tmp_path / "o.cif", elements, shifted, occupancy, b_factor)
    correlate(FscOptions(a=pair[0], b=other, o=tmp_path / "fsc"))
    assert "the model may lie elsewhere" in caplog.text
    caplog.clear()
    part = position + np.array([0.4 * SIDE, 0, 0])
    partly = write_model(tmp_path / "p.cif", elements, part, occupancy, b_factor)
    correlate(FscOptions(a=pair[0], b=partly, o=tmp_path / "fsc"))
    assert "of the atoms lie outside of the map" in caplog.text
    away = write_model(tmp_path / "a.cif", elements, position + 200.0, occupancy, b_factor)
    with pytest.raises(InputError, match="expected them within the map"):
        correlate(FscOptions(a=pair[0], b=away, o=tmp_path / "fsc"))


def test_a_map_of_inverted_contrast_is_noticed(tmp_path, pair, volume, caplog):
    inverted = write_placed(tmp_path / "inverted.mrc", -volume)
    correlate(FscOptions(a=inverted, b=pair[1], o=tmp_path / "fsc"))
    assert "or contrast" in caplog.text


def test_two_models_are_refused(pair, tmp_path):
    with pytest.raises(InputError, match="found two atomic models"):
        correlate(FscOptions(a=pair[1], b=pair[1], o=tmp_path / "fsc"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.cif", True), ("a.pdb.gz", True), ("a.CIF.gz", True), ("pdb.mrc", False), ("a.gz", False)],
)
def test_models_are_known_by_name(tmp_path, name, expected):
    assert is_model(tmp_path / name) is expected


def test_the_xml_is_what_the_emdb_takes(pair, tmp_path):
    """emdb_fsc.xsd: fsc with three texts, coordinates of x and y, nothing else."""
    write_map(tmp_path / "mask.mrc", soft_sphere(BOX, 10.0, 4.0, 3), ANGPIX)
    words = ["fsc", *map(str, pair), "--mask", f"{tmp_path}/mask.mrc", "--o", f"{tmp_path}/out"]
    assert command_line.main(words) == 0
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (root.tag, set(root.attrib)) == ("fsc", {"title", "xaxis", "yaxis"})
    assert root.attrib["title"] == "model-map masked FSC"
    assert [point.tag for point in root] == ["coordinate"] * (BOX // 2 + 1)
    assert all([value.tag for value in point] == ["x", "y"] for point in root)
    x, y = (np.array([float(point.find(axis).text) for point in root]) for axis in "xy")
    np.testing.assert_allclose(x[1:], np.arange(1, BOX // 2 + 1) / SIDE, rtol=1e-5)
    assert x[0] > 0
    masked = read_star(tmp_path / "out.star")["fsc"]["rlnFourierShellCorrelationMaskedMaps"]
    np.testing.assert_allclose(y, masked.to_numpy(), atol=1e-5)
