"""The sites of a model, the site that a film resembles, and the patients for whom the model is shown to work."""

from collections.abc import Sequence

from pneumoscan.inference.spec import BundleSpec

NO_KNOWN_SITE = "none"


def resembled(spec: BundleSpec, scores: Sequence[float] | None) -> str:
    """Return the site that a film resembles most.

    Args:
        spec: Description of the bundle.
        scores: One for each of `spec.sites`, above 0 if the film resembles the site. None if the model has none.

    Returns:
        The name; `none` if the film resembles no site; empty if the model has no sites.
    """
    if scores is None or not spec.sites:
        return ""
    best = max(range(len(scores)), key=lambda place: scores[place])
    return list(spec.sites)[best] if scores[best] >= 0 else NO_KNOWN_SITE


def shown_to_work(spec: BundleSpec) -> str:
    """Return one line about the patients for whom the model is shown to work."""
    if not spec.sites:
        return "The sites for which this model is shown to work are unknown."
    parts = [
        f"{facts['whom']} (AUC {facts['roc_auc']:.3f}, {facts['films']:,} films, {facts['source']})"
        for facts in spec.sites.values()
        if not facts.get("shortcut")
    ]
    shown = (
        f"Shown to work for: {'; '.join(parts)}." if parts else "This model is not shown to work anywhere."
    )
    others = [
        f"Not shown for: {facts['whom']}. {facts['shortcut']}"
        for facts in spec.sites.values()
        if facts.get("shortcut")
    ]
    return " ".join([shown, *others, "Films that resemble none of its sites are labelled UNSURE."])
