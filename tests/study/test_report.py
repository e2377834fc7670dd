"""The report: complete, safe, offline, and the same bytes from the same records."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stored import assert_as_stored, digest

from pneumoscan.errors import DataDamagedError, UsageError
from pneumoscan.study.report import write_report
from pneumoscan.study.results import gather
from pneumoscan.study.trial_records import StudyFolder, TrialRecord

SECTIONS = ("baseline", "depth", "rates")


@pytest.fixture(scope="module")
def reported(finished_study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reported") / "out"
    shutil.copytree(finished_study[0], out)
    write_report(out)
    return out


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def bytes_of(out: Path) -> dict[str, bytes]:
    files = [*(out / "figures").iterdir(), *out.glob("*.csv"), out / "report.html"]
    return {path.name: path.read_bytes() for path in files}


def test_every_section_has_its_graphs(reported: Path) -> None:
    names = {path.name for path in (reported / "figures").iterdir()}
    wanted = {f"convergence-{name}" for name in SECTIONS} | {"differences-depth", "differences-rates"}
    wanted |= {"precision_recall", "epochs-rates"}
    assert names == {f"{name}.{kind}" for name in wanted for kind in ("svg", "png")}
    page = (reported / "report.html").read_text()
    assert page.count("data:image/svg+xml") == len(wanted)


def test_the_page_opens_offline_and_escapes_what_the_plan_says(reported: Path) -> None:
    page = (reported / "report.html").read_text()
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "A tiny &lt;study&gt;" in page
    assert "A &lt;b&gt;wider&lt;/b&gt; view." in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page


def test_the_page_tells_why_what_was_expected_and_what_came_out(reported: Path) -> None:
    page = (reported / "report.html").read_text()
    for text in (
        "Because.",
        "Something.",
        "Far too fast.",
        "It diverges.",
        "<b>diverged</b>",
        "(the baseline)",
    ):
        assert text in page, text
    assert "no detectable difference" in page
    assert page.count('<th scope="row">0.') == 17
    assert "After the best epoch" in page
    assert "1 trial diverged" in page


def test_the_best_of_each_optimizer_are_compared_with_each_other(reported: Path) -> None:
    page = (reported / "report.html").read_text()
    table = re.search(r"The best of each, compared</h3>.*?</table>", page, re.DOTALL)
    assert table is not None
    rows = re.findall(r'<th scope="row">(\w+)</th><td>([\w-]+)</td><td>(\d)</td>', table[0])
    assert rows == [("adam", "adam", "2"), ("sgd", "sgd", "2")]
    assert "difference to adam" in table[0]
    assert page.count("The best of each, compared") == 1


def test_the_best_is_chosen_by_seed_0_and_not_by_luck_that_was_never_tried_again(study_copy: Path) -> None:
    """The confirmed variant stays the best of its section when its further seeds turn out worse than another's only one."""
    (depth, _) = gather(StudyFolder(study_copy)).sections
    best, other = sorted(depth.variants, key=lambda variant: variant.first_score or 0, reverse=True)
    assert depth.best is best
    assert len(best.records) == 2
    stripped = replace(other, records=other.records[:1])
    wrecked = replace(
        best, records=(best.records[0], replace(best.records[1], figures=worthless(best.records[1])))
    )
    found = replace(depth, variants=tuple(wrecked if each is best else stripped for each in depth.variants))
    assert (wrecked.mean(TrialRecord.score) or 0) < (stripped.mean(TrialRecord.score) or 0)
    assert found.best is wrecked


def worthless(record: TrialRecord) -> dict[str, Any]:
    stress = record.figures["stress"]
    return {**record.figures, "stress": {**stress, "mean": {**stress["mean"], "roc_auc": 0.0}}}


def test_the_same_records_give_the_same_bytes(reported: Path, tmp_path: Path) -> None:
    before = bytes_of(reported)
    copy = tmp_path / "elsewhere"
    shutil.copytree(reported, copy, ignore=shutil.ignore_patterns("figures", "*.html", "work"))
    for table in copy.glob("*s.csv"):
        table.unlink()
    write_report(copy)
    assert bytes_of(copy) == {name: data for name, data in before.items() if name != "held_out.csv"} | {
        "held_out.csv": before["held_out.csv"]
    }


