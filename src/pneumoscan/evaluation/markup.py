"""The small pieces every section of the report is made of: numbers, rows and pictures as safe HTML."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from io import BytesIO

import numpy as np
import numpy.typing as npt

from pneumoscan.evaluation.intervals import Interval

THUMBNAIL_SIDE = 240


def safe(value: object) -> str:
    """Return a value's text with what HTML would read as markup escaped."""
    return escape(str(value), quote=True)


def percent(value: float | None) -> str:
    """Return a share in [0, 1] as a percentage, a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}%"


def score(value: float | None) -> str:
    """Return a figure with three decimals, a dash for None."""
    return "–" if value is None else f"{value:.3f}"


def between(interval: Interval | None, *, percent: bool) -> str:
    """Return an interval in words."""
    if interval is None:
        return "no interval"
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}%" if percent else f"{low:.3f} to {high:.3f}"


def count_films(n: int) -> str:
    """Return how many films, in the singular where it is one."""
    return "1 film" if n == 1 else f"{n:,} films"


def table_row(head: str, cells: Iterable[str]) -> str:
    """Return a row of a table: its head and its cells, escaped."""
    row = "".join(f"<td>{safe(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{safe(head)}</th>{row}</tr>'


def graph(graphs: Mapping[str, bytes], name: str, caption: str) -> str:
    """Return one of the SVGs as a figure with its caption."""
    # As a picture an SVG keeps its ids to itself and can run nothing.
    data = b64encode(graphs[name]).decode()
    return (
        f'<figure class="{safe(name)}"><img alt="{safe(caption)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{safe(caption)}</figcaption></figure>"
    )


def picture(pixels: npt.NDArray[np.uint8], alt: str, side: int = THUMBNAIL_SIDE) -> str:
    """Return pixels uint8 (h, w) as an image of at most `side` pixels a side."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=82)
    data = b64encode(buffer.getvalue()).decode()
    return f'<img alt="{safe(alt)}" src="data:image/jpeg;base64,{data}">'
