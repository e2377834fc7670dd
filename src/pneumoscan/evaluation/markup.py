"""Elements of the report: numbers, rows and images as escaped HTML."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from io import BytesIO

import numpy as np
import numpy.typing as npt

from pneumoscan.evaluation.intervals import Interval

THUMBNAIL_SIDE = 240


def style_sheet() -> str:
    """Return the CSS that all reports share; a page adds its own rules after it."""
    return files("pneumoscan.evaluation").joinpath("report.css").read_text("utf-8")


def safe(value: object) -> str:
    """Return the text of a value, escaped for HTML."""
    return escape(str(value), quote=True)


def percent(value: float | None) -> str:
    """Return a proportion in [0, 1] as a percentage; a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}%"


def score(value: float | None) -> str:
    """Return a figure with three decimals, a dash for None."""
    return "–" if value is None else f"{value:.3f}"


def between(interval: Interval | None, *, percent: bool) -> str:
    """Return an interval as text."""
    if interval is None:
        return "no interval"
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}%" if percent else f"{low:.3f} to {high:.3f}"


def count_films(n: int) -> str:
    """Return a number of films as text: `1 film`, `2 films`."""
    return "1 film" if n == 1 else f"{n:,} films"


def table_row(head: str, cells: Iterable[str]) -> str:
    """Return a row of a table: its head and its cells, escaped."""
    row = "".join(f"<td>{safe(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{safe(head)}</th>{row}</tr>'


def graph(graphs: Mapping[str, bytes], name: str, caption: str) -> str:
    """Return one of the SVGs as a figure with its caption."""
    # In an img element, the ids of an SVG are local and scripts do not run.
    data = b64encode(graphs[name]).decode()
    return (
        f'<figure class="{safe(name)}"><img alt="{safe(caption)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{safe(caption)}</figcaption></figure>"
    )


def picture(pixels: npt.NDArray[np.uint8], alt: str, side: int = THUMBNAIL_SIDE) -> str:
    """Return pixels uint8 (h, w) as an HTML image of at most `side` pixels per side."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=82)
    data = b64encode(buffer.getvalue()).decode()
    return f'<img alt="{safe(alt)}" src="data:image/jpeg;base64,{data}">'
