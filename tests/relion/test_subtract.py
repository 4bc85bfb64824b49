"""`relion-mpi subtract` writes the images and columns that relion_particle_subtract writes."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import polars as pl
import pytest
from factories.refinement import particle_set

from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.parallel.comm import World
from relion_mpi.subtract.options import SubtractOptions
from relion_mpi.subtract.program import subtract

BOX, PIXEL, N = 32, 4.0, 60
TOLERANCE = 4e-6
"""Of the largest pixel: RELION writes float32 images, and maps and tables of six digits."""
TABLE = "particles_subtracted.star"
SIZE = "_rlnCurrentImageSize                              32"
OPTIMISER, MODEL = "run/it_it001_optimiser.star", "run/it_it001_model.star"

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_particle_subtract") is None, reason="RELION is not installed"
    ),
]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A classification of one iteration at given poses; images may be compared to the last digit.

    The model's image size is a little less than the box: RELION's projections lack the row y = -N
    of the padded transform, which they reach at Nyquist. A magnification a little below 1 keeps
    pixels from lying exactly at the edge, where rounding decides in RELION whether they count. Beam
    tilt is along x, and so 0 on the row y = N/2, where RELION takes the phase of y = -N/2.
    """
    folder = tmp_path_factory.mktemp("job")
    made = particle_set(
        folder / "set", n=N, box=BOX, angpix=PIXEL, sym="C1", n_optics=2, n_micrographs=4
    )
    blocks = read_star(made.truth)
    blocks["optics"] = blocks["optics"].with_columns(
        rlnMagMat00=0.9995, rlnMagMat01=0.0, rlnMagMat10=0.0, rlnMagMat11=0.9988,
        rlnBeamTiltX=pl.Series([0.4, -1.0]), rlnBeamTiltY=0.0,
    )  # fmt: skip
    write_star(folder / "in.star", blocks)
    (folder / "run").mkdir()
    words = [
        "relion_refine", "--i", "in.star", "--ref", made.maps[0], "--o", "run/it", "--iter", 1,
        "--ctf", "--norm", "--scale", "--skip_align", "--zero_mask", "--firstiter_cc",
        "--particle_diameter", 100, "--pad", 2,
    ]  # fmt: skip
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    model = (folder / MODEL).read_text()
    assert SIZE in model
    (folder / MODEL).write_text(model.replace(SIZE, SIZE.replace("32", "30")))
    axis = np.arange(BOX) - BOX // 2
    distance = np.sqrt(
        (axis - 4) ** 2 + axis[:, None] ** 2 + (axis[:, None, None] + 2) ** 2
    )
    write_map(folder / "mask.mrc", 1 / (1 + np.exp((distance - 7) / 0.7)), PIXEL)
    return folder


def changed(job, **texts):
    """Change the model and the optimiser: pieces of text, each with what takes its place."""
    model = (job / MODEL).read_text()
    for before, after in texts.values():
        assert before in model
        model = model.replace(before, after)
    (job / "new_model.star").write_text(model)
    optimiser = (job / OPTIMISER).read_text()
    (job / "new_optimiser.star").write_text(
        optimiser.replace(MODEL, "new_model.star")
    )
    return "new_optimiser.star"


