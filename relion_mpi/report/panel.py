"""A picture of the page with its title and the sentence that says what good looks like."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from relion_mpi.plots.svg import inline_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_INCH, HEIGHT_INCH = 4.2, 2.7
"""Of a plot: one point is one pixel on a phone."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes
    ----------
    name : id on the page
    title : a few words
    body : HTML
    caption : what is seen and what good looks like
    wide : takes the width of two
    """

    name: str
    title: str
    body: str
    caption: str
    wide: bool = False


def plot_panel(
    name: str, title: str, figure: Figure, caption: str, *, wide: bool = False
) -> Panel:
    """Make a panel of a plot.

    Parameters
    ----------
    name
        Id on the page; ids within the plot begin with it.
    title, caption
        Texts.
    figure
        The plot.
    wide
        Takes the width of two.
    """
    body = f'<div class="plot" role="img" aria-label="{escape(title)}">'
    return Panel(name, title, f"{body}{inline_svg(figure, name)}</div>", caption, wide)


def image(uri: str, text: str, classes: str = "") -> str:
    """Return an img element.

    Parameters
    ----------
    uri
        Data URI.
    text
        What is seen, for those who do not see it.
    classes
        For the style sheet.
    """
    return f'<img class="{classes}" alt="{escape(text)}" src="{uri}">'
