"""The scores that a model gave to films, from a CSV file (of `evaluate`, of `predict`, of MedMNIST, or any with a path and a score), and the films that two have in common."""

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, isfinite
from pathlib import Path

from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.layouts.folder import facts_of
from pneumoscan.data.layouts.table import Row, open_rows
from pneumoscan.data.manifest import Manifest
from pneumoscan.errors import LayoutError, NothingUsableError, UsageError
from pneumoscan.evaluate.arrays import Floats
from pneumoscan.files import as_text
from pneumoscan.pages import plural

PATHS = ("path", "image", "film", "file", "filename", "file_name", "image_path", "image index")
SCORES = ("probability", "score", "y_prob", "y_score", "prob", "prediction", "pneumonia", "p_pneumonia")
TRUTHS = ("y_true", "truth", "target")
HALF = 0.5
_FEW = 200


@dataclass(frozen=True)
class Scores:
    """What a model said about films.

    Attributes:
        name: Name of the model.
        source: Where the scores are from.
        probability: Probability of PNEUMONIA in [0, 1] by path of the film.
        missing: Films that are listed without a score.
        y_true: 0 or 1 by path, as far as the source says.
        patient_ids: Patient by path; from the name of the film where the source does not say.
        threshold: A film is labelled PNEUMONIA from this probability on.
        threshold_source: Origin of the threshold.
        by_number: Whether films are numbered as in an `.npz` file (`#test/12`), as in the predictions of MedMNIST.
        notes: Sentences about what was done to the scores.
    """

    name: str
    source: str
    probability: Mapping[str, float]
    missing: frozenset[str] = frozenset()
    y_true: Mapping[str, int] = field(default_factory=dict)
    patient_ids: Mapping[str, str] = field(default_factory=dict)
    threshold: float = HALF
    threshold_source: str = "0.5, since none is known"
    by_number: bool = False
    notes: tuple[str, ...] = ()


def read_scores(path: Path, *, column: str = "", logits: bool = False) -> Scores:
    """Read a CSV file of scores.

    A first line of numbers makes a file of MedMNIST: the number of the film, then the scores of the classes, the last of which is that
    of PNEUMONIA (J. Yang et al., Scientific Data 10 (2023) 41). Any other file names its columns in the first line.

    Args:
        path: The file.
        column: The column of the scores; by default, and where the file has none of this name, the first of `SCORES` that is there.
        logits: Convert the scores by the sigmoid where one of them is outside of [0, 1].

    Raises:
        LayoutError: The file cannot be read, lacks a column, or a line has no path, an invalid score, or a film for the second time.
        UsageError: A score is outside of [0, 1], and `logits` is not given.
    """
    first = _first_cells(path)
    by_number = bool(first) and all(_number(cell) is not None for cell in first)
    if by_number:
        found, missing, truth, patients, cuts = _numbered(path)
    else:
        found, missing, truth, patients, cuts = _named(path, column)
    if not found:
        raise LayoutError(f"{path} has no film with a score.", "Give a file with a score for each film.")
    notes = []
    outside = {name: value for name, value in found.items() if not 0 <= value <= 1}
    if outside and not logits:
        name, value = next(iter(outside.items()))
        films = "1 score" if len(outside) == 1 else f"{len(outside)} scores"
        raise UsageError(
            f"{path}: the score of {name} is {value:g}, outside of 0 to 1 ({films} of {len(found)}).",
            "Give probabilities; for logits add --logits, which converts them by the sigmoid.",
        )
    if outside:
        found = {name: 1 / (1 + exp(-value)) if value > -700 else 0.0 for name, value in found.items()}
        notes.append(f"The scores of {path.name} were logits and are converted by the sigmoid.")
    if missing:
        films = "1 film has" if len(missing) == 1 else f"{len(missing)} films have"
        notes.append(f"{films} no score in {path.name}.")
    name, threshold, told = _named_by(path, cuts)
    return Scores(
        name=name,
        source=str(path),
        probability=found,
        missing=frozenset(missing - found.keys()),
        y_true=truth,
        patient_ids=patients,
        threshold=threshold,
        threshold_source=told,
        by_number=by_number,
        notes=tuple(notes),
    )


def notes_on(y_prob: Floats) -> list[str]:
    """Return sentences about the scores (2, n) of two models: few films, or the same scores."""
    few = [f"Only {plural(y_prob.shape[1], 'film')}: a small difference cannot be detected."]
    same = ["Both give the same score to every film."] if (y_prob[0] == y_prob[1]).all() else []
    return (few if y_prob.shape[1] < _FEW else []) + same


