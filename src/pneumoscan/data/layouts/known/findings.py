"""Which of a set's findings count as PNEUMONIA, and what is said of the films that are passed over."""

from collections.abc import Iterable

from pneumoscan.errors import UsageError

NO_FINDING = "No Finding"
PNEUMONIA = "Pneumonia"


def chosen(asked: tuple[str, ...], there: Iterable[str]) -> tuple[str, ...]:
    """Return the findings that count as PNEUMONIA as the set spells them; `Pneumonia` if none is asked for.

    Raises:
        UsageError: The set has no such finding.
    """
    spelled = {name.lower(): name for name in there if name != NO_FINDING}
    unknown = [name for name in asked if name.lower() not in spelled]
    if unknown:
        raise UsageError(
            f"the set has no finding {unknown[0]!r}.", f"Name some of {', '.join(sorted(spelled.values()))}."
        )
    return tuple(spelled[name.lower()] for name in asked) or (PNEUMONIA,)


def passed_over(count: int, what: str) -> list[str]:
    """Return the note on films that were passed over; none if there are none."""
    return [f"{count:,} film{'' if count == 1 else 's'} {what} passed over."] if count else []


def in_words(findings: tuple[str, ...]) -> str:
    """Return the findings for a note."""
    return " or ".join(findings)
