"""Write the tables of settings in docs/training.md from the code.

    python docs/write_training.py

Names, order, defaults and limits come from the configurations of training and networks. The words of a row stay as they stand in the
page, and so do limits that are no plain number, choice or text; a new setting comes last in its table.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pneumoscan.networks.registry import NETWORKS
from pneumoscan.train.config import TrainingConfig, legal_keys

PAGE = Path(__file__).with_name("training.md")
BEGIN, END = "<!-- settings, by write_training.py -->", "<!-- end -->"
HEAD = "| setting | default | legal | meaning |\n|---|---|---|---|"


def fields() -> dict[str, Any]:
    """Return the field of each setting; of one that several networks have, that of the first."""
    found = {}
    for key in legal_keys():
        table, _, leaf = key.rpartition(".")
        networks = [network.config for network in NETWORKS.values()]
        tables = (
            networks
            if table == "model"
            else [type(getattr(TrainingConfig(), table)) if table else TrainingConfig]
        )
        found[key] = next(each.model_fields[leaf] for each in tables if leaf in each.model_fields)
    return found


def limits(field: Any, written: str) -> str:
    """Return the legal values of a field; what is written where they are no plain number, choice or text."""
    kind = field.annotation
    if get_origin(kind) is Literal:
        # One network's name is not the choice of a user, who may name any.
        return (
            ", ".join(f"`{each}`" if isinstance(each, str) else str(each) for each in get_args(kind))
            if len(get_args(kind)) > 1
            else written
        )
    if kind is bool:
        return "`true`, `false`"
    if kind is str:
        return "text"
    if kind not in {int, float}:
        return written
    bounds = {
        side: getattr(each, side)
        for each in field.metadata
        for side in ("gt", "ge", "lt", "le")
        if getattr(each, side, None) is not None
    }
    shown = {side: str(value) if isinstance(value, int) else f"{value:g}" for side, value in bounds.items()}
    low = shown.get("ge") or (f"above {shown['gt']}" if "gt" in shown else "")
    high = shown.get("le") or (f"below {shown['lt']}" if "lt" in shown else "")
    if not low or not high:
        return f"{low} or more" if "ge" in shown else low or high or "any number"
    return f"{low}, {high}" if "gt" in shown else f"{low} to {high}"


def page(text: str) -> str:
    """Return the page with its tables written again.

    Raises:
        ValueError: A table of settings has no place in the page.
    """
    known, placed = fields(), set()

    def table(found: re.Match[str]) -> str:
        rows = re.findall(r"^\| `([a-z_.]+)` \| `.+?` \| (.+?) \| (.*) \|$", found[1], re.MULTILINE)
        written = {name: (legal, meaning) for name, legal, meaning in rows}
        own = {name.rpartition(".")[0] for name in written}
        placed.update(own)
        names = [
            *written,
            *(name for name in known if name.rpartition(".")[0] in own and name not in written),
        ]
        lines = []
        for name in names:
            if name in known:
                legal, meaning = written.get(name, ("", known[name].description or ""))
                default = json.dumps(known[name].get_default())
                lines.append(f"| `{name}` | `{default}` | {limits(known[name], legal)} | {meaning} |")
        return "\n".join((BEGIN, "", HEAD, *lines, "", END))

    text = re.sub(rf"{BEGIN}\n\n(.*?)\n\n{END}", table, text, flags=re.DOTALL)
    missing = {name.rpartition(".")[0] for name in known} - placed
    if missing:
        raise ValueError(f"docs/training.md must have a table of {', '.join(sorted(missing))}.")
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
