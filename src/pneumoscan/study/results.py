"""The results of a study, collected from its records, and the same as tables for other programs."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import numpy.typing as npt

from pneumoscan.errors import UsageError
from pneumoscan.files import write_atomic
from pneumoscan.study.differences import COMPARED, Difference, StudyComparison
from pneumoscan.study.plan import BASELINE, Section, StudyPlan, parse_plan
from pneumoscan.study.trial_records import (
    EPOCH_FIGURES,
    TIMES,
    StudyFacts,
    StudyFolder,
    TrialRecord,
    read_facts,
    read_held_out,
    read_record,
)
from pneumoscan.study.trials import (
    Planned,
    Trial,
    confirmations,
    first_trials,
    groups,
    place_of_best,
    setting,
    trial_of,
)


@dataclass(frozen=True)
class VariantFindings:
    """A variant and its trials.

    Attributes:
        title: Title in tables and legends; it says if the variant is the baseline itself.
        change: Settings that differ from the baseline: name → value.
        trial: Its trial with seed 0.
        records: Records of ended trials by seed.
        missing: Names of planned trials that have not ended.
        differences: Differences to the baseline by figure; empty for the baseline.
    """

    name: str
    title: str
    change: Mapping[str, Any]
    why: str
    expect: str
    trial: Trial
    records: tuple[TrialRecord, ...]
    missing: tuple[str, ...]
    differences: Mapping[str, Difference]

    @property
    def done(self) -> tuple[TrialRecord, ...]:
        """The records with figures."""
        return tuple(record for record in self.records if record.status == "done")

    @property
    def broken(self) -> tuple[TrialRecord, ...]:
        """The records without figures: diverged or failed."""
        return tuple(record for record in self.records if record.status != "done")

    @property
    def first_score(self) -> float | None:
        """The score by which the best variant is chosen: mean AUC of the stress test with seed 0; None if there is none."""
        return next((record.score() for record in self.records if record.seed == 0), None)

    def mean(self, figure: Callable[[TrialRecord], float | None]) -> float | None:
        """Return the mean of a figure over the finished seeds; None if it is not defined for all of them."""
        values = [figure(record) for record in self.done]
        known = [value for value in values if value is not None]
        return fmean(known) if known and len(known) == len(values) else None


@dataclass(frozen=True)
class SectionFindings:
    """A planned section with its variants in the order of the plan, and by group; one group without a name if it names no setting."""

    section: Section
    variants: tuple[VariantFindings, ...]
    groups: Mapping[str, tuple[VariantFindings, ...]]

    @property
    def best(self) -> VariantFindings | None:
        """The variant whose trial with seed 0 has the highest mean AUC in the stress test; the first of equals.

        It is chosen before its further seeds are known, because a mean over all seeds would favour a variant that was lucky
        with one seed and never repeated.
        """
        return _best(self.variants)

    @property
    def bests(self) -> dict[str, VariantFindings]:
        """The best variant of each group, without groups that have no figure."""
        found = {name: _best(variants) for name, variants in self.groups.items()}
        return {name: variant for name, variant in found.items() if variant is not None}


def _best(variants: Sequence[VariantFindings]) -> VariantFindings | None:
    place = place_of_best([variant.first_score for variant in variants])
    return None if place is None else variants[place]


@dataclass(frozen=True)
class Findings:
    """A study's plan as last given, and its records.

    Attributes:
        y_true: int64 (n,), labels of the held-out films.
        planned: Every trial with its places, including confirmations.
        comparison: All finished trials.
    """

    plan: StudyPlan
    facts: StudyFacts
    y_true: npt.NDArray[np.int64]
    baseline: VariantFindings
    sections: tuple[SectionFindings, ...]
    planned: tuple[Planned, ...]
    comparison: StudyComparison

    def variants(self) -> Iterator[tuple[str, VariantFindings]]:
        """Yield (section, variant), the baseline first."""
        yield BASELINE, self.baseline
        for found in self.sections:
            for variant in found.variants:
                yield found.section.name, variant

    def records(self) -> list[TrialRecord]:
        """Return every record once, in the order of the plan."""
        return list({r.name: r for _, variant in self.variants() for r in variant.records}.values())


def gather(folder: StudyFolder) -> Findings:
    """Read the folder of a study.

    Raises:
        UsageError: The folder contains no study.
        DataDamagedError: A record is damaged.
        ConfigError: The plan does not fit the settings of this version.
    """
    facts = read_facts(folder)
    if facts is None or not folder.plan.exists():
        raise UsageError(f"{folder.path} contains no study.", "Run one with `pneumoscan study PLAN`.")
    plan = parse_plan(folder.plan.read_bytes(), str(folder.plan))
    y_true, patients = read_held_out(folder)
    first = first_trials(plan, facts.conditions)
    records = _read_all(folder, first)
    scores = {
        each.trial.name: score
        for each in first
        if (record := _find(records, each.trial)) is not None and (score := record.score()) is not None
    }
    planned = [*first, *confirmations(plan, facts.conditions, scores)]
    every = [record for seeds in records.values() for record in seeds.values()]
    comparison = StudyComparison.of(every, y_true, patients)
    gatherer = _Gatherer(plan, facts, records, planned, comparison)
    return Findings(
        plan=plan,
        facts=facts,
        y_true=y_true,
        baseline=gatherer.baseline(),
        sections=tuple(gatherer.section(section) for section in plan.sections),
        planned=tuple(planned),
        comparison=comparison,
    )


def films_per_second(record: TrialRecord) -> float | None:
    """Return the median over the epochs of a trial of the training films per second."""
    speeds = record.origin.get("films_per_second") or []
    return float(median(speeds)) if speeds else None


@dataclass(frozen=True)
class _Gatherer:
    plan: StudyPlan
    facts: StudyFacts
    records: Mapping[str, Mapping[int, TrialRecord]]
    planned: Sequence[Planned]
    comparison: StudyComparison

    def baseline(self) -> VariantFindings:
        baseline = self.plan.baseline
        trial = trial_of(self.plan.baseline_config(), 0, self.facts.conditions)
        return self._variant(BASELINE, BASELINE, trial, baseline.why, baseline.expect)

    def section(self, section: Section) -> SectionFindings:
        variants = []
        for variant in section.variants:
            trial = trial_of(self.plan.config_of(section, variant), 0, self.facts.conditions)
            variants.append(self._variant(section.name, variant.name, trial, variant.why, variant.expect))
        places = groups(self.plan, section)
        return SectionFindings(
            section,
            tuple(variants),
            {name: tuple(variants[place] for place in group) for name, group in places.items()},
        )

    def _variant(self, section: str, name: str, trial: Trial, why: str, expect: str) -> VariantFindings:
        base = trial_of(self.plan.baseline_config(), 0, self.facts.conditions)
        records = self.records.get(trial.key, {})
        wanted = [each.trial for each in self.planned if (each.section, each.variant) == (section, name)]
        found = {figure: self.comparison.difference(trial.key, base.key, figure) for figure in COMPARED}
        same = trial.key == base.key and name != BASELINE
        return VariantFindings(
            name=name,
            title=f"{name} (the baseline)" if same else name,
            change=_changed(trial, base),
            why=why,
            expect=expect,
            trial=trial,
            records=tuple(records[seed] for seed in sorted(records)),
            missing=tuple(each.name for each in wanted if each.seed not in records),
            differences={figure: each for figure, each in found.items() if each is not None},
        )


def _changed(trial: Trial, base: Trial) -> dict[str, Any]:
    """Return the settings in which a trial differs from the baseline."""
    found = {}
    for table, settings in trial.config.model_dump(mode="json").items():
        if isinstance(settings, dict):
            for key, value in settings.items():
                dotted = f"{table}.{key}"
                try:
                    before = setting(base.config, dotted)
                except AttributeError:
                    before = None
                if (list(before) if isinstance(before, tuple) else before) != value:
                    found[dotted] = value
    return found


def _read_all(folder: StudyFolder, first: Sequence[Planned]) -> dict[str, dict[int, TrialRecord]]:
    """Return all records of the configurations of the plan: key → seed → record."""
    keys = dict.fromkeys(each.trial.key for each in first)
    found: dict[str, dict[int, TrialRecord]] = {}
    for key in keys:
        for place in sorted((folder.path / "trials").glob(f"{key}-seed*")):
            record = read_record(folder, place.name)
            if record is not None:
                found.setdefault(key, {})[record.seed] = record
    return found


def _find(records: Mapping[str, Mapping[int, TrialRecord]], trial: Trial) -> TrialRecord | None:
    return records.get(trial.key, {}).get(trial.seed)


# Tables for other programs


TRIAL_COLUMNS = (
    "section", "variant", "seed", "trial", "status", "reason", "parameters", "films_per_second", "epochs",
    "kept_epoch", "val_loss", "accuracy", "sensitivity", "specificity", "roc_auc", "average_precision", "best_f1",
    "best_f1_threshold", "stress_roc_auc_mean", "stress_roc_auc_worst", "stress_worst_view",
    "stress_specificity_mean", "stress_specificity_worst",
)  # fmt: skip
EPOCH_COLUMNS = ("trial", "seed", "epoch", *EPOCH_FIGURES, *TIMES)
DIFFERENCE_COLUMNS = (
    "section", "variant", "trial_key", "figure", "seeds", "difference", "ci95_low", "ci95_high", "verdict",
)  # fmt: skip

_SITE_FIGURES = ("n", "n_positive", "n_patients", "roc_auc", "sensitivity", "specificity")
SITE_COLUMNS = (
    "section", "variant", "seed", "trial", "site", "view", "left_out", "n", "n_positive", "n_patients", "roc_auc", "ci95_low",
    "ci95_high", "sensitivity", "specificity",
)  # fmt: skip


def write_tables(folder: Path, found: Findings) -> None:
    """Write `trials.csv`, `epochs.csv`, `differences.csv`, and with several sites `sites.csv`; unknown cells are empty.

    `trials.csv` has a row for every seed of every variant. A trial in several sections has several rows with the same
    `trial`, which is its name in `epochs.csv`.
    """
    _write_table(folder / "trials.csv", TRIAL_COLUMNS, _trial_rows(found))
    _write_table(folder / "epochs.csv", EPOCH_COLUMNS, _epoch_rows(found))
    _write_table(folder / "differences.csv", DIFFERENCE_COLUMNS, _difference_rows(found))
    if by_site := list(_site_rows(found)):
        _write_table(folder / "sites.csv", SITE_COLUMNS, by_site)


def _trial_rows(found: Findings) -> Iterable[Mapping[str, Any]]:
    for section, variant in found.variants():
        for record in variant.records:
            yield {"section": section, "variant": variant.name, **_figures(record)}
        for name in variant.missing:
            seed = name.rsplit("seed", 1)[1]
            yield {
                "section": section, "variant": variant.name, "seed": seed, "trial": name, "status": "missing",
            }  # fmt: skip


def _figures(record: TrialRecord) -> dict[str, Any]:
    figures, stress = record.figures, record.figures.get("stress", {})
    best, mean, worst = figures.get("best_f1", {}), stress.get("mean", {}), stress.get("worst", {})
    lowest, least_specific = worst.get("roc_auc") or {}, worst.get("specificity") or {}
    own = ("val_loss", "accuracy", "sensitivity", "specificity", "roc_auc", "average_precision")
    return {
        "seed": record.seed,
        "trial": record.name,
        "status": record.status,
        "reason": record.reason,
        **{key: record.facts.get(key) for key in ("parameters", "epochs", "kept_epoch")},
        "films_per_second": films_per_second(record),
        **{key: figures.get(key) for key in own},
        "best_f1": best.get("f1"),
        "best_f1_threshold": best.get("threshold"),
        "stress_roc_auc_mean": mean.get("roc_auc"),
        "stress_roc_auc_worst": lowest.get("value"),
        "stress_worst_view": lowest.get("perturbation"),
        "stress_specificity_mean": mean.get("specificity"),
        "stress_specificity_worst": least_specific.get("value"),
    }


def _epoch_rows(found: Findings) -> Iterable[Mapping[str, Any]]:
    for record in found.records():
        for place, row in enumerate(record.history):
            times = {key: _at(record.origin.get(key), place) for key in TIMES}
            yield {"trial": record.name, "seed": record.seed, **row, **times}


def _difference_rows(found: Findings) -> Iterable[Mapping[str, Any]]:
    for section, variant in found.variants():
        for figure, difference in variant.differences.items():
            yield {
                "section": section,
                "variant": variant.name,
                "trial_key": variant.trial.key,
                "figure": figure,
                "seeds": len(variant.done),
                "difference": difference.value,
                "ci95_low": difference.ci95[0],
                "ci95_high": difference.ci95[1],
                "verdict": difference.verdict,
            }


def _site_rows(found: Findings) -> Iterable[Mapping[str, Any]]:
    for section, variant in found.variants():
        for record in variant.done:
            for site, facts in record.figures.get("sites", {}).items():
                for view, own in {"": facts, **facts.get("views", {})}.items():
                    low, high = own["roc_auc_ci95"] or (None, None)
                    counts = {key: own.get(key) for key in _SITE_FIGURES}
                    yield {
                        "section": section, "variant": variant.name, "seed": record.seed, "trial": record.name,
                        "site": site, "view": view, "left_out": facts["left_out"], **counts, "ci95_low": low, "ci95_high": high,
                    }  # fmt: skip


def _at(values: Sequence[Any] | None, place: int) -> Any:
    return values[place] if values is not None and place < len(values) else None


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_atomic(path, text.getvalue())


def _cell(value: Any) -> Any:
    return f"{value:.7g}" if isinstance(value, float) else "" if value is None else value
