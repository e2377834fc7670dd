"""The documents keep up with the code: commands, settings, metrics, error codes, links and examples."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image
from tiny_bundle import write_tiny_bundle

from pneumoscan import cli, errors
from pneumoscan.evaluate.metrics import evaluate_predictions

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted({*DOCS.glob("*.md"), *ROOT.glob("*.md")})


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what stands under a heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {heading!r}"
    return found[1]


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def without_code(text: str) -> str:
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)


# Commands


def writer(name: str) -> Any:
    """Return a module of docs/ that writes tables."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_command_line_are_those_of_the_code() -> None:
    write_cli = writer("write_cli")
    text = read("docs/cli.md")
    assert write_cli.page(text) == text, "run python docs/write_cli.py"
    # A default that is wrong is written again, an option that is gone leaves, and a new one comes with its help.
    changed = re.sub(r"^\| `--seed` \| 0 \|", "| `--seed` | 1 |", text, flags=re.MULTILINE)
    changed = changed.replace("| `--zip` |", "| `--zipped` |")
    rows = [row for row in write_cli.page(changed).splitlines() if row not in text.splitlines()]
    assert rows == ["| `--zip` | | " + click_help("data", "fetch", "--zip") + " |"]
    with pytest.raises(ValueError, match="pneumoscan doctor"):
        write_cli.page(text.replace("## pneumoscan doctor", "## pneumoscan nurse"))


def click_help(*words: str) -> str:
    """Return the help of an option of a command of a group."""
    group, name, option = words
    command = cli.app.get_command(click.Context(cli.app), group).commands[name]
    return next(one.help for one in command.params if option in one.opts)


# Settings


def test_the_tables_of_settings_are_those_of_the_code() -> None:
    write_training = writer("write_training")
    text = read("docs/training.md")
    assert write_training.page(text) == text, "run python docs/write_training.py"
    # A default or a limit that is wrong is written again, a setting that is gone leaves, and a new one comes.
    changed = text.replace("| `data.size` | `200` | 16 to 1024 |", "| `data.size` | `100` | 16 to 2048 |")
    changed = changed.replace("| `loss.boxes` |", "| `loss.crates` |")
    rows = [row for row in write_training.page(changed).splitlines() if row not in text.splitlines()]
    assert rows == ["| `loss.boxes` | `0.0` | 0 to 10 |  |"]
    with pytest.raises(ValueError, match="schedule"):
        write_training.page(text.replace("| `schedule.", "| `schedules."))


def changes(config: Any, plain: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and value of each setting that is not the program's default."""
    for name in type(config).model_fields:
        value, default = getattr(config, name), getattr(plain, name)
        if name == "model" and type(value) is not type(default):
            yield "name", value.name
            default = type(value)()
        if hasattr(type(value), "model_fields"):
            yield from changes(value, default)
        elif value != default and name != "preset":
            yield name, value


def test_every_preset_is_told_with_what_it_changes() -> None:
    from pneumoscan.train.config import TrainingConfig, load_config, preset_names

    text = section(read("docs/training.md"), "Presets and settings")
    rows = dict(re.findall(r"^\| `([a-z-]+)`[^|]* \| ([^|]+) \|$", text, re.MULTILINE))
    for preset in preset_names():
        told = re.findall(r"`(?:[a-z_]+\.)?([a-z_]+)` ([\w.]*\w)", rows.pop(preset))
        changed = [(name, str(value)) for name, value in changes(load_config(preset), TrainingConfig())]
        assert {name for name, _ in told} == {name for name, _ in changed}
        for (_, shown), (_, value) in zip(sorted(told), sorted(changed), strict=True):
            assert shown == value or float(shown) == float(value)
    assert not rows


# Metrics, records and codes


def test_every_metric_is_told() -> None:
    y_true, y_prob = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9])
    metrics = evaluate_predictions(
        y_true,
        y_prob,
        patient_ids=None,
        threshold=0.5,
        threshold_source="by hand",
        split="test",
        n_bootstrap=20,
    ).to_json()
    told = section(read("docs/evaluation.md"), "metrics.json")
    rows = set(re.findall(r"^\| `([a-z0-9_]+)` \|", told, re.MULTILINE))
    assert rows == {"model", *metrics}
    for table in ("best_f1", "confusion", "bootstrap"):
        for key in metrics[table]:
            assert f"`{key}`" in told, f"{table}.{key}"


