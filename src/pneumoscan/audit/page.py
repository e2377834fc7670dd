"""The inspection as one HTML page with embedded style and images, without scripts or external resources."""

from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources

import numpy as np

from pneumoscan import __version__
from pneumoscan.audit.counts import Range, Sizes, SplitCounts
from pneumoscan.audit.duplicates import MAX_BITS, MIN_CORRELATION, DuplicateGroup
from pneumoscan.audit.findings import AuditFinding, plural
from pneumoscan.audit.inspection import Audit
from pneumoscan.audit.markup import breakable, figure, path, spread, table
from pneumoscan.audit.page_sites import sites_section
from pneumoscan.audit.pictures import (
    auc_chart,
    class_shares,
    colour_scale,
    diverging,
    jpeg_uri,
    png_uri,
)
from pneumoscan.data.manifest import CLASS_NAMES, FilmRecord, Manifest
from pneumoscan.errors import FilmError

SAMPLES = 8
MAX_GROUPS = 30
MAX_FILMS_IN_GROUP = 6
MAX_ROWS = 50
MIN_FOR_MEAN = 20
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_KINDS = {"same_file": "same file", "same_pixels": "same pixels, other file", "near_copy": "near copy"}


def render(audit: Audit, manifest: Manifest) -> str:
    """Return the page of an audit. Text from files, in particular names, is escaped.

    Args:
        audit: The audit.
        manifest: The manifest, from which the sample films are read again.
    """
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    body = "\n".join(_sections(audit, manifest))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Inspection of {escape(audit.name)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _sections(audit: Audit, manifest: Manifest) -> Iterator[str]:
    yield _header(audit)
    yield _splits(audit)
    yield sites_section(audit.sites) if audit.sites else ""
    yield _shortcuts(audit)
    yield _means(audit)
    yield _duplicates(audit, manifest)
    yield _patients(audit)
    yield _sizes(audit.sizes)
    yield _refused(audit)
    yield _samples(manifest)
    yield _footer(audit)


def _header(audit: Audit) -> str:
    high = sum(finding.severity == "high" for finding in audit.findings)
    verdict = (
        f"{plural(high, 'finding')} can invalidate every result."
        if high
        else "Nothing was found that invalidates every result."
    )
    findings = "".join(_finding(finding) for finding in audit.findings)
    return (
        f"<h1>What to know before training on “{escape(audit.name)}”</h1>"
        f'<p class="soft">{plural(audit.n_films, "film")}, {audit.n_readable:,} readable, '
        f"{plural(audit.patients.n_patients, 'patient')} · {path(audit.root)}</p>"
        f'<p><strong>{verdict}</strong></p><ol class="findings">{findings}</ol>'
    )


def _finding(finding: AuditFinding) -> str:
    return (
        f'<li class="{finding.severity}"><p><span class="tag">{finding.severity}</span> '
        f"<strong>{escape(finding.title)}</strong></p><p>{escape(finding.text)}</p>"
        f'<p class="soft">{escape(finding.advice)}</p></li>'
    )


def _splits(audit: Audit) -> str:
    rows = [_split_row(split) for split in audit.splits]
    head = ["Split", "Films", *CLASS_NAMES, "Share of PNEUMONIA", "Patients", "Unreadable", "Cause"]
    return f"<h2>Splits and classes</h2>{class_shares(audit.splits)}{table(head, rows, (0, 7))}"


def _split_row(split: SplitCounts) -> list[str]:
    return [
        escape(split.split),
        f"{split.n_films:,}",
        *(f"{split.films[name]:,}" for name in CLASS_NAMES),
        f"{split.pneumonia_share:.1%}",
        f"{split.n_patients:,}",
        f"{split.n_films - split.n_readable:,}",
        escape(", ".join(f"{cause} {count:,}" for cause, count in split.causes.items())) or "not given",
    ]


def _shortcuts(audit: Audit) -> str:
    found = audit.shortcuts
    title = "<h2>What the label can be guessed from without the lungs</h2>"
    if not found.probes:
        return f"{title}<p>Not measured: {escape(found.note)}.</p>"
    rows = [
        [escape(p.title), escape(p.sees), "–" if p.constant else f"{p.roc_auc:.3f}", _folds(p.fold_aucs)]
        for p in found.probes
    ]
    note = f" {escape(found.note.capitalize())}." if found.note else ""
    return (
        f"{title}<p>Area under the ROC curve of a logistic regression, mean of {found.n_folds} folds by patient, "
        f"{found.n_films:,} films of {found.n_patients:,} patients in {escape(str(found.split))}.{note} 0.5 is "
        "chance. The closer to 1, the easier a network can learn something else than the disease. A hold-out of the same "
        "films shares the property, so only films of another site reveal it.</p>"
        f"{auc_chart(found.probes)}{table(['Seen', 'That is', 'AUC', 'Folds'], rows, (0, 1))}"
        + "".join(f"<p><strong>{escape(each.text)}</strong></p>" for each in audit.comparisons)
    )


def _folds(aucs: tuple[float, ...]) -> str:
    return f"{min(aucs):.3f} to {max(aucs):.3f}" if aucs else "same for all films"


def _means(audit: Audit) -> str:
    split = audit.shortcuts.split or audit.splits[0].split
    figures = [_mean_figure(audit, of, name) for of, name in audit.means if of == split]
    normal, pneumonia = (audit.means.get((split, name)) for name in CLASS_NAMES)
    if normal is not None and pneumonia is not None:
        difference = pneumonia - normal
        limit = max(1.0, float(np.abs(difference).max()))
        caption = f"PNEUMONIA minus NORMAL, {split}, grey levels of 255"
        picture = png_uri(diverging(difference, limit))
        figures.append(figure(picture, f"Difference of the means: {caption}", caption, colour_scale(limit)))
    figures += [
        _mean_figure(audit, of, name)
        for of, name in audit.means
        if of != split and _n_films(audit, of, name) >= MIN_FOR_MEAN
    ]
    return (
        "<h2>Mean film of each class</h2><p>All films resized to 200×200 and averaged. Differences at the border, in "
        "the corners or around the outline are shortcuts; those inside the lungs may be disease.</p>"
        f'<div class="row means">{"".join(figures)}</div>'
    )


def _mean_figure(audit: Audit, split: str, name: str) -> str:
    uri = png_uri(np.rint(audit.means[split, name]).astype(np.uint8))
    return figure(uri, f"Mean {name} film of {split}", f"{name}, {split}")


def _n_films(audit: Audit, split: str, name: str) -> int:
    return next(counts.films[name] for counts in audit.splits if counts.split == split)


def _film_figure(manifest: Manifest, record: FilmRecord, longest: int, caption: str) -> str:
    try:
        uri = jpeg_uri(manifest.read(record).pixels, longest)
    except FilmError as error:
        caption = f"{caption} ({error.code})"
        return f'<figure><div class="missing">unreadable</div><figcaption>{breakable(caption)}</figcaption></figure>'
    return figure(uri, f"{CLASS_NAMES[record.label]} film {record.path}", caption)


def _duplicates(audit: Audit, manifest: Manifest) -> str:
    found = audit.duplicates
    counts = ", ".join(f"{plural(len(found.of_kind(k)), 'group')} “{t}”" for k, t in _KINDS.items())  # type: ignore[arg-type]
    below = (
        "" if found.closest_below is None else f" The most similar pair below has {found.closest_below:.2f}."
    )
    shown = found.groups[:MAX_GROUPS]
    more = (
        ""
        if len(shown) == len(found.groups)
        else f" The first {len(shown)} are shown; all are in inspect.json."
    )
    groups = "".join(_group(group, manifest) for group in shown)
    return (
        f"<h2>Copies</h2><p>{counts}.{more}</p>"
        f'<p class="soft">A near copy differs in at most {MAX_BITS} of 256 bits of a difference hash, and its detail '
        f"correlates at {MIN_CORRELATION} or more with the other’s; two different films of one patient are well below."
        f"{below} Mirrored or strongly cropped copies are not detected.</p>"
        f'<div class="groups">{groups}</div>'
    )


def _group(group: DuplicateGroup, manifest: Manifest) -> str:
    said = [_KINDS[group.kind]]
    if group.kind == "near_copy":
        said.append(f"correlation {group.correlation:.3f}")
    said += ["contradictory labels"] * group.contradictory + ["across splits"] * group.across_splits
    if not group.same_patient:
        said.append("of several patients")
    shown = group.films[:MAX_FILMS_IN_GROUP]
    films = "".join(_film_figure(manifest, film, 148, film.path) for film in shown)
    more = "" if len(shown) == len(group.films) else f"<p>and {len(group.films) - len(shown)} more</p>"
    bad = " bad" if group.contradictory or group.across_splits else ""
    return f'<div class="group{bad}"><h4>{escape(" · ".join(said))}</h4><div class="row">{films}</div>{more}</div>'


def _patients(audit: Audit) -> str:
    found = audit.patients
    few = found.films_per_patient
    rows = [[escape(bin_.replace("-", " to ")), f"{count:,}"] for bin_, count in found.histogram.items()]
    shared = ""
    if found.across_splits:
        lines = [
            [path(p.patient_id), ", ".join(f"{escape(split)} {n}" for split, n in p.films.items())]
            for p in found.across_splits[:MAX_ROWS]
        ]
        shared = (
            f"<h3>{plural(len(found.across_splits), 'number')} in more than one split</h3><p>The same number does not "
            "prove the same patient: numbering may start again in each split.</p>"
            + table(["Patient", "Films"], lines, (0, 1))
            + _and_more(len(found.across_splits))
        )
    return (
        f"<h2>Patients</h2><p>{plural(found.n_patients, 'patient number')}; within a split {few.min:.0f} to "
        f"{few.max:.0f} films each, {few.median:.0f} at the median. {found.n_with_both_classes:,} have films of both "
        f"classes.</p>{table(['Films', 'Patients'], rows)}{shared}"
    )


def _and_more(count: int) -> str:
    return f"<p>and {count - MAX_ROWS:,} more, all in inspect.json</p>" if count > MAX_ROWS else ""


def _sizes(sizes: tuple[Sizes, ...]) -> str:
    head = ["Films", "Width", "Height", "Width : height", "File, kB", "Mean grey", "Modes", "Formats"]
    rows = [
        [
            escape(size.name),
            *(spread(found) for found in (size.width, size.height)),
            spread(size.aspect, digits=2),
            spread(
                Range(*(value / 1000 for value in (size.n_bytes.min, size.n_bytes.median, size.n_bytes.max)))
            ),
            spread(size.brightness),
            *(
                escape(", ".join(f"{k} {n:,}" for k, n in kinds.items()))
                for kinds in (size.modes, size.formats)
            ),
        ]
        for size in sizes
    ]
    common = ", ".join(f"{shape.replace('x', '×')} ({count:,})" for shape, count in sizes[0].most_common)
    return (
        "<h2>Sizes and modes</h2><p>Median, minimum and maximum.</p>"
        f"{table(head, rows, (0, 6, 7))}<p>{plural(sizes[0].n_sizes, 'size')}; most common: "
        f"{escape(common)}.</p>"
    )


def _refused(audit: Audit) -> str:
    if not audit.refused and not audit.notes:
        return ""
    notes = "".join(f"<p>{escape(note)}</p>" for note in audit.notes)
    rows = [[path(f.path), escape(f.code), escape(f.message)] for f in audit.refused[:MAX_ROWS]]
    lines = table(["Film", "Code", "Reason"], rows, (0, 1, 2)) if rows else ""
    return f"<h2>Left out</h2>{notes}{lines}{_and_more(len(audit.refused))}"


def _samples(manifest: Manifest) -> str:
    parts = ["<h2>Sample films</h2><p>One film per patient, sampled with a fixed seed.</p>"]
    for split in dict.fromkeys(film.split for film in manifest.films):
        for label, name in enumerate(CLASS_NAMES):
            films = [film for film in manifest.films if film.split == split and film.label == label]
            figures = "".join(
                _film_figure(manifest, film, 186, film.path.rsplit("/", 1)[-1]) for film in _draw(films)
            )
            if figures:
                parts.append(f'<h3>{escape(split)}, {name}</h3><div class="row samples">{figures}</div>')
    return "".join(parts)


def _draw(films: Sequence[FilmRecord]) -> list[FilmRecord]:
    firsts = list({film.patient_id: film for film in reversed(films)}.values())
    chosen = np.random.default_rng(0).permutation(len(firsts))[:SAMPLES]
    return sorted((firsts[i] for i in chosen), key=lambda film: film.path)


def _footer(audit: Audit) -> str:
    return (
        f"<footer>pneumoscan {escape(__version__)} · {audit.seconds:.0f} s · layout “{escape(audit.layout)}” · "
        "1 is PNEUMONIA, 0 is NORMAL · everything here is in inspect.json too · research use only</footer>"
    )
