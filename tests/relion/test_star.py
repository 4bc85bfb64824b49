"""Operations on STAR files give what relion_star_handler gives."""

from __future__ import annotations

import shutil

import mrcfile
import numpy as np
import polars as pl
import pytest
from factories.particle_stars import write_particle_star

from relion_mpi.cli import main as command_line
from relion_mpi.geometry.operator_order import numbered_operators
from relion_mpi.io.star import read_star

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_star_handler") is None, reason="relion_star_handler is not installed"
    ),
]
DIGITS = 1e-4  # RELION writes six of them
GROUPS = "C1 C5 D2 D3 D7 T O I1 I2 I3 I4".split()


@pytest.fixture
def both(tmp_path, monkeypatch, relion):
    """Run both programs with the same words; their files and ours, by what follows `out`."""
    monkeypatch.chdir(tmp_path)
    write_particle_star(tmp_path / "a.star", [("one", 2.7), ("two", 2.7)])
    groups = [("two", 2.7), ("three", 1.4)]
    write_particle_star(tmp_path / "b.star", groups, 20, 2, ["CtfFigureOfMerit"])

    def run(*words, theirs=(), program="relion_star_handler", ours=()):
        (tmp_path / "relion").mkdir()
        (tmp_path / "ours").mkdir()
        # RELION 3.1.3 also wants to write beside the root of a split.
        (tmp_path / "relion" / "out.star").mkdir() if "--split" in words else None
        relion(program, *words, *theirs, "--o", "relion/out.star")
        assert command_line.main(["star", *words, *ours, "--o", "ours/out.star"]) == 0
        return [
            {
                path.name: read_star(path)
                for path in sorted((tmp_path / who).glob("out*.star")) if path.is_file()
            }
            for who in ("relion", "ours")
        ]  # fmt: skip

    return run


def assert_same(theirs, ours):
    assert theirs.keys() == ours.keys()
    assert theirs
    for name, blocks in theirs.items():
        for block, rows in blocks.items():
            mine = ours[name][block]
            assert mine.columns == rows.columns, (name, block)
            assert mine.height == rows.height, (name, block)
            for label in rows.columns:
                if rows[label].dtype == pl.String:
                    assert mine[label].to_list() == rows[label].to_list(), label
                else:
                    np.testing.assert_allclose(
                        mine[label], rows[label], rtol=2e-6, atol=DIGITS, err_msg=label
                    )


@pytest.mark.parametrize(
    "words",
    [
        ("--combine", "--i", "a.star b.star"),
        ("--combine", "--i", "b.star a.star b.star"),
        ("--i", "a.star", "--split", "--nr_split", "4"),
        ("--i", "a.star", "--split", "--size_split", "12"),
        ("--i", "a.star", "--split", "--size_split", "12", "--nr_split", "2"),
        ("--i", "a.star", "--select", "rlnDefocusU", "--minval", "10000", "--maxval", "15000"),
        ("--i", "a.star", "--select_by_str", "rlnMicrographName", "--select_include", "mic1"),
        ("--i", "a.star", "--select_by_str", "rlnMicrographName", "--select_exclude", "mic1"),
        ("--i", "a.star", "--operate", "rlnDefocusU", "--operate2", "rlnAngleRot", "--multiply_by",
         "2", "--add_to", "5"),
        ("--i", "a.star", "--operate", "rlnClassNumber", "--set_to", "7"),
        ("--i", "a.star", "--add_column", "rlnRandomSubset", "--add_column_value", "2"),
        ("--i", "a.star", "--add_column", "rlnAngleRotPrior", "--copy_column_from", "rlnAngleRot"),
        ("--i", "a.star", "--remove_column", "rlnDefocusU"),
        ("--i", "a.star", "--center", "--center_X", "3", "--center_Y", "-2", "--center_Z", "5"),
    ],
    ids=lambda words: "_".join(word.strip("-") for word in words[:6]),
)  # fmt: skip
def test_the_files_are_relion_s(both, words):
    assert_same(*both(*words))


