"""A browser shows the page: its script runs, nothing is asked of the network."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
from factories.run_folder import RunFolder
from PIL import Image

from relion_mpi.report.gather.job import find_job
from relion_mpi.report.gather.run import gather
from relion_mpi.report.page import make_page

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    made = RunFolder(folder / "job").write()
    path = folder / "page.html"
    path.write_text(make_page(gather(find_job(made.folder))), encoding="utf-8")
    return path


@pytest.fixture
def browse(tmp_path):
    def run(*words):
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


def shot(browse, page, path, width, *words):
    browse(f"--screenshot={path}", f"--window-size={width},1600", *words, page.as_uri())
    return np.asarray(Image.open(path).convert("RGB")).astype(float)


def test_the_script_shows_the_last_iteration(browse, page):
    dom = browse("--dump-dom", page.as_uri())
    lines = re.findall(r'<li data-step="(\d)"([^>]*)>', dom)
    assert [step for step, rest in lines if "on" in rest] == ["3"]
    curves = re.findall(r'<g id="course-step-(\d)"([^>]*)>', dom)
    assert [step for step, rest in curves if 'class="on"' in rest] == ["3"]


def test_the_slider_shows_another_iteration(browse, page, tmp_path):
    slide = (
        "const slider = document.querySelector('[data-course] input'); slider.value = 1;"
        "slider.dispatchEvent(new Event('input'));"
    )
    text = page.read_text(encoding="utf-8").replace("</body>", f"<script>{slide}</script></body>")
    (tmp_path / "slid.html").write_text(text, encoding="utf-8")
    dom = browse("--dump-dom", (tmp_path / "slid.html").as_uri())
    for pattern in (r'<li data-step="(\d)" class="on"', r'id="course-step-(\d)" class="on"',
                    r'<span data-steps="(\d)" class="on"'):  # fmt: skip
        assert re.findall(pattern, dom) == ["1"]


def test_it_is_light_by_day_and_dark_by_night(browse, page, tmp_path):
    day = shot(browse, page, tmp_path / "day.png", 1240)
    night = shot(
        browse, page, tmp_path / "night.png", 1240, "--blink-settings=preferredColorScheme=0"
    )
    assert day[5, 5].min() > 230
    assert night[5, 5].max() < 50
    for picture in (day, night):
        away = np.abs(picture - picture[5, 5]).max(axis=2)
        # ink and ground are far apart in the title, which nothing but the theme colours
        assert away[30:90].max() > 180
        assert (away > 60).mean() > 0.02


def test_a_phone_needs_no_sideways_scrolling(browse, page, tmp_path):
    # windows of a headless browser are no narrower than 500 pixels, frames are
    told = "parent.postMessage(document.documentElement.scrollWidth + ' of ' + innerWidth, '*')"
    inner = page.read_text(encoding="utf-8").replace("</body>", f"<script>{told}</script></body>")
    (tmp_path / "inner.html").write_text(inner, encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(
        '<body><p id="found"></p><script>addEventListener("message", (event) => '
        '{ document.getElementById("found").textContent = event.data; })</script>'
        '<iframe width="390" height="900" frameborder="0" src="inner.html"></iframe></body>'
    )
    dom = browse("--virtual-time-budget=4000", "--dump-dom", outer.as_uri())
    assert ">390 of 390<" in dom


def test_the_map_can_be_turned(browse, page, tmp_path):
    click = (
        "const box = document.querySelector('.turning'); box.querySelector('button').click();"
        "setTimeout(() => { const gl = box.querySelector('canvas').getContext('webgl2');"
        "const at = (x, y) => { const p = new Uint8Array(4);"
        "gl.readPixels(x, y, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, p); return p[3]; };"
        "document.title = `alpha ${at(320, 320)} ${at(2, 2)}`; }, 3000);"
    )
    text = page.read_text(encoding="utf-8").replace("</body>", f"<script>{click}</script></body>")
    turned = tmp_path / "turned.html"
    turned.write_text(text, encoding="utf-8")
    dom = browse(
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--virtual-time-budget=9000",
        "--dump-dom", turned.as_uri(),
    )  # fmt: skip
    if re.search(r'class="turning"[^>]*hidden', dom):
        pytest.skip("this chromium has no WebGL")
    # the body is in the middle, the corner shows the page
    assert "<title>alpha 255 0</title>" in dom
