"""Findings about a set of films as text, most severe first."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pneumoscan.audit.counts import Patients, Sites, Sizes, SplitCounts, one_class_of
from pneumoscan.audit.duplicates import DuplicateGroup, Duplicates
from pneumoscan.audit.scan import UnreadFilm
from pneumoscan.audit.shortcuts import NetworkComparison, Probe, Shortcuts

Severity = Literal["high", "medium", "note"]

STRONG_AUC = 0.8
WEAK_AUC = 0.65
SMALL_SPLIT = 100
SHARE_GAP = 0.10


@dataclass(frozen=True)
class AuditFinding:
    """A finding: `high` can invalidate every result, `medium` can mislead, `note` is useful to know; `key` is a stable name for programs."""

    severity: Severity
    key: str
    title: str
    text: str
    advice: str


def findings_of(
    splits: tuple[SplitCounts, ...],
    sizes: tuple[Sizes, ...],
    patients: Patients,
    refused: tuple[UnreadFilm, ...],
    duplicates: Duplicates,
    shortcuts: Shortcuts,
    others: Iterable[AuditFinding] = (),
) -> tuple[AuditFinding, ...]:
    """Return the findings of an audit by severity; `others` come first within theirs."""
    found = [
        *others,
        *_about_duplicates(duplicates),
        *_about_shortcuts(shortcuts),
        *_about_classes(splits),
        *_about_patients(patients, duplicates),
        *_about_refused(refused, sum(split.n_films for split in splits)),
        *_about_small_splits(splits),
        *_about_sizes(sizes[0]),
    ]
    rank = {"high": 0, "medium": 1, "note": 2}
    return tuple(sorted(found, key=lambda finding: rank[finding.severity]))


def findings_of_network(comparisons: Iterable[NetworkComparison]) -> Iterator[AuditFinding]:
    """Yield a finding for each site where a shortcut comes too close to the network."""
    for each in comparisons:
        if each.shown is False:
            yield AuditFinding(
                "high",
                "network_not_above_shortcut",
                f"{each.network} is not shown to work{f' on films of {each.site}' if each.site else ''}: "
                f"{each.shortcut} alone gives AUC {each.shortcut_auc:.3f}.",
                each.text,
                "Do not use this figure of the network. Judge it on films whose two classes were collected in the same way.",
            )


def plural(count: int, noun: str) -> str:
    """Return `1 film`, `2 films`, `1,000 copies`."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else several}"


def _about_duplicates(duplicates: Duplicates) -> Iterator[AuditFinding]:
    contradictory = [group for group in duplicates.groups if group.contradictory]
    if contradictory:
        yield AuditFinding(
            "high",
            "contradictory_labels",
            "The same image has both labels.",
            f"{plural(len(contradictory), 'group')} of copies with both classes, {_first(contradictory)}.",
            "Find out which label is right, or leave these films out.",
        )
    across = [group for group in duplicates.groups if group.across_splits]
    if across:
        yield AuditFinding(
            "high",
            "copies_across_splits",
            "Copies of a film are in more than one split.",
            f"{plural(len(across), 'group')}, {_first(across)}. Training films are then part of the evaluation.",
            "Remove them from train before an evaluation.",
        )
    inside = [group for group in duplicates.groups if not group.across_splits]
    if inside:
        yield _copies_inside(duplicates, inside)


def _copies_inside(duplicates: Duplicates, inside: list[DuplicateGroup]) -> AuditFinding:
    near = sum(group.kind == "near_copy" for group in inside)
    patient = "all within one patient" if all(g.same_patient for g in inside) else "some of several patients"
    return AuditFinding(
        "note",
        "copies_inside_split",
        f"Copies within a split: {plural(sum(len(group.films) - 1 for group in inside), 'film')} too many.",
        f"{plural(len(inside) - near, 'group')} of identical films and {plural(near, 'group')} of near copies, "
        f"{patient}. In the whole set {plural(duplicates.n_redundant, 'identical film')} could be left out.",
        "Harmless in train if the hold-out keeps them together; in an evaluation they count twice.",
    )


def _first(groups: list[DuplicateGroup]) -> str:
    return "for example " + " and ".join(film.path for film in groups[0].films[:2])


