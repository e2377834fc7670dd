"""Build the documentation site in build/site from README.md and every page and file that it links to.

    python docs/build_site.py

The site keeps the folders of the repository, so each relative link works on a code host, in a checkout and in the site.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "docs"
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|^ {4}[^\n]*$", re.MULTILINE | re.DOTALL)


def linked_files(page: Path) -> set[Path]:
    """Return the files that a page of Markdown links to.

    Raises:
        SystemExit: A link leads to a folder, to nothing, or out of the repository.
    """
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    found = set()
    for target in LINK.findall(text):
        path = (page.parent / target.partition("#")[0]).resolve()
        if re.match(r"[a-z]+:|#", target):
            continue
        if not (path.is_file() and path.is_relative_to(ROOT)):
            sys.exit(f"{page.relative_to(ROOT)}: {target} is not a file of the repository.")
        found.add(path)
    return found


def reachable(start: Path) -> set[Path]:
    """Return a page and every file that links lead to from there."""
    pending, seen = [start], set()
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        if path.suffix == ".md":
            pending += linked_files(path)
    return seen


def main() -> None:
    """Collect the pages and render them; every warning is an error."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for path in reachable(ROOT / "README.md"):
        copy = PAGES / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    sys.exit(subprocess.run(command, cwd=ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