def test_the_tables_are_tidy_and_agree_with_the_records(reported: Path) -> None:
    trials, epochs = rows_of(reported / "trials.csv"), rows_of(reported / "epochs.csv")
    assert {(row["section"], row["variant"]) for row in trials} == {
        ("baseline", "baseline"), ("depth", "fifth-block"), ("depth", "as-it-is"), ("rates", "adam"),
        ("rates", "sgd"), ("rates", "sgd-wild"),
    }  # fmt: skip
    assert {row["status"] for row in trials} == {"done", "diverged"}
    shared = [row for row in trials if row["variant"] in {"baseline", "as-it-is"}]
    assert {row["trial"] for row in shared if row["variant"] == "baseline"} == {
        row["trial"] for row in shared if row["variant"] == "as-it-is"
    }
    done = {row["trial"] for row in trials if row["status"] == "done"}
    assert len(epochs) == 2 * len(done)
    assert {row["trial"] for row in epochs} == done
    for row in trials:
        record = json.loads((reported / "trials" / row["trial"] / "trial.json").read_text())
        if row["status"] == "done":
            assert float(row["roc_auc"]) == pytest.approx(record["roc_auc"], rel=1e-5)
            assert float(row["stress_roc_auc_worst"]) <= float(row["stress_roc_auc_mean"])
    differences = rows_of(reported / "differences.csv")
    assert {row["figure"] for row in differences} == {"roc_auc", "accuracy", "stress_roc_auc"}
    assert "baseline" not in {row["variant"] for row in differences}
    assert all(
        float(row["ci95_low"]) <= float(row["difference"]) <= float(row["ci95_high"]) for row in differences
    )


def test_missing_and_failed_trials_are_rows(study_copy: Path) -> None:
    found = gather(StudyFolder(study_copy))
    (depth, rates) = found.sections
    shutil.rmtree(study_copy / "trials" / rates.variants[1].trial.name)
    place = study_copy / "trials" / depth.variants[0].trial.name
    record = json.loads((place / "trial.json").read_text())
    kept = ("schema_version", "key", "seed", "parameters", "epochs", "kept_epoch", "stopped_early")
    failed = {key: record[key] for key in kept} | {"status": "failed", "reason": "out of <luck>"}
    (place / "trial.json").write_text(json.dumps(failed))
    page = write_report(study_copy).read_text()
    assert "failed: out of &lt;luck&gt;" in page
    assert "planned trials have not ended" in page
    statuses = {row["trial"]: row["status"] for row in rows_of(study_copy / "trials.csv")}
    assert statuses[rates.variants[1].trial.name] == "missing"
    assert statuses[place.name] == "failed"


def test_a_study_that_has_only_begun_can_be_reported(study_copy: Path) -> None:
    shutil.rmtree(study_copy / "trials")
    page = write_report(study_copy).read_text()
    assert "No trial of the baseline has finished." in page


def test_a_folder_without_a_study_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contains no study"):
        write_report(tmp_path)


def test_a_damaged_record_is_told(study_copy: Path) -> None:
    marker = next(iter(sorted(study_copy.glob("trials/*/trial.json"))))
    marker.write_text("{")
    with pytest.raises(DataDamagedError, match="damaged"):
        write_report(study_copy)


def test_the_records_and_facts_are_the_stored_ones(study_copy) -> None:
    write_report(study_copy)
    volatile = {"trial", "trial_key", "films_per_second", "seconds"}
    found = {}
    for name in ("trials", "epochs", "differences"):
        with (study_copy / f"{name}.csv").open(newline="") as file:
            rows = [
                {key: cell for key, cell in row.items() if key not in volatile}
                for row in csv.DictReader(file)
            ]
        found[name] = digest(sorted(rows, key=str))
    for name in ("predictions.csv", "stress_resamples.csv", "history.jsonl"):
        found[name] = sorted(digest(path.read_bytes()) for path in (study_copy / "trials").rglob(name))
    found["held_out.csv"] = digest((study_copy / "held_out.csv").read_bytes())
    assert_as_stored("study", found)