def _first_cells(path: Path) -> list[str]:
    """Return the cells of the first line; raises LayoutError where the file cannot be read."""
    try:
        text = as_text(path.read_bytes())
        return next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
    except UnicodeDecodeError as problem:
        raise LayoutError(
            f"{path} is not UTF-8 text (byte {problem.start}).", "Give a table in CSV."
        ) from None
    except OSError as problem:
        raise LayoutError(f"{path} cannot be read: {problem.strerror}.", "Check the path.") from None
    except csv.Error as problem:
        raise LayoutError(f"{path} line 1: {problem}.", "Give a table in CSV.") from None


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if isfinite(number) else None


_Read = tuple[dict[str, float], set[str], dict[str, int], dict[str, str], set[str]]


def _numbered(path: Path) -> _Read:
    """Read a file without a header; films are named `#SPLIT/NUMBER`, with the split of the file's name."""
    split = re.search(r"_(train|val|test)(?:_|$)", path.stem)
    found: dict[str, float] = {}
    reader = csv.reader(io.StringIO(as_text(path.read_bytes()), newline=""))
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        index, *scores = (_number(cell) for cell in cells)
        if (
            index is None
            or index != int(index)
            or index < 0
            or len(scores) not in {1, 2}
            or scores[-1] is None
        ):
            raise LayoutError(
                f"{path} line {reader.line_num}: {','.join(cells)[:80]!r} is not a number of a film with one score or two.",
                "Predictions of MedMNIST have the index of the film and a score for each class.",
            )
        name = f"#{split[1] if split else 'test'}/{int(index)}"
        if name in found:
            raise LayoutError(
                f"{path} line {reader.line_num}: film {int(index)} is listed twice.", "List every film once."
            )
        found[name] = scores[-1]
    return found, set(), {}, {}, set()


def _named(path: Path, column: str) -> _Read:
    """Read a file with a header; a film without a score is missing."""
    header, rows = open_rows(path)
    places = {
        what: next((name for name in names if name in header), "")
        for what, names in (
            ("path", PATHS),
            ("score", (column.lower(), *SCORES) if column else SCORES),
            ("truth", TRUTHS),
        )
    }
    for what, names in (("path", PATHS), ("score", SCORES)):
        if not places[what]:
            asked = f"{column!r}, nor one " if what == "score" and column else ""
            wanted = f"{asked}of a {what} ({', '.join(names)})"
            raise LayoutError(
                f"{path} line 1 has no column {wanted}; it has {', '.join(header)[:200] or 'nothing'}.",
                "Rename the column, or name the scores with --score NAME.",
            )
    found: dict[str, float] = {}
    missing, truth, patients, cuts = set[str](), dict[str, int](), dict[str, str](), set[str]()
    for row in rows:
        film = row.cells[places["path"]].replace("\\", "/").removeprefix("./")
        if not film or film in found or film in missing:
            problem = f"{film!r} is listed twice" if film else "no path"
            raise LayoutError(f"{row.place}, column {places['path']}: {problem}.", "List every film once.")
        score = _score(row, places["score"])
        if score is None:
            missing.add(film)
        else:
            found[film] = score
        if places["truth"] and (given := row.cells[places["truth"]]):
            truth[film] = _truth(row, places["truth"], given)
        patients[film] = row.cells.get("patient_id") or facts_of(film).patient_id
        cuts |= {row.cells["threshold"]} if row.cells.get("threshold") else set()
    return found, missing, truth, patients, cuts


def _score(row: Row, column: str) -> float | None:
    given = row.cells.get(column, "")
    if given.lower() in {"", "na", "nan", "none", "null"}:
        return None
    score = _number(given if "." in given else given.replace(",", "."))
    if score is None:
        raise LayoutError(f"{row.place}, column {column}: {given!r} is not a number.", "Correct the score.")
    return score


def _truth(row: Row, column: str, given: str) -> int:
    labels = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "normal": 0, "pneumonia": 1}
    if given.lower() not in labels:
        raise LayoutError(f"{row.place}, column {column}: {given!r}.", "It is 0 or 1.")
    return labels[given.lower()]


def _named_by(path: Path, cuts: set[str]) -> tuple[str, float, str]:
    """Return name, threshold and its origin: of the evaluation beside the file, or of a column, or 0.5."""
    name = path.stem if path.name != "predictions.csv" else path.absolute().parent.name
    told = {number for number in map(_number, cuts) if number is not None and 0 <= number <= 1}
    if len(told) == 1:
        return name, told.pop(), f"the column threshold of {path.name}"
    beside = path.parent / "metrics.json"
    if path.name == "predictions.csv" and beside.is_file():
        try:
            values = json.loads(beside.read_text(encoding="utf-8"))
            name = str(values.get("model") or name)
            return name, float(values["threshold"]), f"that of the evaluation: {values['threshold_source']}"
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            pass
    return name, HALF, "0.5, since the file tells none"


