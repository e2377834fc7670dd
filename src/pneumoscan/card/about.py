"""Texts of the model card that no record contains: a TOML file, whose texts replace those of the package."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from pneumoscan.errors import ConfigError
from pneumoscan.files import read_toml


@dataclass(frozen=True)
class About:
    """The texts, in Markdown without headings.

    Attributes:
        tags: Of the front matter.
        purpose: What the model is for.
        limits: What it must not be used for.
        use: How to use it.
        films: Whose films it was trained on, and who labelled them.
        traits: What is known to be wrong with the films.
        held_out: What to read with the figures of held-out patients; a list.
        ethics: Ethical considerations.
        official: Folder of blind evaluations (`record.json` and what it names), seen from the file; empty for none.
        shortcuts: `rows` of what the label was guessed from and the area under ROC, `folds`, `source`; empty if not measured.
        again: What the commands of "Train it again" name: `fetch`, `data`, `sites`.
        folder: Where the file is; None for the texts of the package alone.
    """

    tags: tuple[str, ...]
    purpose: str
    limits: str
    use: str
    films: str
    traits: str
    held_out: str
    ethics: str
    official: str
    shortcuts: Mapping[str, Any]
    again: Mapping[str, str]
    folder: Path | None = None

    @property
    def official_folder(self) -> Path | None:
        """The folder of blind evaluations; None for none."""
        return self.folder / self.official if self.official and self.folder else None


def read_about(path: Path | None, *, required: bool = False) -> About:
    """Return the texts of a file over those of the package.

    Args:
        path: TOML with any of the attributes of `About`; None for none.
        required: Refuse a file that is not there.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or has a key that is unknown or of another type.
    """
    text = resources.files("pneumoscan.card").joinpath("about.toml").read_text("utf-8")
    tree = tomllib.loads(text)
    if path is None or not (required or path.is_file()):
        return About(**{**tree, "tags": tuple(tree["tags"])})
    given = read_toml(path)
    for key, value in given.items():
        if key not in tree:
            known = ", ".join(field.name for field in fields(About) if field.name in tree)
            raise ConfigError(f"{path}: there is no key {key!r}.", f"Known: {known}.")
        if type(value) is not type(tree[key]):
            raise ConfigError(f"{path}: {key} is {value!r}.", f"It must be a {type(tree[key]).__name__}.")
    texts = {**tree, **given, "again": {**tree["again"], **given.get("again", {})}}
    return About(**{**texts, "tags": tuple(texts["tags"])}, folder=path.parent)
