"""Numbers, tables and sources as the model card writes them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from card_records import Records, SeedRecord


def three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def percent(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def interval(value: float | None, bounds: Sequence[float] | None) -> str:
    """Return `0.974 (0.960 to 0.985)`."""
    return three(value) + (f" ({three(bounds[0])} to {three(bounds[1])})" if bounds else "")


def minutes(record: SeedRecord) -> str:
    return "an unknown time" if record.minutes is None else f"{record.minutes:.1f} minutes"


def listed(values: Sequence[Any]) -> str:
    """Return `1`, `1 and 2` or `1, 2 and 3`."""
    words = [str(value) for value in values]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} `{str(value).lower()}`" for name, value in values.items()) or "none"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def source(*files: str, then: str = "") -> list[str]:
    """Return the line under a table that says where it comes from, and what else there is to say."""
    return ["", f"*Source: {', '.join(f'`{file}`' for file in files)}.* {then}".rstrip()]


def not_measured(what: str, record: str) -> list[str]:
    return [f"{what}: not measured; there is no {record}."]


def own(records: Records, name: str = "metrics.json") -> str:
    """Return how the card names a record of the shipped seed."""
    return f"{records.where}/seed-{records.own.seed}/{name}"
