"""Pages in HTML and Markdown, written with Jinja2 from the templates of a package: the only renderer of reports and cards.

A package has its templates in `templates/`. What all reports share is in `pneumoscan/templates/`: the style and the frame of a page, which
opens offline and loads no script, font or picture from elsewhere. Values are escaped in HTML, and text is Unicode that can be stored:
invalid bytes of a file name become visible escapes.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import require

if TYPE_CHECKING:
    from jinja2 import Environment


def render(package: str, template: str, **facts: object) -> str:
    """Return a page.

    Args:
        package: Name of the package whose `templates/` has the template; it may extend or include shared ones.
        template: Name of the file; HTML is escaped, Markdown is not, and has at most one empty line in a row.
        facts: What the template names. A name that is missing is an error.

    Raises:
        MissingDependencyError: Jinja2 is not installed.
    """
    require("jinja2")
    text = _environment(package).get_template(template).render(**facts)
    if template.endswith(".md"):
        text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
    return text.encode("utf-8", "backslashreplace").decode()


@cache
def _environment(package: str) -> "Environment":
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("pneumoscan")]),
        autoescape=select_autoescape(("html", "svg")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "number": "{:,}".format, "score": score, "percent": percent, "between": between, "percents": percents, "plural": plural,
        "svg_uri": svg_uri,
    }  # fmt: skip
    return made


def score(value: float | None, digits: int = 3, sign: str = "") -> str:
    """Return a figure with three decimals; a dash for None."""
    return "–" if value is None else f"{value:{sign}.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a proportion in [0, 1] as a percentage; a dash for None."""
    return "–" if value is None else f"{value:.{digits}%}"


def between(interval: Sequence[float] | None, missing: str = "–", sign: str = "") -> str:
    """Return an interval with three decimals."""
    return missing if interval is None else f"{interval[0]:{sign}.3f} to {interval[1]:{sign}.3f}"


def percents(interval: Sequence[float] | None, missing: str = "–") -> str:
    """Return an interval of proportions as percentages."""
    return missing if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}%"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 film`, `2,000 films`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def svg_uri(svg: bytes) -> str:
    """Return an SVG as the address of an `img`, where its ids are local and scripts do not run."""
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"


def picture_uri(
    pixels: npt.NDArray[np.uint8], kind: str = "jpeg", longest: int = 0, **options: object
) -> str:
    """Return pixels uint8 (h, w) or (h, w, 3) as the address of an `img`, reduced to at most `longest` pixels per side."""
    from PIL import Image

    image, buffer = Image.fromarray(pixels), BytesIO()
    if longest:
        image.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    image.save(buffer, kind.upper(), **options)
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode()}"
