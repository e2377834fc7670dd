"""Which package may import which, checked by import-linter and in fresh processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRAINING_LIBRARIES = {
    "torch",
    "matplotlib",
    "sklearn",
    "scipy",
    "pydantic",
    "safetensors",
    "onnx",
    "onnxscript",
    "tensorboard",
}
HEAVY = TRAINING_LIBRARIES | {"numpy", "PIL", "onnxruntime", "rich"}


def modules_after(code: str) -> set[str]:
    """Return the names of the top-level modules that a fresh process has imported after `code`."""
    script = (
        f"{code}\nimport sys, json\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_packages_import_only_packages_below_them() -> None:
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "module",
    [
        "pneumoscan",
        "pneumoscan.imaging",
        "pneumoscan.bundle.load",
        "pneumoscan.classifier",
        "pneumoscan.predict.batch",
        "pneumoscan.evaluate.metrics",
        "pneumoscan.data.layouts",
        "pneumoscan.data.cache",
        "pneumoscan.evaluate",
        "pneumoscan.web.app",
        "pneumoscan.web.serving",
        "pneumoscan.node.run",
        "pneumoscan.node.work",
        "pneumoscan.workers.worker",
    ],
)
def test_reading_films_needs_no_training_library(module: str) -> None:
    if module.startswith("pneumoscan.web"):
        pytest.importorskip("starlette", reason="the extra `web` is not installed")
    assert not modules_after(f"import {module}") & TRAINING_LIBRARIES


def test_the_process_that_reads_films_knows_no_http() -> None:
    loaded = modules_after("import pneumoscan.workers.worker")
    assert not loaded & {
        "starlette",
        "uvicorn",
        "anyio",
        "python_multipart",
        "prometheus_client",
        "h11",
        "http",
    }


def test_the_node_that_finds_and_receives_imports_no_maker_of_results() -> None:
    loaded = modules_after("import pneumoscan.node.find, pneumoscan.node.receive, pneumoscan.node.run")
    assert not loaded & {"highdicom", "pydicom", "pynetdicom", "httpx", "psycopg", "onnxruntime"}


def test_the_process_that_listens_decodes_nothing() -> None:
    pytest.importorskip("starlette", reason="the extra `web` is not installed")
    loaded = modules_after("import pneumoscan.web.app, pneumoscan.web.serving")
    assert not loaded & {"PIL", "pydicom", "onnxruntime", "fastapi"}


def test_the_command_line_imports_nothing_heavy() -> None:
    registered = modules_after(
        "import click; from pneumoscan import cli; context = click.Context(cli.app)\n"
        "assert all(cli.app.get_command(context, name) for name in cli.COMMANDS)\n"
        "assert all(cli.app.get_command(context, name).name == name for name in cli.COMMANDS)"
    )
    assert not registered & HEAVY
    assert not registered & {"pydantic", "pydantic_core", "rich", "typer"}
    assert "click" in registered
    assert not modules_after("import click") & {"pydantic", "rich"}


def test_the_public_names_are_these() -> None:
    import pneumoscan
    from pneumoscan.classifier import PneumoniaClassifier

    assert pneumoscan.PneumoniaClassifier is PneumoniaClassifier
    assert sorted(pneumoscan.__all__) == ["PneumoniaClassifier", "__version__"]
    with pytest.raises(AttributeError, match="no attribute 'detector'"):
        _ = pneumoscan.detector
