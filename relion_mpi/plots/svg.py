"""Plots as SVG that lies in a page and takes the page's colours."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import matplotlib as mpl

from relion_mpi.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VARIABLES = {
    style.INK: "--ink", style.GREY: "--muted", style.RULE: "--rule", style.BLUE: "--blue",
    style.ORANGE: "--orange", style.GREEN: "--green", style.VERMILION: "--vermilion",
    style.PURPLE: "--purple", style.SKY: "--sky",
}  # fmt: skip
"""CSS variable of each colour, by which a page shows plots in the light and in the dark."""

_AROUND = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
_NAMESPACE = re.compile(r'\s+xmlns(?::\w+)?="[^"]*"')
_ID = re.compile(r'\bid="([^"]+)"')
_USE = re.compile(r'(href="#|url\(#)([^")]+)')
_FONT = re.compile(r"font: (?:\w+ )*?([\d.]+)px [^;\"]*")
_PATH = re.compile(r'(?<=\bd=")[^"]*')
_LONG_NUMBER = re.compile(r"(\d+\.\d{2})\d+")


def inline_svg(figure: Figure, name: str) -> str:
    """Write a figure as an SVG element of an HTML page.

    Parameters
    ----------
    figure
        With colours of `relion_mpi.plots.style`.
    name
        Begins all ids of the element, which must differ from those of other plots on the page;
        an artist whose gid is `x` has the id `name-x`.

    Returns
    -------
    str
        No address of anything outside is left in it.
    """
    text = io.StringIO()
    # Text stays text: small, and in the page's font.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = _AROUND.sub("", svg[svg.index("<svg") :])
    svg = _NAMESPACE.sub("", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = _ID.sub(rf'id="{name}-\1"', svg)
    svg = _USE.sub(rf"\1{name}-\2", svg)
    svg = _FONT.sub(r"font-size: \1px", svg)
    svg = _PATH.sub(lambda path: _LONG_NUMBER.sub(r"\1", path[0]), svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"\n\s*", "\n", svg)
