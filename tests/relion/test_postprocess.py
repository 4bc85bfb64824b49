"""Curves, Guinier plot, B-factor and map of relion_postprocess."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from factories.maps import blob_map

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.postprocess.options import PostprocessOptions
from relion_mpi.postprocess.program import postprocess

BOX, ANGPIX = 32, 3.0
PRINTED = 2e-5
"""relion_postprocess prints five or six decimals."""
PREFIX = "rlnFourierShellCorrelation"
RANDOM = "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps"

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_postprocess") is None, reason="RELION is not installed"
    ),
]


@pytest.fixture
def both(relion, tmp_path, monkeypatch):
    """Run both programs on the same half-maps; their tables and maps are returned."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    signal = blob_map(BOX, 3, sigma_pix=1.2)
    for number in (1, 2):
        half = signal + rng.normal(0, 0.1, signal.shape)
        write_map(f"run_half{number}_unfil.mrc", half, ANGPIX)
    write_map("mask.mrc", soft_sphere(BOX, 9.0, 4.0, 3), ANGPIX)

    def run(*flags, **options):
        Path("theirs").mkdir(exist_ok=True)
        relion(
            "relion_postprocess", "--i", "run_half1_unfil.mrc", "--mask", "mask.mrc",
            "--angpix", ANGPIX, "--o", "theirs/postprocess", *flags,
        )  # fmt: skip
        first = Path("run_half1_unfil.mrc")
        postprocess(
            PostprocessOptions(
                i=first, mask=Path("mask.mrc"), o=Path("ours/postprocess"), **options
            )
        )
        return [(read_star(f"{side}/postprocess.star"), f"{side}/postprocess.mrc")
                for side in ("theirs", "ours")]  # fmt: skip

    return run


def same_columns(theirs, ours, table, *, but=(), tolerance=PRINTED):
    assert theirs[table].columns == ours[table].columns
    for label in theirs[table].columns:
        if label not in but:
            pair = (one[table][label].cast(pl.Float64).to_numpy() for one in (ours, theirs))
            np.testing.assert_allclose(*pair, atol=tolerance, err_msg=label)


def test_everything_but_random_phases_agrees(both):
    flags = ("--auto_bfac", "--autob_lowres", 15, "--skip_fsc_weighting", "--molweight", 30)
    (theirs, their_map), (ours, our_map) = both(
        *flags, auto_bfac=True, autob_lowres=15.0, skip_fsc_weighting=True, molweight=30.0
    )
    random = (RANDOM, f"{PREFIX}Corrected")
    same_columns(theirs, ours, "fsc", but=random)
    same_columns(theirs, ours, "guinier")
    assert list(theirs["general"]) == list(ours["general"])
    for label in theirs["general"]:
        if label != "rlnFinalResolution":  # random phases may decide on a shell
            their_text, our_text = theirs["general"][label], ours["general"][label]
            try:
                assert float(our_text) == pytest.approx(float(their_text), rel=1e-4), label
            except ValueError:
                assert our_text == their_text
    maps = [read_map(name)[0] for name in (their_map, our_map)]
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-4 * maps[0].std())


def test_the_curve_for_the_emdb_has_relion_s_elements(both):
    both()
    theirs, ours = (ElementTree.parse(f"{side}/postprocess_fsc.xml").getroot()
                    for side in ("theirs", "ours"))  # fmt: skip
    assert [one.tag for one in ours.iter()] == [one.tag for one in theirs.iter()]
    assert set(ours.attrib) == set(theirs.attrib)
    assert ours.attrib["xaxis"] == theirs.attrib["xaxis"]
    assert ours.attrib["yaxis"] == theirs.attrib["yaxis"]
    x = [[float(one.text) for one in root.iter("x")] for root in (ours, theirs)]
    np.testing.assert_allclose(*x, rtol=1e-5)


def test_the_corrected_curve_scatters_as_relion_s_with_its_seeds(both):
    runs = [both("--random_seed", seed, random_seed=seed) for seed in range(1, 6)]
    curves = np.array(
        [[side[0]["fsc"][f"{PREFIX}Corrected"].to_numpy() for side in one] for one in runs]
    )
    first = int(BOX * ANGPIX / float(runs[0][0][0]["general"]["rlnRandomiseFrom"]) + 0.5) + 2
    theirs, ours = curves[:, 0, first:], curves[:, 1, first:]
    spread = np.sqrt(theirs.var(axis=0, ddof=1) + ours.var(axis=0, ddof=1))
    assert np.abs(theirs.mean(axis=0) - ours.mean(axis=0)).max() < 3 * spread.max()
    assert ours.std(axis=0).mean() == pytest.approx(theirs.std(axis=0).mean(), rel=0.6)


def test_the_weighted_and_sharpened_map_agrees(both):
    (_, their_map), (_, our_map) = both("--adhoc_bfac", -80, adhoc_bfac=-80.0)
    maps = [read_map(name)[0] for name in (their_map, our_map)]
    # Random phases reach the weights, which are 0 from a shell that they decide on.
    assert fourier_shell_correlation(*maps)[:10].min() > 0.9999


@pytest.mark.parametrize(("low_pass", "width"), [(14.0, 2), (9.0, 5)])
def test_the_filtered_map_agrees(both, low_pass, width):
    flags = ("--adhoc_bfac", -80, "--skip_fsc_weighting", "--filter_edge_width", width)
    (_, their_map), (_, our_map) = both(
        *flags, "--low_pass", low_pass, adhoc_bfac=-80.0, skip_fsc_weighting=True,
        low_pass=low_pass, filter_edge_width=width,
    )  # fmt: skip
    maps = [read_map(name)[0] for name in (their_map, our_map)]
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-4 * maps[0].std())


def test_division_by_the_mtf_agrees(both):
    frequency = np.arange(101) / 200.0
    curve = {"rlnResolutionInversePixel": frequency, "rlnMtfValue": np.exp(-3.0 * frequency)}
    write_star("mtf.star", {"": pl.DataFrame(curve)})
    flags = ("--mtf", "mtf.star", "--mtf_angpix", 1.5, "--skip_fsc_weighting")
    (theirs, _), (ours, _) = both(
        *flags, mtf=Path("mtf.star"), mtf_angpix=1.5, skip_fsc_weighting=True
    )
    # RELION takes the first value for the first interval, and counts intervals a little short.
    same_columns(theirs, ours, "guinier", tolerance=1e-3)
