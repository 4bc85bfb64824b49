from __future__ import annotations

import re
from html.parser import HTMLParser

from relion_mpi.plots.style import BLUE, new_axis, plain
from relion_mpi.plots.svg import VARIABLES, inline_svg


def drawn(name="one"):
    axis = new_axis(3.0, 2.0)
    (line,) = axis.plot([0, 1], [0.123456, 1], color=BLUE, marker="o")
    line.set_gid("step-3")
    axis.set_xticks([0.5], ["0.143"])
    axis.set_xlabel("resolution (Å)")
    plain(axis)
    return inline_svg(axis.figure, name)


def test_nothing_outside_is_named():
    svg = drawn()
    assert "http" not in svg
    assert "xmlns" not in svg
    assert svg.startswith("<svg")


def test_the_size_is_left_to_the_page():
    head = drawn().split(">", 1)[0]
    assert "viewBox" in head
    assert "width" not in head
    assert "height" not in head


def test_colours_are_those_of_the_page():
    svg = drawn()
    assert "var(--blue)" in svg
    assert not [colour for colour in VARIABLES if colour in svg]


def test_text_stays_text_and_is_not_rounded():
    svg = drawn()
    assert ">resolution (Å)<" in svg
    assert ">0.143<" in svg


def test_ids_of_two_plots_do_not_meet_and_references_find_them():
    one, other = (set(re.findall(r'\bid="([^"]+)"', drawn(name))) for name in ("one", "two"))
    assert "one-step-3" in one
    assert not one & other
    svg = drawn()
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg))
    assert used
    assert {first or second for first, second in used} <= one


def test_the_same_plot_is_the_same_text():
    assert drawn() == drawn()


def test_tags_are_balanced():
    class Counter(HTMLParser):
        depth = 0

        def handle_starttag(self, tag, attrs):
            self.depth += 1

        def handle_endtag(self, tag):
            self.depth -= 1

    counter = Counter()
    counter.feed(drawn())
    counter.close()
    assert counter.depth == 0
