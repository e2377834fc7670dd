"""Judge networks on adults by what radiologists read, instead of by labels that were mined from reports.

    python studies/readings.py --adults nih_chest/films.csv --model BUNDLE --model BUNDLE --study results/sites --out results/sites

Truth is the column `reading` of the table: OPACITY against NORMAL. `one batch` are the films whose mined label is PNEUMONIA: both classes were
collected in the same way. `all` are all films with one of the two readings. The networks of the study are judged on its held-out films,
for which it stores the outputs. Intervals are the wider of the bootstrap over patients and the score interval with patients in place of films.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pneumoscan.adapt.verdict import area, resample
from pneumoscan.bundle.load import load_bundle
from pneumoscan.classifier import PneumoniaClassifier, model_name
from pneumoscan.evaluate.arrays import check_patients

COLUMNS = (
    "network",
    "trial",
    "films",
    "n_opacity",
    "n_normal",
    "n_patients",
    "roc_auc",
    "ci95_low",
    "ci95_high",
)
Row = dict[str, str]


def read_table(path: Path) -> list[Row]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def judged(
    network: str, trial: str, films: Sequence[Row], y_prob: Sequence[float]
) -> Iterator[tuple[object, ...]]:
    """Yield the figures on the films of one batch and on all, for films with a reading."""
    for name in ("one batch", "all"):
        rows = [place for place, film in enumerate(films) if name == "all" or film["label"] == "PNEUMONIA"]
        y_true = np.array([films[place]["reading"] == "OPACITY" for place in rows], np.int64)
        prob = np.array([y_prob[place] for place in rows])
        patients = [films[place]["patient_id"] for place in rows]
        numbers = check_patients(patients, len(patients))
        found = area(y_true, numbers, prob, resample(y_true, numbers))
        counts = int(y_true.sum()), int((1 - y_true).sum()), len(set(patients))
        yield network, trial, name, *counts, f"{found.value:.4f}", f"{found.low:.4f}", f"{found.high:.4f}"


def main() -> None:
    """Read the command line, and write `readings.csv`."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument(
        "--adults", type=Path, required=True, help="table with the columns path, label, patient_id, reading"
    )
    line.add_argument(
        "--model", type=Path, action="append", default=[], help="a bundle; may be given several times"
    )
    line.add_argument("--study", type=Path, help="folder of a study with the site `adults`")
    line.add_argument("--out", type=Path, required=True)
    given = line.parse_args()
    read = [film for film in read_table(given.adults) if film["reading"] in {"OPACITY", "NORMAL"}]
    rows: list[tuple[object, ...]] = []
    for model in given.model:
        bundle = load_bundle(model)
        paths = [given.adults.parent / film["path"] for film in read]
        prob = PneumoniaClassifier(bundle).predict_proba(paths)[:, 1].tolist()
        rows += judged(model_name(bundle), "", read, prob)
    if given.study is not None:
        films = {f"adults/{film['path']}": film for film in read}
        held = {
            row["film"]: films[row["path"]]
            for row in read_table(given.study / "held_out.csv")
            if row["path"] in films
        }
        for trial in read_table(given.study / "trials.csv"):
            path = given.study / "trials" / trial["trial"] / "predictions.csv"
            outputs = {row["film"]: float(row["logit"]) for row in read_table(path)}
            prob = [1 / (1 + np.exp(-outputs[place])) for place in held]
            rows += judged(
                f"{trial['section']}/{trial['variant']}", trial["trial"], list(held.values()), prob
            )
    with (given.out / "readings.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
