from __future__ import annotations

import base64
import re
import zlib

import numpy as np
import pytest
from factories.run_folder import BOX, body

from relion_mpi.report.contour import Contour
from relion_mpi.report.gather.volumes import Volume
from relion_mpi.report.turning import turning_html


def unpacked(html):
    side = int(re.search(r'data-side="(\d+)"', html)[1])
    level = float(re.search(r'data-level="([\d.]+)"', html)[1])
    packed = re.search(r"octet-stream\">([^<]+)<", html)[1]
    grey = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8)
    return grey.reshape((side,) * 3), level


def test_the_browser_gets_the_same_body_at_the_same_contour():
    contour = Contour.of(Volume("m.mrc", body()), None)
    grey, level = unpacked(turning_html(contour))
    expected = contour.volume >= contour.level
    assert grey.shape == expected.shape
    # voxels within half a grey value of the contour may fall on either side
    assert ((grey >= 255 * level) != expected).mean() < 2e-3
    assert expected.sum() > 50


def test_the_solvent_packs_to_nothing():
    contour = Contour.of(Volume("m.mrc", body()), None)
    assert (unpacked(turning_html(contour))[0] == 0).mean() > 0.5


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_grey_scale_does_not_matter(scale):
    one, other = (
        turning_html(Contour.of(Volume("m.mrc", (body() * s).astype(np.float32)), None))
        for s in (1.0, scale)
    )
    first, second = unpacked(one)[0].astype(int), unpacked(other)[0]
    assert np.abs(first - second).max() <= 1


def test_a_map_is_cut_to_what_holds_its_body():
    n = 2 * BOX
    wide = np.zeros((n,) * 3, np.float32)
    wide[BOX // 2 : BOX // 2 + BOX, BOX // 2 : BOX // 2 + BOX, BOX // 2 : BOX // 2 + BOX] = body()
    assert Contour.of(Volume("m.mrc", wide), None).volume.shape[0] <= BOX + 2


def test_a_map_of_zeros_has_no_contour():
    assert Contour.of(Volume("m.mrc", np.zeros((BOX,) * 3, np.float32)), None) is None