def test_every_error_code_is_told() -> None:
    told = "".join(read(f"docs/{name}.md") for name in ("data", "bundle", "cli"))
    pages = dict(re.findall(r"^\| `([a-z_.]+)` \| (\d+) \|", told, re.MULTILINE))
    pending, seen = [errors.PneumoscanError], set()
    while pending:
        kind = pending.pop()
        if kind in seen:
            continue
        seen.add(kind)
        pending += kind.__subclasses__()
        if kind.exit_code == errors.FilmError.exit_code:
            assert f"`{kind.code}`" in told
        else:
            assert pages.pop(kind.code, "none") == str(kind.exit_code), kind.code
    assert not pages, "codes that are not there"


def test_every_field_of_a_bundle_and_a_row_is_told() -> None:
    from dataclasses import fields

    from pneumoscan.bundle.load import BundleSpec, SelfCheck
    from pneumoscan.rows import COLUMNS, REGION_COLUMNS

    text = read("docs/bundle.md")
    for name in (*(field.name for field in fields(BundleSpec)), "checksum"):
        assert re.search(rf"^\| `{name}` \|", section(text, "model.json"), re.MULTILINE), name
    assert all(f"`{field.name}`" in text for field in fields(SelfCheck))
    rows = re.findall(r"^\| `([a-z_]+)` \|", section(text, "The prediction row"), re.MULTILINE)
    assert tuple(rows) == (*COLUMNS, *REGION_COLUMNS)


def keys_of(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    return set(value).union(*map(keys_of, value.values())) if isinstance(value, dict) else set()


def test_every_key_of_the_records_is_told() -> None:
    from pneumoscan.bundle import records as shapes

    records = {**shapes._RECORDS, **shapes._LATER, "stress": shapes._STRESS}
    told = section(read("docs/bundle.md"), "records.json")
    assert all(re.search(rf"^\| `{key}` \|", told, re.MULTILINE) for key in records)
    assert {key for key in keys_of(records) if f"`{key}`" not in told} == set()


# Links


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = without_code(page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name}: {target}"


# Examples


@pytest.fixture
def bundle_and_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw_film: Any, request: pytest.FixtureRequest
) -> None:
    """A folder with `bundle` and `film.jpeg`, made the working folder."""
    write_tiny_bundle(tmp_path / "bundle")
    Image.fromarray(draw_film()).save(tmp_path / "film.jpeg", quality=92)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("bundle_and_film")
def test_the_examples_of_the_bundle_run_and_agree(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = python_blocks(read("docs/bundle.md"))
    assert len(blocks) == 3
    scopes: list[dict[str, Any]] = []
    for block in blocks:
        scopes.append({})
        exec(compile(block, "docs/bundle.md", "exec"), scopes[-1])
    said = capsys.readouterr().out
    assert "missing.jpeg refused None  film.not_found" in said
    by_hand, by_us = scopes[2]["probability"], scopes[0]["model"].predict_proba("film.jpeg")[0, 1]
    assert by_hand == pytest.approx(by_us, abs=1e-6)
    # The example by hand must stand on its own.
    assert "pneumoscan" not in blocks[2]


def test_a_network_and_a_layout_are_added_as_told(tmp_path: Path) -> None:
    source = tmp_path / "src" / "pneumoscan"
    shutil.copytree(ROOT / "src" / "pneumoscan", source, ignore=shutil.ignore_patterns("__pycache__"))
    for block in python_blocks(read("CONTRIBUTING.md")):
        first, _, rest = block.partition("\n")
        path = tmp_path / first.removeprefix("# ")
        if path.exists():
            rest = replaced(path.read_text(encoding="utf-8"), rest)
        path.write_text(rest, encoding="utf-8")
    (tmp_path / "films.jsonl").write_text('{"path": "person3_virus_1.jpeg", "label": 1}\n')
    script = """
from pathlib import Path
import pneumoscan, torch
from pneumoscan.data.layouts.lines import load_lines
from pneumoscan.networks.registry import build, count_parameters, layer_table
from pneumoscan.train.config import load_config, to_toml, legal_keys
config = load_config("baseline", None, ["model.name=tiny", "model.width=8"])
network = build(config.model, 64)
assert network(torch.zeros(3, 1, 64, 64)).shape == (3,)
assert count_parameters(network) == sum(row.parameters for row in layer_table(config.model, 64)) == 409
assert "model.width" in legal_keys() and "width = 8" in to_toml(config)
assert load_config("baseline").model.name == "baseline"
assert load_lines(Path("films.jsonl")).films[0].patient_id == "person3"
print(pneumoscan.__file__)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


def replaced(text: str, lines: str) -> str:
    """Put each line in the place of the one that begins with the same three words."""
    for line in lines.splitlines():
        start = re.escape(" ".join(line.split()[:3]))
        text, count = re.subn(rf"^{start}.*$", lambda _, line=line: line, text, flags=re.MULTILINE)
        assert count == 1, f"no line begins like {line!r}"
    return text
