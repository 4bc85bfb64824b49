"""One iteration of 3D classification agrees with that of relion_refine."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest
from factories.maps import blob_map
from factories.one_estep import apart, column, noise_difference, scalar
from factories.refinement import particle_set
from factories.relion_job import classified_by_both

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import write_star

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_refine") is None, reason="RELION is not installed"),
]

BOTH = (
    "--i", "set/particles.star", "--ref", "references.star", "--ini_high", "30",
    "--particle_diameter", "150", "--healpix_order", "1", "--offset_range", "3", "--offset_step",
    "2", "--perturb", "0", "--random_seed", "1", "--pad", "2", "--iter", "1", "--tau2_fudge", "4",
)  # fmt: skip
SAME = 1e-3


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Particles, models and maps of both programs, theirs first, and the models before."""
    folder = tmp_path_factory.mktemp("classes")
    for k in (0, 1):
        write_map(folder / f"{k}.mrc", blob_map(32, k), 6.0)
    made = particle_set(
        folder / "set", map=(folder / "0.mrc", folder / "1.mrc"), n=64, box=32, angpix=6.0,
        sym="C1", snr=0.2, n_micrographs=1,
    )  # fmt: skip
    names = [f"set/{path.name}" for path in made.maps]
    write_star(folder / "references.star", {"": pl.DataFrame({"rlnReferenceImage": names})})
    return classified_by_both(
        folder, "class3d", 2, BOTH, ("--no-firstiter_cc",),
        lambda one: [read_map(one / f"run_it001_class00{k}.mrc")[0] for k in (1, 2)],
    )  # fmt: skip


def test_particles_are_in_the_same_classes(both):
    theirs, ours = (one[0] for one in both)
    assert (theirs["rlnClassNumber"] == ours["rlnClassNumber"]).all()
    pmax = [column(one, "rlnMaxValueProbDistribution") for one in (theirs, ours)]
    assert (np.abs(pmax[0] - pmax[1]) <= 0.01).mean() >= 0.98
    assert (theirs["rlnNrOfSignificantSamples"] == ours["rlnNrOfSignificantSamples"]).mean() >= 0.95


def test_classes_have_the_same_sizes_and_parameters(both):
    theirs, ours = (one[1] for one in both)
    sizes = [column(one["model_classes"], "rlnClassDistribution") for one in (theirs, ours)]
    assert apart(*sizes).max() <= SAME
    assert noise_difference(theirs, ours) <= SAME
    for name in (
        "rlnNormCorrectionAverage", "rlnSigmaOffsetsAngst", "rlnLogLikelihood",
        "rlnCurrentResolution", "rlnCurrentImageSize",
    ):  # fmt: skip
        assert apart(scalar(theirs, name), scalar(ours, name)) <= SAME, name


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("name", ["rlnReferenceTau2", "rlnSsnrMap"])
def test_spectra_of_each_class_are_the_same(both, k, name):
    theirs, ours = (column(one[1][f"model_class_{k}"], name) for one in both)
    inside = slice(1, 16)  # the last shell is cut by RELION's window
    np.testing.assert_allclose(ours[inside], theirs[inside], rtol=SAME)


@pytest.mark.parametrize("k", [1, 2])
def test_the_first_signal_to_noise_ratios_are_the_same(both, k):
    theirs, ours = (column(one[3][f"model_class_{k}"], "rlnSsnrMap") for one in both)
    np.testing.assert_allclose(ours[1:7], theirs[1:7], rtol=SAME)


@pytest.mark.parametrize("k", [0, 1])
def test_maps_are_the_same(both, k):
    theirs, ours = (np.float64(one[2][k]) for one in both)
    assert fourier_shell_correlation(theirs, ours).min() > 0.999
    assert np.abs(theirs - ours).max() < 1e-3 * np.abs(theirs).max()
