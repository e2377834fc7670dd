"""Write the tables of options and of error codes in docs/cli.md from the code.

    python docs/write_cli.py

Names, order and defaults come from the commands, codes and exit codes from `pneumoscan.errors`. The words of a row stay as they stand
in the page; a new row gets the help of its option, and a default that the code computes keeps its description.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from pneumoscan import cli, errors

PAGE = Path(__file__).with_name("cli.md")
OPTIONS, CODES, END = "<!-- options, by write_cli.py -->", "<!-- codes, by write_cli.py -->", "<!-- end -->"


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands that do something, with their names."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for word in command.list_commands(context):
        child = command.get_command(context, word)
        assert child is not None
        yield from commands(child, f"{name} {word}")


def kinds_of_errors() -> list[type[errors.PneumoscanError]]:
    """Return every class of error."""
    found = [errors.PneumoscanError]
    for kind in found:
        found += [child for child in kind.__subclasses__() if child not in found]
    return found


def default_of(option: click.Option, written: str) -> str:
    """Return the default of an option; what is written of it if the code computes it."""
    if option.required:
        return "required"
    if option.is_flag:
        return (
            f"`{option.opts[0] if option.default else option.secondary_opts[0]}`"
            if option.secondary_opts
            else ""
        )
    if option.default and isinstance(option.default, str | Path):
        return f"`{option.default}`"
    return f"{option.default:g}" if isinstance(option.default, int | float) else written


def option_table(command: click.Command, table: str) -> str:
    """Return the table of a command's options."""
    written = {
        names: (default, meaning)
        for names, default, meaning in re.findall(r"^\| (`--.*?) \| (.*?) ?\| (.*) \|$", table, re.MULTILINE)
    }
    rows = []
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden and "--help" not in option.opts:
            names = ", ".join(
                f"`{name}`" for name in (*option.opts, *option.secondary_opts) if name.startswith("--")
            )
            default, meaning = written.get(names, ("", option.help or ""))
            rows.append(f"| {names} | {default_of(option, default)} | {meaning} |".replace("|  |", "| |"))
    return "\n".join(("| option | default | meaning |", "|---|---|---|", *rows))


def code_table(table: str) -> str:
    """Return the table of the codes of errors that this page tells, in its order; new codes come last."""
    written = dict(re.findall(r"^\| `([a-z_.]+)` \| \d+ \| (.*) \|$", table, re.MULTILINE))
    exits = {kind.code: kind.exit_code for kind in kinds_of_errors()}
    elsewhere = ("film", "model")
    new = [code for code in exits if code not in written and code.partition(".")[0] not in elsewhere]
    rows = [
        f"| `{code}` | {exits[code]} | {written.get(code, '')} |"
        for code in (*written, *new)
        if code in exits
    ]
    return "\n".join(("| code | exit | meaning |", "|---|---|---|", *rows))


def page(text: str) -> str:
    """Return the page with its tables written again.

    Raises:
        ValueError: A command has no section, or a section has no command.
    """
    known = dict(commands(cli.app, "pneumoscan"))
    told = re.findall(r"^## (pneumoscan .+)$", text, re.MULTILINE)
    if sorted(told) != sorted(known):
        raise ValueError(
            f"docs/cli.md must have one section for each of: {', '.join(sorted({*told} ^ {*known}))}."
        )

    def section(found: re.Match[str]) -> str:
        name, body = found[1], found[2]
        command = known[name]
        table = re.search(rf"{OPTIONS}\n\n(.*?)\n\n{END}", body, re.DOTALL)
        options = option_table(command, table[1] if table else "")
        if options.count("\n") < 2:
            return found[0]
        whole = f"{OPTIONS}\n\n{options}\n\n{END}"
        body = body.replace(table[0], whole) if table else f"{body.rstrip()}\n\n{whole}\n\n"
        return f"## {name}\n{body}"

    text = re.sub(r"^## (pneumoscan [^\n]+)\n(.*?)(?=^## )", section, text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(
        rf"({CODES}\n\n)(.*?)(\n\n{END})",
        lambda found: found[1] + code_table(found[2]) + found[3],
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
