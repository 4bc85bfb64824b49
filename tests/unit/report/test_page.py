"""The page holds all pictures that the files allow, and loads nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from factories.run_folder import BOX, PIXEL, RunFolder, write_postprocess

from relion_mpi.io.mrc import write_map
from relion_mpi.report.figures import spectra
from relion_mpi.report.gather.job import find_job
from relion_mpi.report.gather.run import gather
from relion_mpi.report.gather.state import State
from relion_mpi.report.page import make_page

VOID = {"meta", "img", "input", "br"}
OF_REFINEMENT = {
    "surface", "slices", "course", "resolution", "pmax", "accuracy", "changes", "views",
    "pmaxhist", "shifts", "defocus", "astigmatism", "signal", "noise", "stages", "ranks",
}  # fmt: skip
OF_POSTPROCESS = {"postfsc", "guinier"}
OF_CLASSES = OF_REFINEMENT - {"surface", "slices"} | {"classes", "shares"}
LOADING = {"src", "href", "xlink:href", "data", "action", "poster", "srcset"}


class Page(HTMLParser):
    """What a browser would find: tags that match, ids, what is loaded."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.loaded, self.text = [], [], [], []
        self.tags = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in LOADING:
                self.loaded.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def panels(self):
        return {one.removesuffix("-panel") for one in self.ids if one.endswith("-panel")}


def page_of(folder, **words):
    text = make_page(gather(find_job(folder), **words))
    return text, Page(text)


@pytest.fixture(scope="module")
def refinement(tmp_path_factory):
    made = RunFolder(tmp_path_factory.mktemp("refinement") / "job").write()
    write_postprocess(made.folder.parent / "post")
    volume = np.full((BOX,) * 3, 8.0, np.float32)
    write_map(made.folder / "run_locres.mrc", volume, PIXEL)
    return page_of(made.folder, postprocess=made.folder.parent / "post")


@pytest.fixture(scope="module")
def classification(tmp_path_factory):
    made = RunFolder(tmp_path_factory.mktemp("classes") / "job", kind="class3d", n_class=3)
    made.shares = np.array([0.2, 0.5, 0.3])
    return page_of(made.write().folder)


def test_a_refinement_has_all_its_pictures(refinement):
    assert refinement[1].panels == OF_REFINEMENT | OF_POSTPROCESS | {"locres"}


def test_a_classification_has_all_its_pictures(classification):
    assert classification[1].panels == OF_CLASSES


def test_averages_have_all_their_pictures_but_no_directions(folder):
    _, page = page_of(folder("class2d").write().folder)
    assert page.panels == OF_CLASSES - {"views"}


def test_every_tag_is_closed_and_every_id_is_the_only_one(refinement, classification):
    for _, page in (refinement, classification):
        assert page.open == []
        assert len(set(page.ids)) == len(page.ids)


def test_nothing_is_loaded_from_anywhere(refinement, classification):
    for text, page in (refinement, classification):
        assert page.loaded
        assert [one for one in page.loaded if not one.startswith(("data:", "#"))] == []
        assert not re.findall(r"https?:|//\w+\.\w+/|@import|url\((?!#)", text)
        assert not page.tags & {"link", "iframe", "object", "embed"}


def test_it_is_small(refinement):
    assert len(refinement[0]) < 2e6


def test_the_top_says_what_matters(refinement):
    said = " ".join(refinement[1].text)
    for words in ("3D refinement", "finished", "12.00 Å", "300", "-120 Å²", "3:00"):
        assert words in said


def test_classes_come_by_size(classification):
    tiles = re.findall(r"<figcaption><b>(\d)</b> ([\d.]+)&nbsp;%", classification[0])
    assert tiles == [("2", "50.0"), ("3", "30.0"), ("1", "20.0")]


def test_the_command_line_cannot_break_the_page(folder, without_pictures):
    made = folder(iterations=(0,), final=False)
    made.command_line = "relion-mpi refine3d --o </pre><script>alert(1)</script>"
    text, page = page_of(made.write().folder)
    assert "<script>alert" not in text
    assert page.open == []
    assert made.command_line in "".join(page.text)


def test_a_run_that_has_just_begun_has_a_page(folder):
    text, page = page_of(
        folder(iterations=(0,), final=False).write().folder, state=State.RUNNING
    )
    assert {"surface", "course"} <= page.panels
    assert 'data-state="running"' in text
    assert "after iteration 0" in text


def test_a_failed_run_has_a_page_that_says_so(folder, without_pictures):
    made = folder(iterations=(0, 1), final=False).write()
    (made.folder / "RELION_JOB_EXIT_FAILURE").touch()
    text, _ = page_of(made.folder)
    assert 'data-state="failed"' in text
    assert "The run failed" in text


def test_a_post_processing_alone_has_a_page(tmp_path):
    write_postprocess(tmp_path / "post")
    text, page = page_of(tmp_path / "post")
    assert page.panels == {"surface", "slices"} | OF_POSTPROCESS
    assert "Post-processing" in text


def test_files_of_relion_alone_have_a_page(folder):
    made = folder().write()
    for path in (*made.folder.glob("*_it*"), made.folder / "run_metrics.jsonl"):
        path.unlink()
    _, page = page_of(made.folder)
    over_iterations = {"resolution", "pmax", "accuracy", "changes", "stages", "ranks"}
    assert page.panels == OF_REFINEMENT - over_iterations


def test_a_picture_that_fails_is_left_out_and_told(folder, monkeypatch, caplog):
    def broken(axis, last):
        raise ZeroDivisionError("no")

    made = folder(iterations=(0,), final=False).write()
    monkeypatch.setattr(spectra, "resolution_axis", broken)
    _, page = page_of(made.folder)
    assert not page.panels & {"signal", "noise"}
    assert "views" in page.panels
    assert "signal could not be drawn (ZeroDivisionError: no)" in caplog.text


def test_an_empty_class_has_a_tile(folder):
    made = folder("class3d", iterations=(2,)).write()
    write_map(made.folder / "run_it002_class002.mrc", np.zeros((BOX,) * 3, np.float32), PIXEL)
    text, _ = page_of(made.folder)
    assert "surface of class 1" in text
    assert "surface of class 2" not in text
    assert "slices of class 2" in text