def _about_shortcuts(shortcuts: Shortcuts) -> Iterator[AuditFinding]:
    titles = {
        "border": "The label can be guessed from the border of the film",
        "thumbnail": "The label can be guessed from a thumbnail of 20×20 pixels",
        "image_size": "The label can be guessed from the size in pixels",
        "file_size": "The label can be guessed from the size of the file",
        "mode": "The label can be guessed from the colour mode or format",
        "brightness": "The label can be guessed from the mean brightness",
        "view": "The label can be guessed from the view",
        "patient_order": "The label can be guessed from the order of the patients",
    }
    for probe in shortcuts.probes:
        if probe.roc_auc >= WEAK_AUC:
            yield AuditFinding(
                "high" if probe.roc_auc >= STRONG_AUC else "medium",
                f"shortcut_{probe.name}",
                f"{titles[probe.name]} (AUC {probe.roc_auc:.3f}).",
                f"Input of a linear model: {probe.sees}. Measured in {plural(len(probe.fold_aucs), 'fold')} by "
                f"patient, {plural(shortcuts.n_films, 'film')} of {shortcuts.split}; 0.5 is chance. "
                f"{_meaning(probe)}",
                _shortcut_advice(probe),
            )


def _meaning(probe: Probe) -> str:
    made = "a network can learn this instead. A hold-out of the same films shares the property and does not reveal it."
    return {
        "border": f"The border contains hardly any lung, but shows how and where the films were acquired: {made}",
        "thumbnail": "Part of this is disease, because an opaque lung is bright at any size. But a thumbnail also shows outlines, "
        "markers and the collimation, and no fine sign of pneumonia.",
        "file_size": "At equal width and height, the size of a JPEG measures sharpness, noise and compression: how the "
        "films were acquired. A network sees this too.",
        "view": "Ill patients are often examined lying (AP). A network sees the view, and can answer it instead of the disease.",
        "patient_order": "The classes were collected one after another. What changed meanwhile (device, processing, patients) is in the "
        "films, and a network can learn it.",
        "brightness": f"Opaque lungs make a film brighter, but so do exposure and processing: {made}",
    }.get(probe.name, f"This is not the disease: {made}")


def _shortcut_advice(probe: Probe) -> str:
    if probe.name == "file_size":
        return "Vary sharpness, noise and compression in training, and evaluate on films of another site."
    if probe.name in {"image_size", "mode"}:
        return "Convert all films to one size and one channel, as pneumoscan does; resampling may still leave a trace."
    return (
        "Vary crop, position, contrast and brightness in training, evaluate on films of another site, and check "
        "heatmaps for evidence outside the lungs."
    )


def _about_classes(splits: tuple[SplitCounts, ...]) -> Iterator[AuditFinding]:
    for split in splits:
        if 0 in split.films.values():
            missing = next(name for name, count in split.films.items() if count == 0)
            yield AuditFinding(
                "high",
                f"one_class_{split.split}",
                f"{split.split} has no {missing} film.",
                f"All {plural(split.n_films, 'film')} of {split.split} are of one class.",
                "Training and evaluation need both classes.",
            )
    shares = [split.pneumonia_share for split in splits]
    if max(shares) - min(shares) >= SHARE_GAP:
        listed = ", ".join(f"{split.pneumonia_share:.1%} in {split.split}" for split in splits)
        yield AuditFinding(
            "medium",
            "class_share_differs",
            "The share of pneumonia differs between the splits.",
            f"PNEUMONIA is {listed}. The probabilities of a model depend on the prevalence in its training.",
            "Choose the threshold deliberately; compare sensitivity and specificity, not accuracy alone.",
        )


def _about_patients(patients: Patients, duplicates: Duplicates) -> Iterator[AuditFinding]:
    if patients.across_splits:
        first = patients.across_splits[0]
        listed = " and ".join(f"{plural(count, 'film')} in {split}" for split, count in first.films.items())
        copies = sum(group.across_splits for group in duplicates.groups)
        yield AuditFinding(
            "medium",
            "patients_across_splits",
            f"{plural(len(patients.across_splits), 'patient number')} in more than one split.",
            f"For example {first.patient_id}: {listed}. The same number does not prove the same patient, because numbering "
            f"may start again in each split; {plural(copies, 'group')} of copies across splits found.",
            "If they are the same patients, the figures on that split are too good.",
        )
    if patients.films_per_patient.max > 1:
        several = sum(count for films, count in patients.histogram.items() if films != "1")
        yield AuditFinding(
            "note",
            "films_per_patient",
            f"{plural(several, 'patient')} with several films, up to {patients.films_per_patient.max:.0f}.",
            "Films of one patient look alike: a random split of films would put them into both parts.",
            "Split by patient; the train command does.",
        )


