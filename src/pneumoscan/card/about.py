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
    """The texts, as Markdown without headings.

    Attributes:
        tags: Tags of the front matter.
        purpose: Intended use.
        limits: Uses that are out of scope.
        use: How to use the model.
        films: Patients, hospital and labels of the training films.
        traits: Known biases of the films.
        held_out: Notes on the figures of held-out patients; a list.
        ethics: Ethical considerations.
        withdrawn: What was claimed of this model or an earlier one, and why it is withdrawn; or empty.
        official: Folder of the blind evaluations (`record.json` and the files it names), relative to the TOML file; or empty.
        shortcuts: `rows` (an input and the area under ROC with which it predicts the label), `folds`, `source`; empty if not
            measured.
        again: Parts of the commands that train the model again: `fetch`, `data`, `sites`.
        folder: Folder of the TOML file; None if there is none.
    """

    tags: tuple[str, ...]
    purpose: str
    limits: str
    use: str
    films: str
    traits: str
    held_out: str
    ethics: str
    withdrawn: str
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
        path: TOML file with any of the attributes of `About`; None for none.
        required: Whether a missing file is an error.

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