@pytest.mark.parametrize("words", [("40",), ("90",), ("60", "--image_angpix", "1")])
def test_particles_near_others_are_the_same(both, words):
    theirs, ours = both("--i", "a.star", "--remove_duplicates", *words)
    left_out = ours.pop("out_removed.star")["particles"]
    # RELION writes these without a name of the table, and without optics groups.
    wanted = theirs.pop("out_removed.star")[""]
    assert left_out["rlnImageName"].to_list() == wanted["rlnImageName"].to_list()
    assert_same(theirs, ours)


def test_images_unlike_the_others_are_the_same(both, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.normal(0, 1, (30, 32, 32)).astype(np.float32)
    pixels[4] += 3
    pixels[9] *= 4
    mrcfile.write(tmp_path / "a.mrcs", pixels)
    theirs, ours = both("--i", "a.star", "--discard_on_stats", "--discard_sigma", "3")
    assert ours["out.star"]["particles"].height == 28
    assert_same(theirs, ours)


@pytest.mark.parametrize("sym", ["C3", "D2", "D7", "T", "O", "I1", "I2", "I3", "I4"])
def test_expanded_particles_are_relion_s(both, sym):
    theirs, ours = both(
        "--i", "a.star", "--sym", sym, program="relion_particle_symmetry_expand",
        ours=["--symmetry_expand"],
    )  # fmt: skip
    assert_same(theirs, ours)


@pytest.mark.parametrize("sym", GROUPS)
def test_operators_are_numbered_as_by_relion(relion, sym):
    said = relion("relion_refine", "--print_symmetry_ops", "--sym", sym).splitlines()
    rows = [
        [[float(word) for word in said[k + j].split()] for j in (1, 2, 3)]
        for k, line in enumerate(said) if line.strip().startswith("R(")
    ]  # fmt: skip
    np.testing.assert_allclose(numbered_operators(sym), rows, atol=5e-5)


def test_particles_of_3_0_get_the_groups_of_relion(both, tmp_path):
    labels = ("ImageName", "MicrographName", "OriginX", "OriginY", "Voltage", "SphericalAberration",
              "AmplitudeContrast", "Magnification", "DetectorPixelSize", "DefocusU")  # fmt: skip
    rng = np.random.default_rng(3)
    rows = [
        (f"{k:06d}@a.mrcs", "m.mrc", *np.round(rng.uniform(-3, 3, 2), 3), 300, 2.7 - 0.1 * (k % 2),
         0.1, 10000, 2.0, 12345.0 + k) for k in range(1, 9)
    ]  # fmt: skip
    text = "data_\n\nloop_\n" + "".join(f"_rln{label}\n" for label in labels)
    (tmp_path / "a.star").write_text(text + "".join(" ".join(map(str, r)) + "\n" for r in rows))
    theirs, ours = both("--i", "a.star", "--select", "rlnDefocusU", "--minval", "12348")
    particles = ours["out.star"]["particles"]
    wanted = theirs["out.star"]["particles"]
    assert particles.height == wanted.height == 6
    for label in ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOpticsGroup"):
        np.testing.assert_allclose(particles[label], wanted[label], atol=DIGITS)


def test_statistics_of_a_column_are_relion_s(relion, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_particle_star(tmp_path / "a.star", [("one", 2.7)], 200)
    said = relion("relion_star_handler", "--i", "a.star", "--hist_column", "rlnDefocusU", "--o",
                  "theirs.star")  # fmt: skip
    words = said.replace(":", " ").split()
    theirs = [float(words[words.index(name) + 1]) for name in ("Mean", "Std", "Min", "Max")]
    words = ["--i", "a.star", "--hist_column", "rlnDefocusU", "--o", "o.star"]
    assert command_line.main(["star", *words]) == 0
    ours = capsys.readouterr().out.replace(",", "").split()
    found = [
        float(ours[ours.index(name) + 1]) for name in ("mean", "deviation", "min", "max")
    ]  # fmt: skip
    np.testing.assert_allclose(found, theirs, rtol=1e-5)