# The same films in both


Facts = dict[str, tuple[int, str]]


def matched(
    sides: tuple[Scores, Scores], manifest: Manifest | None, unreadable: frozenset[str], *, common: bool
) -> tuple[list[dict[str, float]], Facts, list[str]]:
    """Return the scores of both by film, label and patient of each film that both have, and what was done to match them.

    Args:
        sides: The two.
        manifest: The labelled films; without them the files tell the labels.
        unreadable: Films that count for neither.
        common: Leave out the films that only one has a score for.

    Raises:
        UsageError: Only one has a score for a film and `common` is not given, or the labels are missing or contradict each other.
        LayoutError: A file names a film twice.
        NothingUsableError: No film is left.
    """
    notes = [note for side in sides for note in side.notes]
    by_number = any(side.by_number for side in sides)
    if manifest is not None:
        films = {film.path: (film.label, film.patient_id) for film in manifest.films}
        found = [_by_film(side, list(films), by_number, notes) for side in sides]
    else:
        found = [{_key(path, by_number): value for path, value in side.probability.items()} for side in sides]
        films = _told(sides, by_number)
    wanted = set(films) - unreadable
    if unreadable:
        some = "1 film" if len(unreadable) == 1 else f"{len(unreadable)} films"
        notes.append(f"{some} could not be read and left out, such as {min(unreadable)}.")
    both = wanted & found[0].keys() & found[1].keys()
    if not both:
        examples = " and ".join(f"{next(iter(side.probability))!r} in {side.source}" for side in sides)
        of_data = f", and {next(iter(films))!r} in the films" if manifest is not None and films else ""
        raise NothingUsableError(
            f"the two have no film in common: {examples}{of_data}.",
            "Both must name the same films by the same paths.",
        )
    for side, there in zip(sides, found, strict=True):
        gone = sorted(wanted - there.keys())
        if gone:
            some = "1 film has" if len(gone) == 1 else f"{len(gone)} of {len(wanted)} films have"
            text = f"{some} no score in {side.source}, such as {gone[0]}"
            if not common:
                raise UsageError(
                    f"{text}.", "Give the scores of the same films, or --common to leave them out."
                )
            notes.append(f"{text}; left out.")
    return found, {path: films[path] for path in both}, notes


def _by_film(side: Scores, films: list[str], by_number: bool, notes: list[str]) -> dict[str, float]:
    """Return the scores by the path of the film, whose last parts suffice where the file has a longer path."""
    known = {_key(film, by_number): film for film in films}
    found: dict[str, float] = {}
    shortened = unknown = 0
    for path, value in side.probability.items():
        key = _key(path, by_number)
        while key not in known and "/" in key and not key.startswith("#"):
            key = key.partition("/")[2]
        if key not in known:
            unknown += 1
            continue
        if known[key] in found:
            raise LayoutError(
                f"{side.source} names the film {known[key]} twice, such as by {path!r}.",
                "List every film once.",
            )
        shortened += key != path and not by_number
        found[known[key]] = value
    if shortened:
        notes.append(f"The films of {side.source} are found by the last parts of their paths.")
    if unknown and found:
        some = "1 film" if unknown == 1 else f"{unknown} films"
        notes.append(
            f"{some} of {side.source} that {'is' if unknown == 1 else 'are'} not among the films left out."
        )
    return found


def _key(path: str, by_number: bool) -> str:
    """Return what identifies a film: its path, or its number in an `.npz` file, `#test/12`."""
    return "#" + path.rpartition("#")[2] if by_number else path


def _told(sides: tuple[Scores, Scores], by_number: bool) -> Facts:
    """Return label and patient of each film from the files themselves."""
    facts: Facts = {}
    for side in sides:
        for path, label in side.y_true.items():
            key = _key(path, by_number)
            if key in facts and facts[key][0] != label:
                raise UsageError(
                    f"{path} is {CLASS_NAMES[facts[key][0]]} in {sides[0].source} and {CLASS_NAMES[label]} in {side.source}.",
                    "Give the same labels, or the labelled films with --data.",
                )
            facts.setdefault(key, (label, side.patient_ids.get(path, path)))
    if not facts:
        raise UsageError(
            f"neither {sides[0].source} nor {sides[1].source} has the true labels (y_true).",
            "Give the labelled films with --data: a folder, a table or an .npz file.",
        )
    scored = {_key(path, by_number) for side in sides for path in (*side.probability, *side.missing)}
    bare = sorted(scored - facts.keys())
    if bare:
        raise UsageError(
            f"{len(bare)} films have no true label, such as {bare[0]}.",
            "Give the labelled films with --data.",
        )
    return facts
