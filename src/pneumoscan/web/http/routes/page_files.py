"""The files of the page, in a fixed table that is read at the start. No path of a request reaches the file system."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "page"
INDEX, ICON = "index.html", "favicon.svg"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page.

    Attributes:
        data: Its content.
        media_type: Media type by its extension.
        etag: Entity tag of its content, in quotes.
    """

    data: bytes
    media_type: str
    etag: str


def page_files(folder: Path = PAGE) -> dict[str, PageFile]:
    """Return the files of the page by their paths relative to its folder, without files of unknown types."""
    return {
        path.relative_to(folder).as_posix(): _file(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in _TYPES and path.is_file()
    }


def _file(path: Path) -> PageFile:
    data = path.read_bytes()
    return PageFile(data, _TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"')
