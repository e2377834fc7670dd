"""docs/hospital.md keeps up with the node's settings and states."""

import json
import re
from dataclasses import fields
from pathlib import Path

from pneumoscan.apps.node.config import Config, limits
from pneumoscan.apps.node.queue import State

PAGE = (Path(__file__).parents[3] / "docs" / "hospital.md").read_text(encoding="utf-8")


def test_every_setting_is_told_with_its_default_and_range():
    rows = re.findall(r"^\| `([a-z]+\.[a-z_]+)` \| (.*?) \| (.*?) \| .+ \|$", PAGE, re.MULTILINE)
    told = {name: (default.strip("`"), legal) for name, default, legal in rows}
    config = Config()
    settings = {
        f"{table}.{one.name}": getattr(getattr(config, table), one.name)
        for table in ("node", "pacs", "find", "receive", "queue", "watch")
        for one in fields(getattr(config, table))
    }
    assert set(told) == set(settings)
    for name, value in settings.items():
        if name != "receive.allow":
            assert told[name][0] == json.dumps(list(value) if isinstance(value, tuple) else value), name
        if name in limits():
            assert told[name][1] == "{:g} to {:g}".format(*limits()[name])


def test_every_state_is_told():
    assert set(re.findall(r"^\| `([a-z]+)` \|", PAGE, re.MULTILINE)) == set(State)
