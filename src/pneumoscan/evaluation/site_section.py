"""Sections of the report about the answers of the model, and about each site."""

from collections.abc import Mapping

from pneumoscan.evaluation.answers import Answers, Share
from pneumoscan.evaluation.markup import between, graph, percent, safe, score, table_row
from pneumoscan.evaluation.metrics import Metrics
from pneumoscan.evaluation.sites import SiteFigures

_MEANINGS = {
    "answered": "labelled PNEUMONIA or NORMAL",
    "not_answered": "labelled UNSURE or NOT_A_CHEST_FILM",
    "accuracy_answered": "labelled correctly, of the answered",
    "warned": "with any warning",
    "confident_and_wrong": "labelled wrongly without a warning",
}


def answers_section(metrics: Metrics, graphs: Mapping[str, bytes]) -> str:
    """Return the section about the answers, as HTML."""
    caption = (
        "Risk-coverage curve: the error if only the films are answered whose probability is farthest from the threshold. A lower "
        "line means a better estimate of the model's own confidence."
    )
    picture = graph(graphs, "risk_coverage", caption) if "risk_coverage" in graphs else ""
    table = _answers_table(metrics.answers) if metrics.answers else ""
    return f"<section><h2>What the model answers</h2>{table}{picture}</section>" if table or picture else ""


def _answers_table(answers: Answers) -> str:
    rows = []
    for name, meaning in _MEANINGS.items():
        share: Share = getattr(answers, name)
        cells = (
            meaning,
            f"{share.count:,} of {share.of:,}",
            percent(share.share),
            between(share.ci95, percent=True) if share.ci95 else "–",
        )
        rows.append(table_row(name.replace("_", " "), cells))
    return (
        "<table><thead><tr><th></th><th>films</th><th>count</th><th>share</th><th>95%, Wilson</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def sites_section(metrics: Metrics, graphs: Mapping[str, bytes]) -> str:
    """Return the section about the sites as HTML; nothing if the films come from one site."""
    table = metrics.sites
    if table is None:
        return ""
    rows = "".join(_site_row(row) for row in table.rows)
    differences = "".join(
        f"<li>{safe(each.site)} minus {safe(each.other)}: {each.roc_auc:+.3f} (95% {each.ci95[0]:+.3f} to {each.ci95[1]:+.3f})</li>"
        for each in table.differences
    )
    listed = f"<h3>Differences of the area</h3><ul>{differences}</ul>" if differences else ""
    caption = "Each site separately. The area of all films together also compares films of different sites."
    picture = graph(graphs, "sites", caption) if "sites" in graphs else ""
    return (
        f"<section><h2>By site</h2>{picture}<table><thead><tr><th>site</th><th>films</th>"
        "<th>PNEUMONIA</th><th>patients</th><th>area under ROC</th><th>95%, over patients</th><th>sensitivity</th>"
        "<th>specificity</th><th>answered</th><th>of these correct</th><th>confident and wrong</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{listed}</section>"
    )


def _site_row(row: SiteFigures) -> str:
    answers = row.answers
    shares = (answers.answered, answers.accuracy_answered, answers.confident_and_wrong) if answers else ()
    cells = (
        f"{row.n:,}", f"{row.n_positive:,}", f"{row.n_patients:,}", score(row.roc_auc),
        between(row.roc_auc_ci95, percent=False) if row.roc_auc_ci95 else "–",
        score(row.sensitivity), score(row.specificity),
        *([percent(share.share) for share in shares] or ["–"] * 3),
    )  # fmt: skip
    return table_row(row.site, cells)