def both(job, monkeypatch, optimiser, *flags, **changes):
    monkeypatch.chdir(job)
    for out in ("theirs", "ours"):
        shutil.rmtree(job / out, ignore_errors=True)
    words = ["relion_particle_subtract", "--i", optimiser, "--o", "theirs", *flags]
    done = subprocess.run(
        [str(word) for word in words], cwd=job, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    values = {"i": job / optimiser, "o": job / "ours", "compat": "relion3"}
    subtract(SubtractOptions(**(values | changes)), World(None, 0, 1))


def images_in(folder):
    tables = read_star(folder / TABLE)
    names = tables["particles"]["rlnImageName"].to_list()
    stacks = {name.split("@")[1]: read_map(name.split("@")[1])[0] for name in set(names)}
    found = [stacks[name.split("@")[1]][int(name.split("@")[0]) - 1] for name in names]
    return np.array(found, float), tables


def check(job, tolerance=TOLERANCE):
    (ours, our_tables), (theirs, their_tables) = (images_in(job / x) for x in ("ours", "theirs"))
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()
    for name in ("optics", "particles"):
        mine, his = our_tables[name], their_tables[name]
        assert mine.columns == his.columns
        for label in mine.columns:
            if label == "rlnImageName":
                renamed = mine[label].str.replace(f"{job}/ours", "theirs", literal=True)
                assert renamed.equals(his[label])
            elif mine[label].dtype.is_numeric():
                # RELION writes six digits.
                np.testing.assert_allclose(
                    mine[label].to_numpy(), his[label].to_numpy(), rtol=1e-5, atol=1e-5
                )
            else:
                assert mine[label].equals(his[label])


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        ([], {}),
        (["--recenter_on_mask"], {"recenter_on_mask": True}),
        (["--center_x", 3, "--center_y", -2, "--center_z", 1, "--new_box", 20],
         {"center_x": 3.0, "center_y": -2.0, "center_z": 1.0, "new_box": 20}),
        (["--new_box", 40], {"new_box": 40}),
    ],
    ids=["plain", "mask", "point", "larger"],
)  # fmt: skip
def test_images_and_columns_are_those_of_relion(job, monkeypatch, flags, changes):
    both(
        job, monkeypatch, OPTIMISER, "--mask", "mask.mrc", *flags,
        mask=job / "mask.mrc", **changes,
    )  # fmt: skip
    check(job)


def test_the_whole_map_is_subtracted_without_a_mask(job, monkeypatch):
    both(job, monkeypatch, OPTIMISER)
    check(job)


def test_scales_of_groups_and_the_image_size_of_the_model_count(job, monkeypatch):
    optimiser = changed(
        job, scale=("     1.000000", "     1.300000"),
        size=(SIZE.replace("32", "30"), SIZE.replace("32", "22")),
    )  # fmt: skip
    words = "--mask", "mask.mrc"
    both(job, monkeypatch, optimiser, *words, mask=job / "mask.mrc")
    check(job)
    there = images_in(job / "theirs")[0]
    both(job, monkeypatch, OPTIMISER, *words, mask=job / "mask.mrc")
    assert np.abs(images_in(job / "theirs")[0] - there).max() > 0.1  # they do matter


def test_the_ratio_is_that_of_relion(job, monkeypatch):
    both(job, monkeypatch, OPTIMISER, "--ssnr", ssnr=True)
    ours, theirs = (read_star(job / x / "spectral_snr.star")[""] for x in ("ours", "theirs"))
    assert ours.columns == theirs.columns
    for label in ours.columns:
        np.testing.assert_allclose(ours[label], theirs[label], rtol=2e-5, atol=1e-6)


def test_reverted_tables_are_those_of_relion(job, monkeypatch):
    both(job, monkeypatch, OPTIMISER, "--mask", "mask.mrc", mask=job / "mask.mrc",
         new_box=20)  # fmt: skip
    table = job / "ours" / TABLE
    done = subprocess.run(
        ["relion_particle_subtract", "--revert", str(table), "--o", "theirs/"], cwd=job,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    subtract(SubtractOptions(revert=table, o=job / "ours"), World(None, 0, 1))
    ours, theirs = (read_star(job / x / "original.star") for x in ("ours", "theirs"))
    labels = ["rlnImageName", "rlnImageOriginalName", "rlnOpticsGroup", "rlnMicrographName"]
    assert ours["particles"].select(labels).equals(theirs["particles"].select(labels))
    assert ours["optics"]["rlnImageSize"].to_list() == theirs["optics"]["rlnImageSize"].to_list()
