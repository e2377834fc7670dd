"""Elements of the page of the inspection. Text from files is escaped."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from pneumoscan.audit.counts import Range


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = (0,)) -> str:
    """Return a table of HTML cells; the columns in `text` are left-aligned."""

    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = (' class="text"' if i in text else "" for i in range(len(cells)))
        return "<tr>" + "".join(f"<{tag}{k}>{c}</{tag}>" for k, c in zip(kinds, cells, strict=True)) + "</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<table><thead>{line('th', head)}</thead><tbody>{body}</tbody></table>"


def path(text: str) -> str:
    """Return a file's path."""
    return f'<span class="path">{escape(text)}</span>'


def figure(uri: str, alt: str, caption: str, extra: str = "") -> str:
    """Return an image with its caption."""
    return f'<figure><img src="{uri}" alt="{escape(alt)}"><figcaption>{breakable(caption)}</figcaption>{extra}</figure>'


def breakable(text: str) -> str:
    """Escape a caption and allow line breaks after `/`, `_` and `-`."""
    return re.sub(r"([/_-])(?=\w)", r"\1<wbr>", escape(text))


def spread(found: Range, digits: int = 0) -> str:
    """Return the median with minimum and maximum."""
    return f"{found.median:,.{digits}f} ({found.min:,.{digits}f}–{found.max:,.{digits}f})"
