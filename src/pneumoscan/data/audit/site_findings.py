"""Findings about films of several sites as text."""

from collections.abc import Iterator

from pneumoscan.data.audit.findings import SHARE_GAP, STRONG_AUC, WEAK_AUC, Finding, plural
from pneumoscan.data.audit.sites import Sites, one_class_of

MAX_TITLE = 40
MAX_NAMED = 8

_ADVICE = (
    "Sample the sites in training with the same prevalence of PNEUMONIA, evaluate every site separately, and leave one "
    "out to measure the figures at an unseen site."
)


def findings_of_sites(sites: Sites | None) -> tuple[Finding, ...]:
    """Return the findings of the comparison of sites; none if there is only one site."""
    if sites is None:
        return ()
    return (*_about_one_class(sites), *_about_label(sites), *_about_looks(sites))


def _about_one_class(sites: Sites) -> Iterator[Finding]:
    alone = [(facts, name) for facts in sites.sites if (name := one_class_of(facts))]
    if alone:
        listed = ", ".join(
            f"{plural(facts.n_films, 'film')} of {facts.site}, all {name}" for facts, name in alone
        )
        yield Finding(
            "high",
            "site_of_one_class",
            f"{plural(len(alone), 'site')} with films of one class only.",
            f"{listed}. Everything that reveals the site reveals the label. {_visible(sites)}",
            "Add films of the other class from there, or use these films for evaluation only.",
        )


def _about_label(sites: Sites) -> Iterator[Finding]:
    probe = sites.label_probe
    auc = probe.roc_auc if probe else 0.5
    shares = [facts.pneumonia_share for facts in sites.sites]
    listed = ", ".join(f"{facts.pneumonia_share:.1%} of {facts.site}" for facts in sites.sites[:MAX_NAMED])
    listed += ", and so on" if len(shares) > MAX_NAMED else ""
    numbers = (
        f"PNEUMONIA is {listed}. The site alone predicts the label with AUC {auc:.3f} (0.5 is chance), Cramér’s V is "
        f"{sites.cramers_v:.2f}; {plural(sites.n_films, 'film')} of {_split(sites)}. {_visible(sites)}"
    )
    if auc >= WEAK_AUC:
        yield Finding(
            "high" if auc >= STRONG_AUC else "medium",
            "shortcut_site",
            f"The label can be guessed from the site alone (AUC {auc:.3f}).",
            numbers,
            _ADVICE,
        )
    elif max(shares) - min(shares) >= SHARE_GAP:
        yield Finding(
            "medium",
            "site_share_differs",
            "The share of pneumonia differs between the sites.",
            numbers,
            _ADVICE,
        )


def _about_looks(sites: Sites) -> Iterator[Finding]:
    best = sites.best_seen
    if best is not None and best.roc_auc >= WEAK_AUC:
        pair = " and ".join(facts.site for facts in sites.sites)
        several = pair if len(sites.sites) == 2 and len(pair) <= MAX_TITLE else "The sites"
        yield Finding(
            "note",
            "site_visible",
            f"{several} can be recognised from a thumbnail of 20×20 pixels (AUC {best.roc_auc:.3f}).",
            "Patients, devices and processing differ, and a network sees it. This is harmless unless the label is associated "
            "with the site.",
            "Do not rely on a pooled figure alone: evaluate every site separately.",
        )


def _visible(sites: Sites) -> str:
    best = sites.best_seen
    if best is None:
        return ""
    can = "A network can see it" if best.roc_auc >= WEAK_AUC else "It is hard to see"
    return f"{can}: a linear model distinguishes {best.title} from the other films by a thumbnail with AUC {best.roc_auc:.3f}."


def _split(sites: Sites) -> str:
    return "all splits" if sites.split == "all" else sites.split
