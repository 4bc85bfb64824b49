"""Our FSC of two maps is the one RELION's programs report."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from factories.maps import blob_map
from factories.stars import PIXEL_ANGST, write_map

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.io.star import read_star

BOX = 32
TOLERANCE = 1e-4
"""relion_postprocess prints six decimals."""

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_postprocess") is None, reason="RELION is not installed"
    ),
]


def half_maps():
    rng = np.random.default_rng(7)
    signal = blob_map(BOX, 3)
    return [(signal + rng.normal(0, 0.3, signal.shape)).astype(np.float32) for _ in range(2)]


def test_fsc_is_the_unmasked_curve_of_relion_postprocess(relion, tmp_path):
    halves = half_maps()
    for name, half in zip(("half1.mrc", "half2.mrc"), halves, strict=True):
        write_map(tmp_path / name, half)
    write_map(tmp_path / "mask.mrc", np.ones_like(halves[0]))
    (tmp_path / "post").mkdir()  # for its figures
    relion(
        "relion_postprocess", "--i", "half1.mrc", "--i2", "half2.mrc", "--mask", "mask.mrc",
        "--angpix", PIXEL_ANGST, "--o", "post", "--randomize_at_fsc", "0.8",
    )  # fmt: skip
    table = read_star(tmp_path / "post.star")["fsc"]
    theirs = table["rlnFourierShellCorrelationUnmaskedMaps"].to_numpy()
    ours = fourier_shell_correlation(*halves)
    np.testing.assert_allclose(ours[: theirs.size], theirs, atol=TOLERANCE)
