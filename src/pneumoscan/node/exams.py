"""Which exams are read: the rules of `[[exams.rules]]`, applied to a film's header before the film is read.

The first rule whose conditions all hold decides. If none does, the film is not read. A condition on a value that the header lacks
does not hold.
"""

import re
from collections.abc import Sequence
from datetime import date, datetime

from pneumoscan.errors import ConfigError
from pneumoscan.imaging.dicom.elements import Tag
from pneumoscan.imaging.dicom.file import open_file
from pneumoscan.imaging.film import MAX_INFLATED
from pneumoscan.node.settings import Config, ExamRule

CODE = "exams."
CONDITIONS = ("modality", "station", "body_part", "age")
_OLDEST = 150
# What films have (PS3.3, C.7.3.1.1.1); a rule for anything else reads nothing.
_MODALITIES = frozenset(("", "CR", "DX", "RG", "OT"))
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")
_STUDY_DATE, _STATION, _BIRTH_DATE, _AGE = 0x0008_0020, 0x0008_1010, 0x0010_0030, 0x0010_1010
_WANTED = frozenset((_STUDY_DATE, _STATION, _BIRTH_DATE, _AGE, *Tag))
_AGE_STRING = re.compile(r"(\d{3})([DWMY])")
_A_YEAR = {"D": 365, "W": 52, "M": 12, "Y": 1}


def reason_not_to_read(film: bytes, rules: Sequence[ExamRule]) -> str:
    """Return why a film is not read; empty if it is.

    Args:
        film: All bytes of its DICOM file.
        rules: In their order; without any, every film is read.

    Returns:
        `exams.skip.NAME` where the rule of that name leaves it out. Where no rule applies, `exams.` and the condition that the
        rule that came closest fails on: `modality`, `station`, `body_part` or `age`.

    Raises:
        FilmError: The header cannot be read.
    """
    if not rules:
        return ""
    header = open_file(film, "the film", max_inflated=MAX_INFLATED, wanted=_WANTED).header

    def text(tag: int) -> str:
        return header.raw(tag).split(b"\\")[0].decode("latin-1").strip(" \0")

    exam = text(Tag.MODALITY), text(_STATION), text(Tag.BODY_PART)
    age = age_in_years(text(_AGE), text(_BIRTH_DATE), text(_STUDY_DATE))
    closest = 0
    for rule in rules:
        failed = _first_that_fails(rule, exam, age)
        if failed is None:
            return "" if rule.action == "read" else f"{CODE}skip.{rule.name}"
        if rule.action == "read":
            closest = max(closest, failed)
    return f"{CODE}{CONDITIONS[closest]}"


def _first_that_fails(rule: ExamRule, exam: tuple[str, str, str], age: int | None) -> int | None:
    """Return the place in `CONDITIONS` of the first condition that does not hold; None if all do."""
    for place, (patterns, value) in enumerate(
        zip((rule.modalities, rule.stations, rule.body_parts), exam, strict=True)
    ):
        if patterns and not any(_matches(pattern, value) for pattern in patterns):
            return place
    if rule.min_age == 0 and rule.max_age == _OLDEST:
        return None
    return None if age is not None and rule.min_age <= age <= rule.max_age else CONDITIONS.index("age")


def _matches(pattern: str, value: str) -> bool:
    """Tell whether a value is the one of a pattern: upper and lower case are the same, `*` is any text, `?` any character."""
    form = re.escape(pattern.strip()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(form, value, re.IGNORECASE | re.DOTALL) is not None


def age_in_years(told: str, born: str, day: str) -> int | None:
    """Return a patient's age on the day of the study, in completed years; None where the header does not tell it.

    Args:
        told: Patient's Age (0010,1010), such as `045Y` or `003M`; it goes before the dates.
        born: Patient's Birth Date (0010,0030).
        day: Study Date (0008,0020).
    """
    found = _AGE_STRING.fullmatch(told)
    if found is not None:
        return int(found[1]) // _A_YEAR[found[2]]
    try:
        birth, study = _day(born), _day(day)
    except ValueError:
        return None
    years = study.year - birth.year - ((study.month, study.day) < (birth.month, birth.day))
    return years if 0 <= years <= _OLDEST else None


def _day(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").date()


def check_exams(config: Config) -> None:
    """Raise ConfigError unless every rule can apply, and one reads."""
    rules, seen = config.exams.rules, set[str]()
    for number, rule in enumerate(rules, 1):
        where = f"exams.rules, rule {number}"
        if not _NAME.fullmatch(rule.name):
            raise ConfigError(
                f"{where} has the name {rule.name!r}.", "Use 1 to 31 of a-z, 0-9, hyphen and underscore."
            )
        if rule.name in seen:
            raise ConfigError(f"{where} has the name {rule.name}, as another has.", "Use each name once.")
        seen.add(rule.name)
        where = f"exams.rules, rule {rule.name}"
        _check_ages(rule, where)
        _check_modalities(rule, where, config)
        if number < len(rules) and rule == ExamRule(rule.name, rule.action):
            raise ConfigError(
                f"{where} has no condition, so the rules after it never apply.", "Put it at the end."
            )
    if rules and not any(rule.action == "read" for rule in rules):
        raise ConfigError(
            "exams.rules has no rule with action read, so no film would be read.",
            'Add a last rule that reads the rest: [[exams.rules]], name = "rest", action = "read".',
        )


def _check_ages(rule: ExamRule, where: str) -> None:
    for name, value in (("min_age", rule.min_age), ("max_age", rule.max_age)):
        if not 0 <= value <= _OLDEST:
            raise ConfigError(f"{where}: {name} is {value}.", f"It must be from 0 to {_OLDEST} years.")
    if rule.min_age > rule.max_age:
        raise ConfigError(
            f"{where}: min_age {rule.min_age} is above max_age {rule.max_age}, so no patient fits.",
            "Exchange them.",
        )


def _check_modalities(rule: ExamRule, where: str, config: Config) -> None:
    for modality in rule.modalities:
        if modality not in _MODALITIES:
            raise ConfigError(
                f"{where}: modalities has {modality!r}, which no film that is read has.",
                f"Use {', '.join(sorted(_MODALITIES - {''}))}, or an empty text for films that name none.",
            )
        found = modality in config.find.modalities or "receive" in config.roles
        if modality and not found and rule.action == "read":
            raise ConfigError(
                f"{where}: modalities has {modality}, but find.modalities has not, so no such film is found.",
                "Add it to find.modalities, or take it out of the rule.",
            )
