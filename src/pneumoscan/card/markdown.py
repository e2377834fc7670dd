"""Numbers, tables and sources in the form of a model card."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pneumoscan.card.records import Records, SeedRecord


def three(value: float | None) -> str:
    """Return a number with three digits; a dash for None."""
    return "–" if value is None else f"{value:.3f}"


def percent(value: float | None, digits: int = 0) -> str:
    """Return a share in percent; a dash for None."""
    return "–" if value is None else f"{value:.{digits}%}"


def interval(value: float | None, bounds: Sequence[float] | None) -> str:
    """Return `0.974 (0.960 to 0.985)`."""
    return three(value) + (f" ({three(bounds[0])} to {three(bounds[1])})" if bounds else "")


def minutes(record: SeedRecord) -> str:
    """Return the time in training steps in words."""
    return "an unknown time" if record.minutes is None else f"{record.minutes:.1f} minutes"


def listed(values: Sequence[Any]) -> str:
    """Return `1`, `1 and 2` or `1, 2 and 3`."""
    words = [str(value) for value in values]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def settings(values: Mapping[str, Any]) -> str:
    """Return settings as a list in one line."""
    return ", ".join(f"{name} `{str(value).lower()}`" for name, value in values.items()) or "none"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def source(*files: str, then: str = "") -> list[str]:
    """Return the line below a table that names its source, with an optional note. Empty names are left out."""
    return ["", f"*Source: {', '.join(f'`{file}`' for file in files if file)}.* {then}".rstrip()]


def not_measured(what: str, record: str) -> list[str]:
    """Return the sentence for a missing record."""
    return [f"{what}: not measured (there is no {record})."]


def named(records: Records, name: str) -> str:
    """Return the path of a record as the card names it."""
    return f"{records.where}/{name}" if records.where else name


def own(records: Records, name: str = "metrics.json") -> str:
    """Return the path of a record of the seed of the model as the card names it; empty if it is not recorded."""
    if name == "metrics.json" and records.own.from_bundle:
        return "records.json"
    if not records.own.manifest:
        return ""
    return named(records, f"seed-{records.own.seed}/{name}")
