"""What is released: wheel and source archive are built, pass twine's check, and work in an environment of their own."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="the tests are outside of a checkout"),
]
for module in ("build", "hatchling", "twine"):
    pytest.importorskip(module, reason=f"{module} of the extra `dev` is not installed")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd=cwd, env=clean
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with the wheel and the source archive; built with what is installed, nothing is downloaded."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    return out


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_twine_finds_nothing_wrong(built):
    files = sorted(built.iterdir())
    assert [path.suffix for path in files] == [".whl", ".gz"]
    assert run(sys.executable, "-m", "twine", "check", "--strict", *files).count("PASSED") == 2


def test_both_hold_the_package_with_its_models_and_pages(built):
    wheel = set(zipfile.ZipFile(only(built, "*.whl")).namelist())
    with tarfile.open(only(built, "*.tar.gz")) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    package = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src/pneumoscan").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package <= wheel
    assert {f"src/{name}" for name in package} <= source
    assert {"pyproject.toml", "LICENSE", "README.md", "MODEL_CARD.md"} <= source


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_it_reads_a_film_where_nothing_else_of_it_is(built, kind, tmp_path, draw_film):
    """The dependencies are those of this environment, by a path file behind the new environment's own folder."""
    from PIL import Image

    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env")
    python = next(path for path in tmp_path.glob("env/*/python*") if path.suffix in {"", ".exe"})
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
        "--target", site, only(built, kind),
    )  # fmt: skip
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    Image.fromarray(draw_film()).save(tmp_path / "film.png")
    where = run(python, "-c", "import pneumoscan; print(pneumoscan.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(site)
    rows = run(python, "-m", "pneumoscan", "predict", "film.png", cwd=tmp_path)
    assert rows.splitlines()[1].startswith("film.png,ok,")
