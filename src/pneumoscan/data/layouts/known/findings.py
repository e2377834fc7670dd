"""The findings of a set that count as PNEUMONIA, and notes about the films that are left out."""

from collections.abc import Iterable

from pneumoscan.errors import UsageError

NO_FINDING = "No Finding"
PNEUMONIA = "Pneumonia"


def chosen(asked: tuple[str, ...], there: Iterable[str]) -> tuple[str, ...]:
    """Return the findings that count as PNEUMONIA in the spelling of the set; `Pneumonia` if none is chosen.

    Raises:
        UsageError: The set has no such finding.
    """
    spelled = {name.lower(): name for name in there if name != NO_FINDING}
    unknown = [name for name in asked if name.lower() not in spelled]
    if unknown:
        raise UsageError(
            f"the set has no finding {unknown[0]!r}.", f"Choose from {', '.join(sorted(spelled.values()))}."
        )
    return tuple(spelled[name.lower()] for name in asked) or (PNEUMONIA,)


def passed_over(count: int, what: str) -> list[str]:
    """Return the note about films that were left out; none if there are none."""
    return [f"{count:,} film{'' if count == 1 else 's'} {what} left out."] if count else []


def in_words(findings: tuple[str, ...]) -> str:
    """Return the findings as text for a note."""
    return " or ".join(findings)
