"""All commands with their options, and all codes of errors, as a list that changes only on purpose.

python tests/cli/test_commands.py        writes the list again
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pneumoscan import cli, errors

LIST = Path(__file__).with_name("commands.json")


def commands(command: click.Command, name: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each command with its parameters."""
    context = click.Context(command)
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            child = command.get_command(context, word)
            assert child is not None
            yield from commands(child, f"{name} {word}")
    if command.params:
        yield name, [parameter(one) for one in command.params]


def parameter(one: click.Parameter) -> dict[str, Any]:
    """Return what a caller can rely on: names, type, default, and how often it may be given."""
    kind = one.type
    limits = {
        key: getattr(kind, key)
        for key in ("min", "max", "min_open", "max_open", "choices")
        if hasattr(kind, key)
    }
    default = str(one.default) if isinstance(one.default, Path) else one.default
    default = default if isinstance(default, str | int | float) else None
    return {
        "names": [*one.opts, *one.secondary_opts],
        "type": kind.name,
        **{key: value for key, value in limits.items() if value is not None and value is not False},
        **({} if default is None else {"default": default}),
        **{
            key: getattr(one, key)
            for key in ("required", "multiple", "hidden", "envvar")
            if getattr(one, key, None)
        },
        **({} if one.nargs == 1 else {"nargs": one.nargs}),
    }


def exit_codes() -> dict[str, int]:
    """Return the exit code of each code of an error."""
    found, pending = {}, [errors.PneumoscanError]
    while pending:
        kind = pending.pop()
        if kind.__module__ == errors.__name__:
            found[kind.code] = kind.exit_code
            pending += kind.__subclasses__()
    return dict(sorted(found.items()))


def listed() -> dict[str, Any]:
    """Return the list of now."""
    return {"commands": dict(commands(cli.app, "pneumoscan")), "exit_codes": exit_codes()}


def test_commands_options_and_exit_codes_are_those_of_the_list() -> None:
    assert json.loads(json.dumps(listed())) == json.loads(LIST.read_text(encoding="utf-8"))


if __name__ == "__main__":
    now = {key: dict(value) for key, value in listed().items()}
    lines = [
        f"{json.dumps(key)}: {{\n"
        + ",\n".join(
            f"  {json.dumps(name)}: "
            + (
                "[\n    " + ",\n    ".join(map(json.dumps, value)) + "\n  ]"
                if isinstance(value, list)
                else json.dumps(value)
            )
            for name, value in table.items()
        )
        + "\n}"
        for key, table in now.items()
    ]
    LIST.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
