"""docs/hospital.md has every setting and state of the node. `python tests/node/test_hospital_docs.py` writes its tables of settings anew."""

import json
import re
from itertools import groupby
from pathlib import Path
from typing import get_args

from pneumoscan.node.queue import State
from pneumoscan.node.settings import Config, Mode

PATH = Path(__file__).parents[2] / "docs" / "hospital.md"
PAGE = PATH.read_text(encoding="utf-8")


def tables() -> dict[str, str]:
    """The rows of each table of settings, as they stand in the page."""
    rows = []
    for name, one, value in Config().settings():
        legal = ", ".join(f"`{mode}`" for mode in get_args(Mode)) if name == "node.mode" else ""
        if one.metadata["range"] is not None:
            legal = "{:,.15g} to {:,.15g}".format(*one.metadata["range"])
        default = "nobody" if name == "receive.allow" else f"`{json.dumps(value)}`"
        rows.append(f"| `{name}` | {default} | {legal} | {one.metadata['meaning']} |\n")
    return {table: "".join(one) for table, one in groupby(rows, lambda row: row[3 : row.index(".")])}


def written(page: str) -> str:
    """The page with its tables of settings written anew."""
    for table, rows in tables().items():
        page = re.sub(rf"(\| `{table}\.[a-z_]+` \|.*\n)+", lambda _, rows=rows: rows, page)
    return page


def test_every_setting_is_told_with_its_default_range_and_meaning() -> None:
    assert written(PAGE) == PAGE
    assert all(rows in PAGE for rows in tables().values())


def test_every_state_is_told() -> None:
    states = PAGE[PAGE.index("## States") :].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z]+)` \|", states, re.MULTILINE)) == set(State)


if __name__ == "__main__":
    PATH.write_text(written(PAGE), encoding="utf-8")
