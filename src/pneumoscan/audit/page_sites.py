"""The section of the inspection that compares several sites."""

from html import escape

from pneumoscan.audit.counts import Range, SiteFacts, Sites
from pneumoscan.audit.markup import figure, spread, table
from pneumoscan.audit.pictures import png_uri
from pneumoscan.audit.shortcuts import Probe

_HEAD = (
    "Site", "Films", "Patients", "Share of PNEUMONIA", "Width", "Height", "Mean grey", "Contrast", "Border", "Age", "Views",
)  # fmt: skip


def sites_section(sites: Sites) -> str:
    """Return the section: a table, the mean film of each site, and the association of site and label."""
    rows = [_row(facts) for facts in sites.sites]
    means = "".join(
        figure(png_uri(mean), f"Mean film of {name}", f"mean film, {name}")
        for name, mean in sites.means.items()
    )
    return (
        "<h2>Sites</h2><p>Sizes, grey values and ages of the original films: median, minimum and maximum. Contrast is "
        "the standard deviation of the grey values of a film, border the mean of its outer frame, both of 255.</p>"
        f'{table(_HEAD, rows, (0, 10))}<div class="row means">{means}</div>{_together(sites)}'
    )


def _row(facts: SiteFacts) -> list[str]:
    views = ", ".join(f"{view} {count:,}" for view, count in facts.views.items())
    return [
        escape(facts.site),
        f"{facts.n_films:,}",
        f"{facts.n_patients:,}",
        f"{facts.pneumonia_share:.1%}",
        *(
            _spread(found)
            for found in (facts.width, facts.height, facts.brightness, facts.contrast, facts.border)
        ),
        _spread(facts.age) if facts.age else "not given",
        views or "not given",
    ]


def _spread(found: Range | None) -> str:
    return spread(found) if found else "–"


def _together(sites: Sites) -> str:
    rows = [
        [f"{escape(probe.title)}, from a thumbnail", escape(probe.sees), *_aucs(probe)]
        for probe in sites.probes
    ]
    if sites.label_probe is not None:
        rows.append(["PNEUMONIA, from the site", escape(sites.label_probe.sees), *_aucs(sites.label_probe)])
    where = "all splits" if sites.split == "all" else sites.split
    note = f" {escape(sites.note.capitalize())}." if sites.note else ""
    return (
        "<h3>How well the site can be predicted, and how well it predicts the label</h3><p>Area under the ROC curve of a logistic regression in "
        f"folds by patient, {sites.n_films:,} films of {where}; 0.5 is chance.{note} Cramér’s V between site and "
        f"label is {sites.cramers_v:.2f}: at 0 they are independent, at 1 one determines the other. If the films reveal both "
        "the site and the label, a network can learn the site instead of the disease.</p>"
        + table(["Predicted", "From", "AUC", "Folds"], rows, (0, 1))
    )


def _aucs(probe: Probe) -> tuple[str, str]:
    folds = probe.fold_aucs
    return f"{probe.roc_auc:.3f}", f"{min(folds):.3f} to {max(folds):.3f}" if folds else "same for all films"
