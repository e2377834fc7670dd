"""The documentation builds as a site without a warning, and no page or package is left out of it."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "mkdocs.yml"
API = ROOT / "docs" / "api"

pytestmark = pytest.mark.skipif(not CONFIG.is_file(), reason="the site is not part of this distribution")


def pages(entry):
    """Yield the pages of a navigation, each relative to the repository."""
    if isinstance(entry, str):
        yield entry
    else:
        for child in entry.values() if isinstance(entry, dict) else entry:
            yield from pages(child)


def navigation():
    return list(pages(yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["nav"]))


def test_every_page_of_docs_is_in_the_navigation():
    listed = navigation()
    assert len(listed) == len(set(listed))
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")} <= set(listed)


def test_every_page_of_the_navigation_is_linked_from_the_readme():
    reachable = runpy.run_path(str(ROOT / "docs" / "build_site.py"))["reachable"](ROOT / "README.md")
    assert {ROOT / page for page in navigation()} <= reachable


def test_every_package_is_in_the_api_reference():
    told = "".join(path.read_text(encoding="utf-8") for path in API.glob("*.md"))
    package = ROOT / "src" / "pneumoscan"
    names = {path.parent.name for path in package.glob("*/__init__.py")} | {
        path.stem for path in package.glob("*.py")
    }
    # What runs the program is told by its commands and addresses, not as an API.
    programs = {"__init__", "__main__", "apps", "cli", "doctor", "logs", "node", "web", "workers"}
    assert set(re.findall(r"^::: pneumoscan\.(\w+)$", told, re.MULTILINE)) == names - programs


@pytest.mark.slow
def test_the_site_builds_without_a_warning():
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "build_site.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = (ROOT / "build" / "site" / "docs" / "api" / "classifier.html").read_text(encoding="utf-8")
    assert 'id="pneumoscan.classifier.PneumoniaClassifier.predict_proba"' in page
    assert (ROOT / "build" / "site" / "index.html").is_file()
