"""One iteration of 2D classification agrees with that of relion_refine."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest
from factories.maps import blob_map
from factories.one_estep import apart, column, noise_difference, scalar
from factories.refinement import particle_set
from factories.relion_job import classified_by_both

from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import write_star

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_refine") is None, reason="RELION is not installed"),
]

K = 3
BOTH = (
    "--i", "set/particles.star", "--ref", "references.star", "--ini_high", "20",
    "--particle_diameter", "150", "--psi_step", "12", "--offset_range", "3", "--offset_step",
    "2", "--perturb", "0", "--random_seed", "1", "--pad", "2", "--iter", "1", "--tau2_fudge", "2",
)  # fmt: skip
SAME = 1e-3


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Particles, models and averages of both programs, theirs first, and the models before."""
    folder = tmp_path_factory.mktemp("averages")
    write_map(folder / "0.mrc", blob_map(32, 0), 6.0)
    made = particle_set(
        folder / "set", map=(folder / "0.mrc",), n=96, box=32, angpix=6.0, sym="C1", snr=0.2,
        n_micrographs=1,
    )  # fmt: skip
    volume = read_map(made.maps[0])[0]
    views = np.stack([volume.sum(axis=axis) for axis in range(K)])
    write_map(folder / "views.mrcs", views, 6.0, stack=True)
    names = [f"{k + 1:06d}@views.mrcs" for k in range(K)]
    write_star(folder / "references.star", {"": pl.DataFrame({"rlnReferenceImage": names})})
    return classified_by_both(
        folder, "class2d", K, BOTH, ("--no-firstiter_cc", "--no-center_classes"),
        lambda one: np.float64(read_map(one / "run_it001_classes.mrcs")[0]),
    )  # fmt: skip


def test_particles_have_the_same_poses_in_the_same_classes(both):
    theirs, ours = (one[0] for one in both)
    assert (theirs["rlnClassNumber"] == ours["rlnClassNumber"]).all()
    assert theirs["rlnClassNumber"].n_unique() == K
    for name in ("rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"):
        np.testing.assert_allclose(column(ours, name), column(theirs, name), atol=1e-5)


def test_particles_have_the_same_weights(both):
    theirs, ours = (one[0] for one in both)
    for name, tolerance in (
        ("rlnMaxValueProbDistribution", 1e-4), ("rlnNormCorrection", 1e-5),
        ("rlnLogLikeliContribution", 1e-3),
    ):  # fmt: skip
        np.testing.assert_allclose(column(ours, name), column(theirs, name), atol=tolerance)
    assert (theirs["rlnNrOfSignificantSamples"] == ours["rlnNrOfSignificantSamples"]).all()


def test_classes_have_the_same_sizes_and_parameters(both):
    theirs, ours = (one[1] for one in both)
    sizes = [column(one["model_classes"], "rlnClassDistribution") for one in (theirs, ours)]
    assert apart(*sizes).max() <= SAME
    assert noise_difference(theirs, ours) <= SAME
    for name in (
        "rlnNormCorrectionAverage", "rlnSigmaOffsetsAngst", "rlnLogLikelihood", "rlnAveragePmax",
        "rlnCurrentResolution", "rlnCurrentImageSize",
    ):  # fmt: skip
        assert apart(scalar(theirs, name), scalar(ours, name)) <= SAME, name


@pytest.mark.parametrize("k", range(1, K + 1))
@pytest.mark.parametrize(
    "name", ["rlnReferenceTau2", "rlnSsnrMap", "rlnReferenceSigma2", "rlnFourierCompleteness"]
)
def test_spectra_of_each_class_are_the_same(both, k, name):
    theirs, ours = (column(one[1][f"model_class_{k}"], name) for one in both)
    inside = slice(1, 16)  # the last shell is cut by RELION's window
    np.testing.assert_allclose(ours[inside], theirs[inside], rtol=2 * SAME)


@pytest.mark.parametrize("k", range(1, K + 1))
def test_the_first_signal_to_noise_ratios_are_the_same(both, k):
    theirs, ours = (column(one[3][f"model_class_{k}"], "rlnSsnrMap") for one in both)
    np.testing.assert_allclose(ours[1:10], theirs[1:10], rtol=SAME)


@pytest.mark.parametrize("k", range(K))
def test_averages_are_the_same(both, k):
    theirs, ours = (one[2][k] for one in both)
    assert np.ptp(theirs) > 0
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
