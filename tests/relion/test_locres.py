"""Local resolution of relion_postprocess: curves of windows, maps, names."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from factories.maps import blob_map
from scipy import ndimage

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star
from relion_mpi.postprocess.locres.program import local_resolution
from relion_mpi.postprocess.options import PostprocessOptions

BOX, ANGPIX = 48, 3.0
SEEDS = (1, 2, 3)
PRINTED = 2e-5
"""relion_postprocess prints five or six decimals."""

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_postprocess") is None, reason="RELION is not installed"
    ),
]


@pytest.fixture
def both(relion, tmp_path, monkeypatch):
    """Run both programs on the same half-maps: a bright left part, noise everywhere."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    signal = blob_map(BOX, 3, sigma_pix=1.5, n=40, spread=0.3)
    for number in (1, 2):
        own = ndimage.gaussian_filter(rng.normal(size=(BOX,) * 3), 0.6)
        write_map(f"run_half{number}_unfil.mrc", signal + 0.2 * own, ANGPIX)

    def run(seed, *flags, **options):
        Path("theirs").mkdir(exist_ok=True)
        relion(
            "relion_postprocess", "--i", "run_half1_unfil.mrc", "--locres", "--o", "theirs/post",
            "--random_seed", seed, *flags,
        )  # fmt: skip
        found = local_resolution(
            PostprocessOptions(
                i=Path("run_half1_unfil.mrc"), o=Path("ours/post"), locres=True, random_seed=seed,
                **options,
            )
        )  # fmt: skip
        return found, [read_map(f"theirs/post_{name}.mrc")[0]
                       for name in ("locres", "locres_filtered")]  # fmt: skip

    return run


def their_curves():
    """RELION's blocks; it writes lines between them that are no STAR."""
    path = Path("theirs/post_locres_fscs.star")
    lines = [line for line in path.read_text().splitlines() if "kk=" not in line]
    path.write_text("\n".join(lines) + "\n")
    return read_star(path)


def test_windows_of_the_whole_box_have_relion_s_curves(both):
    found, _ = both(1)
    assert found.layout.window_size < BOX
    found, _ = both(1, "--locres_edgwidth", 42, "--locres_maskrad", 18, locres_edgwidth=42.0,
                    locres_maskrad=18.0)  # fmt: skip
    assert found.layout.window_size == BOX
    theirs, ours = their_curves(), read_star("ours/post_locres_fscs.star")
    assert set(ours) - set(theirs) == {"windows"}
    assert set(theirs) < set(ours)
    for name, block in theirs.items():
        assert block.columns == ours[name].columns
        for label in ("UnmaskedMaps", "MaskedMaps"):
            pair = (one[f"rlnFourierShellCorrelation{label}"].to_numpy()
                    for one in (ours[name], block))  # fmt: skip
            np.testing.assert_allclose(*pair, atol=PRINTED, err_msg=f"{name} {label}")


def test_maps_agree_as_relion_s_with_other_seeds(both):
    runs = [both(seed, "--adhoc_bfac", -60, adhoc_bfac=-60.0) for seed in SEEDS]
    covered = runs[0][1][0] > 0
    theirs = np.array([np.log(maps[0][covered]) for _, maps in runs])
    ours = np.array([np.log(found.resolution[covered]) for found, _ in runs])
    assert all(np.array_equal(found.resolution > 0, covered) for found, _ in runs)
    assert np.median(ours) == pytest.approx(np.median(theirs), abs=0.02)
    # What seeds alone change in a mean of three.
    scatter = np.sqrt(theirs.var(axis=0, ddof=1).mean() * 2 / len(SEEDS))
    assert (ours.mean(axis=0) - theirs.mean(axis=0)).std() < 2 * scatter + 0.02
    assert np.corrcoef(ours.mean(axis=0), theirs.mean(axis=0))[0, 1] > 0.95
    found, maps = runs[0]
    scale = (found.filtered * maps[1]).sum() / (maps[1] ** 2).sum()
    assert scale == pytest.approx(1.0, abs=0.005)
    fsc = fourier_shell_correlation(found.filtered, maps[1])
    with_another_seed = fourier_shell_correlation(runs[1][1][1], maps[1])
    shells = slice(int(BOX * ANGPIX / np.median(maps[0][covered])) + 1)
    # The low-pass has a softer edge within windows.
    lost, by_seed = 1.0 - fsc[shells], 1.0 - with_another_seed[shells]
    assert (lost <= 2.0 * by_seed + 1e-3).all()
