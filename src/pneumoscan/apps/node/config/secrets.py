"""Secrets: passwords and tokens come from files that only their owner may read, or from the environment; never from `node.toml`."""

import os
import stat
from pathlib import Path

from pneumoscan.errors import ConfigError

PASSWORD_VARIABLE = "PNEUMOSCAN_PACS_PASSWORD"  # noqa: S105 - its name
TOKEN_VARIABLE = "PNEUMOSCAN_PACS_TOKEN"  # noqa: S105 - its name


def secret(path: Path | None, variable: str) -> str:
    """Return a secret from its file, or else from the environment; empty if there is neither.

    Raises:
        ConfigError: The file cannot be read, or others than its owner may read it.
    """
    if path is None:
        return os.environ.get(variable, "").strip()
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(4096).strip()
    except (OSError, ValueError):
        raise ConfigError(f"{path} cannot be read.", f"Make it, or set {variable}.") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"others than its owner may open {path}.", f"chmod 600 {path}")
    return text
