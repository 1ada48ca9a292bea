"""A picture in the page: drawn at twice the resolution, with words and numbers."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from captum_dynamics.plots._base import Drawing
from captum_dynamics.report._table import Table

DPI = 192  # twice the 96 pixels per inch of a page


@dataclass(frozen=True)
class Picture:
    """One figure with what a reader needs to check it.

    Attributes:
        title: heading.
        caption: how to read the figure.
        alt: what it shows, for those who do not see it.
        source: the image itself, as a data URI.
        width: natural width in pixels of the page.
        height: natural height.
        table: the numbers behind it.
    """

    title: str
    caption: str
    alt: str
    source: str
    width: int
    height: int
    table: Table


def picture(
    drawing: Drawing, title: str, caption: str, alt: str, numbers: Table
) -> Picture:
    """Turn a figure into an image that travels inside the page."""
    figure, _ = drawing
    buffer = io.BytesIO()
    # Without the name of the software in it, the same figure gives the same bytes.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(title, caption, alt, source, width, height, numbers)