def _about_refused(refused: tuple[UnreadFilm, ...], n_films: int) -> Iterator[AuditFinding]:
    if refused:
        yield AuditFinding(
            "high" if len(refused) > 0.01 * n_films else "medium",
            "unreadable_films",
            f"{plural(len(refused), 'film')} cannot be read.",
            f"{len(refused) / n_films:.1%} of {n_films:,}; the first is {refused[0].path} ({refused[0].code}).",
            "Copy them again from their source; they are left out of everything else here.",
        )


def _about_small_splits(splits: Iterable[SplitCounts]) -> Iterator[AuditFinding]:
    for split in splits:
        if split.n_films < SMALL_SPLIT:
            yield AuditFinding(
                "medium",
                f"small_{split.split}",
                f"{split.split} is too small for any choice.",
                f"It has {plural(split.n_films, 'film')}: one film is {100 / split.n_films:.2f} points of accuracy.",
                "Report intervals with every figure from it."
                if split.split == "test"
                else "Hold out patients of train instead; the train command does.",
            )


def _about_sizes(sizes: Sizes) -> Iterator[AuditFinding]:
    if sizes.aspect.max / sizes.aspect.min > 1.2:
        yield AuditFinding(
            "note",
            "aspect_ratios",
            "The films have different shapes.",
            f"Width over height goes from {sizes.aspect.min:.2f} to {sizes.aspect.max:.2f} (median "
            f"{sizes.aspect.median:.2f}), in {plural(sizes.n_sizes, 'size')}.",
            "Resizing to a square distorts each film differently; consider this when reading heatmaps.",
        )
    if len(sizes.modes) > 1:
        listed = ", ".join(f"{mode} {count:,}" for mode, count in sizes.modes.items())
        yield AuditFinding(
            "note",
            "mixed_modes",
            "The films have different colour modes.",
            f"{listed}. All are read as grey.",
            "Nothing to do, unless the mode is associated with the label (see the table of shortcuts).",
        )


# Several sites


MAX_TITLE = 40
MAX_NAMED = 8

_ADVICE = (
    "Sample the sites in training with the same prevalence of PNEUMONIA, evaluate every site separately, and leave one "
    "out to measure the figures at an unseen site."
)


def findings_of_sites(sites: Sites | None) -> tuple[AuditFinding, ...]:
    """Return the findings of the comparison of sites; none if there is only one site."""
    if sites is None:
        return ()
    return (*_about_one_class(sites), *_about_label(sites), *_about_looks(sites))


def _about_one_class(sites: Sites) -> Iterator[AuditFinding]:
    alone = [(facts, name) for facts in sites.sites if (name := one_class_of(facts))]
    if alone:
        listed = ", ".join(
            f"{plural(facts.n_films, 'film')} of {facts.site}, all {name}" for facts, name in alone
        )
        yield AuditFinding(
            "high",
            "site_of_one_class",
            f"{plural(len(alone), 'site')} with films of one class only.",
            f"{listed}. Everything that reveals the site reveals the label. {_visible(sites)}",
            "Add films of the other class from there, or use these films for evaluation only.",
        )


def _about_label(sites: Sites) -> Iterator[AuditFinding]:
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
        yield AuditFinding(
            "high" if auc >= STRONG_AUC else "medium",
            "shortcut_site",
            f"The label can be guessed from the site alone (AUC {auc:.3f}).",
            numbers,
            _ADVICE,
        )
    elif max(shares) - min(shares) >= SHARE_GAP:
        yield AuditFinding(
            "medium",
            "site_share_differs",
            "The share of pneumonia differs between the sites.",
            numbers,
            _ADVICE,
        )


def _about_looks(sites: Sites) -> Iterator[AuditFinding]:
    best = sites.best_seen
    if best is not None and best.roc_auc >= WEAK_AUC:
        pair = " and ".join(facts.site for facts in sites.sites)
        several = pair if len(sites.sites) == 2 and len(pair) <= MAX_TITLE else "The sites"
        yield AuditFinding(
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
