"""Which sites a model knows, which of them a film resembles, and for whom the model is shown to work."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pneumoscan.errors import BundleError
from pneumoscan.inference.numbers import is_interval, is_rate

if TYPE_CHECKING:
    from pneumoscan.inference.spec import BundleSpec

SITES_OUTPUT = "site_scores"
NO_KNOWN_SITE = "none"
_AGAIN = "Export the model again, or copy the bundle again from where it came."


def resembled(spec: "BundleSpec", scores: Sequence[float] | None) -> str:
    """Return the site that a film resembles most.

    Args:
        spec: Of the bundle.
        scores: One for each of `spec.sites`; above 0 where the film resembles the site. None if the model gives none.

    Returns:
        The name; `none` where the film resembles no site; empty if the model knows no sites.
    """
    if scores is None or not spec.sites:
        return ""
    best = max(range(len(scores)), key=lambda place: scores[place])
    return list(spec.sites)[best] if scores[best] >= 0 else NO_KNOWN_SITE


def shown_to_work(spec: "BundleSpec") -> str:
    """Return in one line for whom the model is shown to work."""
    if not spec.sites:
        return "This model does not say for whom it is shown to work."
    parts = [
        f"{facts['whom']} (AUC {facts['roc_auc']:.3f}, {facts['films']:,} films, {facts['source']})"
        for facts in spec.sites.values()
    ]
    return f"Shown to work for: {'; '.join(parts)}. Films that resemble none of these are labelled UNSURE."


def check_sites(sites: object, outputs: tuple[str, ...]) -> None:
    """Raise BundleError unless `sites` is None, or tells of each site that the model gives scores for."""
    if sites is None:
        if SITES_OUTPUT in outputs:
            raise BundleError("model.json tells of no sites, but the model gives site_scores.", _AGAIN)
        return
    if not isinstance(sites, Mapping) or not sites or SITES_OUTPUT not in outputs:
        raise BundleError("model.json: sites is no table, or the model gives no site_scores.", _AGAIN)
    for name, facts in sites.items():
        if not isinstance(name, str) or not _is_told(facts):
            raise BundleError(
                f"model.json: sites.{name} needs whom, source, films, roc_auc and roc_auc_ci95.", _AGAIN
            )


def _is_told(facts: Any) -> bool:
    return (
        isinstance(facts, Mapping)
        and all(isinstance(facts.get(key), str) for key in ("whom", "source"))
        and isinstance(facts.get("films"), int)
        and is_rate(facts.get("roc_auc"))
        and (facts.get("roc_auc_ci95") is None or is_interval(facts["roc_auc_ci95"]))
    )
