"""Judge a model that reads the lungs at each hospital, within each view, and by the boxes of radiologists.

    python studies/hospitals.py RUN --data children=chest_xray --data adults=rsna.csv --full "nih=nih_chest/films.csv#reading" --out OUT

RUN is a finished run of `pneumoscan train --preset lung-reader` with its bundle, and `--data` its films. Held-out films of each hospital are
judged as the cache holds them; those of a hospital that was left out of training are judged whole. `--full` names whole films with
readings; they are read as `pneumoscan predict` reads them. Writes `hospitals.csv` and `boxes.csv`.

Truth is the reading of a radiologist where there is one: OPACITY against NORMAL, and OPACITY against all others. `one batch`: films whose column
`label` is PNEUMONIA. The threshold is that of the bundle. Intervals of areas: bootstrap over patients. Boxes: whether the hottest cell of
the map lies in a box, beside the share of the lungs that boxes cover, which a random cell of the lungs would hit.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pneumoscan.bundle.load import Bundle, load_bundle
from pneumoscan.data.cache import open_cache
from pneumoscan.data.layouts import load_sites
from pneumoscan.data.manifest import FilmRecord
from pneumoscan.data.splits import read_split_csv
from pneumoscan.errors import FilmError
from pneumoscan.evaluate.intervals import area_draws, interval_of
from pneumoscan.evaluate.sites import HOSPITALS, VIEWS
from pneumoscan.files import write_table
from pneumoscan.train.config import read_toml_config
from pneumoscan.train.films import training_films
from pneumoscan.train.outliner import preparation_of
from pneumoscan.train.run import RunFolder, train_split

RESAMPLES = 1000


class Answers:
    """The answers of a model for films of one hospital."""

    def __init__(
        self, films: Sequence[FilmRecord], probability: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        self.films, self.probability, self.given = list(films), np.asarray(probability), np.asarray(labels)

    def figures(
        self, name: str, seen: str, threshold: float, *, ill: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_]
    ) -> list[Any]:
        """Return a row of the table for the films `of`, of which `ill` are ill."""
        y, p = ill[of].astype(int), self.probability[of]
        patients = np.unique(
            [film.patient_id for film, chosen in zip(self.films, of, strict=True) if chosen],
            return_inverse=True,
        )[1]
        area, draws = area_draws(y, p, patients, n_resamples=RESAMPLES)
        low, high = interval_of(draws) or (np.nan, np.nan)
        called = p >= threshold
        rates = called[y == 1].mean(), 1 - called[y == 0].mean()
        return [
            name,
            seen,
            int(y.sum()),
            int((1 - y).sum()),
            *(f"{v:.4f}" for v in (area, low, high, threshold, *rates)),
        ]

    def rows(self, name: str, seen: str, threshold: float) -> list[list[Any]]:
        """Return the rows of a hospital: by reading and view, or by label."""
        readings = np.array([film.reading or "" for film in self.films])
        views = np.array([film.view or "" for film in self.films])
        everyone = np.ones(len(self.films), bool)
        if not (readings != "").any():
            labels = np.array([film.label == 1 for film in self.films])
            return [self.figures(name, seen, threshold, ill=labels, of=everyone)]
        ill = readings == "OPACITY"
        pair = ill | (readings == "NORMAL")
        rows = [self.figures(f"{name}: opacity against normal", seen, threshold, ill=ill, of=pair)]
        rows += [
            self.figures(
                f"{name}: opacity against normal, {view}", seen, threshold, ill=ill, of=pair & (views == view)
            )
            for view in VIEWS
            if len(set(ill[pair & (views == view)].tolist())) == 2
        ]
        return [
            *rows,
            self.figures(f"{name}: opacity against all others", seen, threshold, ill=ill, of=readings != ""),
        ]


def held_out(run: RunFolder, bundle: Bundle, data: list[str], cache: Path | None) -> dict[str, Any]:
    """Return answers, maps and planes for the held-out films, and all films of a hospital that was left out, by site."""
    config = read_toml_config(run.config)
    manifest = train_split(data)
    left_out = config.sampling.left_out
    table = open_cache(
        manifest, size=config.data.size, preparation=preparation_of(config, manifest), folder=cache
    )
    hold = read_split_csv(run.split, manifest)
    films = training_films(config, manifest, table, hold)
    films = replace(films, preprocessing=bundle.spec.preprocessing)
    found = {}
    for site in manifest.site_names:
        rows = (
            np.flatnonzero(films.sites == site)
            if site in left_out
            else films.val[films.sites[films.val] == site]
        )
        outputs = [bundle.run(films.plain(rows[start : start + 1]).numpy()) for start in range(len(rows))]
        records = [manifest.films[int(table.index[row])] for row in rows]
        found[site] = (
            Answers(records, [float(each.probability[0]) for each in outputs]),
            "left out" if site in left_out else "held out",
            np.stack([each.activation_map[0] for each in outputs]),
            films.images[rows],
        )
    return found


def whole(bundle: Bundle, source: str) -> Answers:
    """Return the answers for whole films, as `predict` reads them."""
    manifest = load_sites(source)
    films, probability = [], []
    for record in manifest.films:
        try:
            outputs = bundle.run(bundle.input_of(manifest.read(record))[0])
        except FilmError as problem:
            sys.stderr.write(f"left out {record.path}: {problem.message}\n")
            continue
        films.append(record)
        probability.append(float(outputs.probability[0]))
    return Answers(films, probability)


def boxes(answers: Answers, maps: npt.NDArray[Any], planes: npt.NDArray[Any]) -> dict[str, Any]:
    """Return how often the hottest cell of the lungs lies in a box, beside a random cell; and the share of the evidence in boxes."""
    hits, chance, share = [], [], []
    side = maps.shape[1]
    for film, evidence, (_, aerated, drawn) in zip(answers.films, maps, planes, strict=True):
        if not film.boxes:
            continue
        inside, box = (
            np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.BOX)) > 76
            for p in (aerated, drawn)
        )
        lungs = inside | box
        hottest = np.where(lungs, evidence, -np.inf).argmax()
        hits.append(bool(box.ravel()[hottest]))
        chance.append(box[lungs].mean())
        above = np.clip(evidence, 0, None)
        share.append(above[box].sum() / above.sum() if above.any() else 0.0)
    return {
        "films": len(hits), "hottest_in_a_box": f"{np.mean(hits):.4f}", "random_in_a_box": f"{np.mean(chance):.4f}",
        "evidence_in_boxes": f"{np.mean(share):.4f}",
    }  # fmt: skip


def main() -> None:
    """Read the command line, and write the tables."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("run", type=Path)
    line.add_argument("--data", action="append", required=True)
    line.add_argument("--full", action="append", default=[])
    line.add_argument("--cache", type=Path)
    line.add_argument("--out", type=Path, required=True)
    asked = line.parse_args()
    bundle = load_bundle(asked.run / "bundle")
    threshold = bundle.spec.threshold()
    rows, drawn = [], []
    for site, (answers, seen, maps, planes) in held_out(
        RunFolder(asked.run), bundle, asked.data, asked.cache
    ).items():
        rows += answers.rows(site, seen, threshold)
        if any(film.boxes for film in answers.films):
            drawn.append({"hospital": site, **boxes(answers, maps, planes)})
    for source in asked.full:
        answers = whole(bundle, source)
        name = source.partition("=")[0]
        rows += answers.rows(f"{name}, whole films", "", threshold)
        batch = np.array(["PNEUMONIA" in film.path for film in answers.films])
        readings = np.array([film.reading for film in answers.films])
        of = batch & ((readings == "OPACITY") | (readings == "NORMAL"))
        if 0 < of.sum() < len(of):
            ill = readings == "OPACITY"
            rows.append(answers.figures(f"{name}, whole films, one batch", "", threshold, ill=ill, of=of))
    asked.out.mkdir(parents=True, exist_ok=True)
    write_table(asked.out / "hospitals.csv", HOSPITALS, rows)
    if drawn:
        write_table(asked.out / "boxes.csv", list(drawn[0]), [list(each.values()) for each in drawn])
    for row in [HOSPITALS, *rows, *drawn]:
        sys.stdout.write(f"{row}\n")


if __name__ == "__main__":
    main()
