"""Facts about the model for the service and its page: the content of the bundle as JSON types, and its card as HTML."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

import pneumoscan
from pneumoscan.bundle.checks import MAP_OUTPUT
from pneumoscan.bundle.heatmap import ANCHORS, evidence_of
from pneumoscan.bundle.load import Bundle
from pneumoscan.bundle.regions import measured_in_words
from pneumoscan.classifier import certain_distance, model_name, shown_to_work
from pneumoscan.imaging.perturbation import PERTURBATIONS

if TYPE_CHECKING:
    from markdown_it.token import Token

_POINT = (
    "recall",
    "specificity",
    "recall_ci95",
    "specificity_ci95",
    "precision",
    "f1",
    "n",
    "n_positive",
    "source",
)
_BAND = ("low", "high", "half_width")
_TRAINING = ("n_films", "n_patients", "preset", "synthetic")


def about(bundle: Bundle) -> dict[str, Any]:
    """Return the response of `GET /v1/model`; missing facts are None.

    Args:
        bundle: The loaded model. Its card and records are read from its folder.

    Returns:
        JSON types, without NaN.

    Raises:
        BundleError: The card or the records were altered since the model was loaded, or the records are invalid.
    """
    spec = bundle.spec
    return {
        "name": spec.name,
        "model": model_name(bundle),
        "version": pneumoscan.__version__,
        "class_names": list(spec.class_names),
        "parameters": spec.parameters,
        "licence": dict(spec.licence),
        "created": spec.created,
        "research_use_only": True,
        "default_operating_point": spec.default_operating_point,
        "operating_points": {name: _point(name, point) for name, point in spec.thresholds.items()},
        "guard": spec.guard
        and {"unusual": spec.guard["unusual"], "not_a_chest_film": certain_distance(spec.guard)},
        "shown_to_work": shown_to_work(spec),
        "left_out": spec.left_out,
        "has_pdf": find_spec("reportlab") is not None,
        "has_lungs": spec.lungs is not None,
        "has_regions": spec.lungs is not None and MAP_OUTPUT in spec.outputs,
        "regions_measured": list(measured_in_words(spec)),
        **_heatmap(bundle),
        "preprocessing": spec.preprocessing.to_json(),
        "training": {key: spec.training.get(key) for key in _TRAINING},
        "card": html_of(bundle.card()),
        "records": bundle.records(),
        "stress_views": {view.name: view.description for view in PERTURBATIONS},
    }


def _point(name: str, point: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: point.get(key) for key in _POINT}
    intervals = {key: list(value) for key, value in known.items() if isinstance(value, list | tuple)}
    band = _some(point.get("unsure_band"), _BAND)
    return {"name": name, "threshold": float(point["threshold"]), **known, **intervals, "unsure_band": band}


def _heatmap(bundle: Bundle) -> dict[str, Any]:
    """Return the meaning of the colours of the map; None without a map."""
    scale = {
        "full_scale": evidence_of(bundle, np.zeros((1, 1), np.float32)).full_scale,
        "anchors": [[place, list(colour)] for place, colour in ANCHORS],
    }
    return {"has_heatmap": MAP_OUTPUT in bundle.spec.outputs, "heatmap_scale": scale}


def _some(values: Mapping[str, Any] | None, keys: tuple[str, ...]) -> dict[str, Any] | None:
    return {key: values[key] for key in keys} if values else None


def html_of(text: str) -> str:
    """Return Markdown as HTML for the page: headings from the third level on, links and pictures as text.

    HTML in the text is escaped. Nothing has an address or a style, so the page loads nothing and its content security policy holds.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    for token in tokens:
        token.attrs = {}
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
        elif token.type == "th_open":
            token.attrs = {"scope": "col"}
        token.children = _without_links(token.children or [])
    # What is wider than the page scrolls by itself, with the keyboard too.
    scrolls = 'role="region" tabindex="0" aria-label="{} of the model card"'
    html: str = parser.renderer.render(tokens, parser.options, {})
    html = html.replace("<table>", f'<div class="wide" {scrolls.format("Table")}><table>')
    return html.replace("</table>", "</table></div>").replace("<pre>", f"<pre {scrolls.format('Code')}>")


def _without_links(tokens: "Sequence[Token]") -> "list[Token]":
    """Put the address of each link and picture behind its words, in brackets."""
    from markdown_it.token import Token

    kept: list[Token] = []
    addresses: list[str] = []
    for token in tokens:
        if token.type == "link_open":
            addresses.append(str(token.attrs["href"]))
        elif token.type == "link_close":
            if kept[-1].content != (address := addresses.pop()):
                kept.append(Token("text", "", 0, content=f" ({address})"))
        elif token.type == "image":
            kept.append(Token("text", "", 0, content=f"{token.content} ({token.attrs['src']})"))
        else:
            kept.append(token)
    return kept
