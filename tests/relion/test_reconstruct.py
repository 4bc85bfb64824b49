"""`relion-mpi reconstruct` writes the maps that relion_reconstruct writes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from factories.refinement import particle_set

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.io.mrc import read_header, read_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.parallel.comm import World
from relion_mpi.reconstruct.options import ReconstructOptions
from relion_mpi.reconstruct.program import reconstruct

BOX, N = 32, 400
TOLERANCE = 2e-6
"""Of the largest voxel, in double precision: RELION writes float32 files."""
MAGNIFICATION = dict(zip(("00", "01", "10", "11"), (0.9995, 0.0002, -0.0003, 0.9988), strict=True))
"""At 1, rounding alone decides in RELION whether the pixels exactly at Nyquist count."""

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_reconstruct") is None, reason="RELION is not installed"
    ),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return particle_set(tmp_path_factory.mktemp("set"), n=N, box=BOX, sym="C1", n_optics=2)


def table(made, path, *, magnified=True, **optics):
    """Write the true poses, with half-sets and what is said of the optics groups."""
    blocks = read_star(made.truth)
    of_optics = {f"rlnMagMat{key}": value for key, value in MAGNIFICATION.items()}
    of_optics = (of_optics if magnified else {}) | optics
    frame = blocks["optics"]
    for label, value in of_optics.items():
        values = value if isinstance(value, list) else [value] * frame.height
        frame = frame.with_columns(**{label: np.array(values)})
    halves = 1 + np.random.default_rng(1).permutation(N) % 2
    classes = 1 + np.random.default_rng(2).permutation(N) % 2
    particles = blocks["particles"].with_columns(
        rlnRandomSubset=halves, rlnClassNumber=classes,
    )  # fmt: skip
    write_star(path, {"optics": frame, "particles": particles})
    return path


def both(relion, folder, star, *flags, precision="float64", **changes):
    relion("relion_reconstruct", "--i", star, "--o", "theirs.mrc", "--ctf", *flags)
    values = {"i": star, "o": folder / "ours.mrc", "ctf": True, "precision": precision}
    reconstruct(ReconstructOptions(**(values | changes)), World(None, 0, 1))
    assert read_header(folder / "ours.mrc").pixel_size_angst == pytest.approx(
        read_header(folder / "theirs.mrc").pixel_size_angst
    )
    return (read_map(folder / f"{name}.mrc")[0].astype(float) for name in ("ours", "theirs"))


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        ([], {}),
        (["--skip_gridding"], {"skip_gridding": True}),
        (["--iter", 3], {"iter": 3}),
        (["--sym", "D2"], {"sym": "D2"}),
        (["--subset", 2], {"subset": 2}),
        (["--class", 1], {"class_": 1}),
        (["--angpix", 5.4], {"angpix": 5.4}),
        (["--pad", 1], {"pad": 1}),
        (["--maxres", 16, "--skip_gridding"], {"maxres": 16.0, "skip_gridding": True}),
        (["--ctf_intact_first_peak"], {"ctf_intact_first_peak": True}),
        (["--ctf_phase_flipped"], {"ctf_phase_flipped": True}),
        (["--only_flip_phases"], {"only_flip_phases": True}),
    ],
    ids=lambda value: "".join(map(str, value)) if isinstance(value, list) else "",
)
def test_maps_are_those_of_relion(made, relion, tmp_path, flags, changes):
    ours, theirs = both(relion, tmp_path, table(made, tmp_path / "a.star"), *flags, **changes)
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()


def test_beam_tilt_and_aberrations_of_each_optics_group_are_those_of_relion(
    made, relion, tmp_path
):
    """Tilts are along x: at (0, N/2) RELION takes the phase of (0, -N/2), and there it is 0."""
    along = {"rlnMagMat01": 0.0, "rlnMagMat10": 0.0}
    star = table(
        made, tmp_path / "a.star", rlnBeamTiltX=[0.4, -1.0], rlnBeamTiltY=0.0,
        rlnEvenZernike=["[0.1,0.2,0.3,-0.2,0.1,0.05,0.1,0,0.1]"] * 2, **along,
    )  # fmt: skip
    ours, theirs = both(relion, tmp_path, star)
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()
    plain, _ = both(relion, tmp_path, table(made, tmp_path / "b.star", **along))
    assert np.abs(ours - plain).max() > 0.01 * np.abs(theirs).max()  # they do matter


def test_single_precision_is_enough(made, relion, tmp_path):
    """1e-5 of the largest voxel, as for the maps of refinement."""
    ours, theirs = both(relion, tmp_path, table(made, tmp_path / "a.star"), precision="float32")
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("skip_gridding", [False, True], ids=["gridding", "divide"])
def test_without_magnification_maps_agree_up_to_nyquist(made, relion, tmp_path, skip_gridding):
    """FSC 0.999 at all shells to Nyquist - 2, grey scale within 1 % there.

    Pixels exactly at Nyquist are in or out of RELION's slices by the last digit. The voxels that
    they reach differ, the more so the fewer samples these have: symmetry stands for particles here.
    """
    star = table(made, tmp_path / "a.star", magnified=False)
    flags = ["--sym", "D2", *(["--skip_gridding"] if skip_gridding else [])]
    ours, theirs = both(relion, tmp_path, star, *flags, sym="D2", skip_gridding=skip_gridding)
    last = BOX // 2 - 2
    assert fourier_shell_correlation(ours, theirs)[1 : last + 1].min() > 0.999
    assert (ours * theirs).sum() / (theirs**2).sum() == pytest.approx(1, abs=0.01)
