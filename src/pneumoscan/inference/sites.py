"""Which sites a model knows, which of them a film resembles, and for whom the model is shown to work."""

from collections.abc import Sequence

from pneumoscan.inference.spec import BundleSpec

NO_KNOWN_SITE = "none"


def resembled(spec: BundleSpec, scores: Sequence[float] | None) -> str:
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


def shown_to_work(spec: BundleSpec) -> str:
    """Return in one line for whom the model is shown to work."""
    if not spec.sites:
        return "This model does not say for whom it is shown to work."
    parts = [
        f"{facts['whom']} (AUC {facts['roc_auc']:.3f}, {facts['films']:,} films, {facts['source']})"
        for facts in spec.sites.values()
    ]
    return f"Shown to work for: {'; '.join(parts)}. Films that resemble none of these are labelled UNSURE."
