"""The commands that tell what a node has read, and what the page is shown."""

import csv
import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from queue_rows import store_weeks

from pneumoscan.cli import app
from pneumoscan.cli.serve import _node_view


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node with ten weeks of work behind it; in the last one the scores are higher."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "node.toml").write_text('[node]\ndata = "data"\n', encoding="utf-8")
    store_weeks(folder / "data", weeks=10, changed={9: {"beta": (4.0, 1.2)}})
    return folder / "node.toml"


def run(config: Path, *arguments: str) -> Result:
    done = CliRunner().invoke(app, ["node", *arguments, "--config", str(config)])
    assert done.exit_code == 0, done.output
    return done


def test_watch_prints_weeks_and_what_differs(config: Path) -> None:
    said = run(config, "watch", "--weeks", "3").stdout.splitlines()
    assert said[0].startswith("week")
    assert [line[:8] for line in said[1:4]] == ["2025-W08", "2025-W09", "2025-W10"]
    assert any(line.startswith("The median score on all devices together is higher") for line in said[4:])
    told = json.loads(run(config, "watch", "--json").stdout)
    assert told["drift"]["differs"] is True
    assert sum(told["counts"].values()) == 10 * 60


def test_watch_takes_other_reference_weeks(config: Path) -> None:
    told = json.loads(run(config, "watch", "--json", "--reference", "2025-W02", "2025-W04").stdout)
    assert told["drift"]["reference"] == ["2025-W02", "2025-W03", "2025-W04"]


def test_the_reference_weeks_may_stand_in_the_settings(config: Path) -> None:
    other = config.with_name("other.toml")
    other.write_text('[watch]\nreference = ["2025-W10", "2025-W10"]\n', encoding="utf-8")
    assert json.loads(run(other, "watch", "--json").stdout)["drift"]["reference"] == ["2025-W10"]
    # No week comes after this one.
    assert _node_view(other)()["differs"] is False
    told = json.loads(run(other, "watch", "--json", "--reference", "2025-W01", "2025-W02").stdout)
    assert told["drift"]["reference"] == ["2025-W01", "2025-W02"]


def test_export_writes_a_file_for_its_owner_and_tells_of_agreement(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    assert "600 rows" in run(config, "export", "--out", str(out)).stdout
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    diagnoses = tmp_path / "final.csv"
    lines = [
        f"{row['accession_number']},{int(float(row['probability']) > 0.5)}" for row in rows if row["label"]
    ]
    diagnoses.write_text("\n".join(["accession_number,diagnosis", *lines]), encoding="utf-8")
    said = run(config, "export", "--out", str(out), "--diagnoses", str(diagnoses)).stdout
    assert "(95% CI" in said
    assert "100.0%" not in said
    told = json.loads(
        run(config, "export", "--out", str(out), "--diagnoses", str(diagnoses), "--json").stdout
    )
    # What was not answered counts as wrong.
    agreement = told["agreement"]
    assert agreement["answered_specificity"]["share"] == 1
    assert agreement["specificity"]["share"] < 1
    assert (
        agreement["unsure"] + agreement["not_a_chest_film"]
        == agreement["answers"]["not_answered"]["count"]
        > 0
    )


def test_metrics_are_printed(config: Path) -> None:
    assert 'pneumoscan_node_objects{state="refused"}' in run(config, "metrics").stdout


def test_the_page_is_shown_the_last_weeks_and_what_differs(config: Path) -> None:
    view = _node_view(config)
    told = view()
    assert told["differs"] is True
    assert told["weeks"][0]["week"] == "2025-W10"
    assert any("is higher" in sentence for sentence in told["sentences"])
    assert view() is told
    json.dumps(told, allow_nan=False)
