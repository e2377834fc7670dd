"""Choose the level of the regions of a model on held-out films, and measure the regions against boxes of radiologists.

    python studies/regions.py RUN --data children=chest_xray --data adults=rsna.csv --whole "adults=nih_chest/films.csv#reading" --out OUT
    python studies/regions.py RUN … --store BUNDLE

RUN is a finished run of `pneumoscan train --preset lung-reader` with its bundle, and `--data` its films. A place belongs to a region if its
evidence reaches the level. The level is chosen on the held-out films of RUN that have boxes and are called PNEUMONIA: the highest level
whose mean overlap with the boxes is within one standard error of the best (L. Breiman et al., Classification and Regression Trees, 1984,
3.4.3). Overlap is the intersection of regions and boxes divided by their union, both inside the lung field. `--whole` names whole films
with boxes, which are read as `pneumoscan predict` reads them; nothing is chosen on them.

Writes `regions.csv` (the levels) and `regions.json` (the part `regions` of `model.json`). `--store` judges a bundle that was exported from RUN
instead of the one in it, and puts the latter file into its description. Held-out films that show lungs alone are judged inside the mask that comes with them; its gaps, which often are dense
consolidation, are closed.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hospitals import held_out
from PIL import Image, ImageFilter

from pneumoscan.bundle.heatmap import Evidence, evidence_of, to_film
from pneumoscan.bundle.load import Bundle, load_bundle
from pneumoscan.bundle.regions import Regions, regions_in
from pneumoscan.bundle.write import write_regions
from pneumoscan.classifier import find_in
from pneumoscan.data.layouts import load_sites
from pneumoscan.errors import BundleError
from pneumoscan.files import write_atomic, write_json
from pneumoscan.imaging.lungs import SIDE, WHOLE_FILM, Lungs, find_lungs
from pneumoscan.train.run import RunFolder

LEVELS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
COLUMNS = (
    "level",
    "films",
    "overlap",
    "standard_error",
    "of_regions_in_boxes",
    "of_boxes_in_regions",
    "chosen",
)
_GAP = 21

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """A film with boxes: the map of evidence, the lungs, bool (SIDE, SIDE) inside boxes, each box alone, and whether it is called."""

    evidence: Evidence
    lungs: Lungs
    boxed: Mask
    boxes: tuple[Mask, ...]
    called: bool

    def regions(self, level: float) -> Regions:
        """Return the regions at a level."""
        return regions_in(self.evidence, self.lungs, level)

    def drawn(self, level: float) -> Mask:
        """Return what the regions cover."""
        values = to_film(self.evidence.values, self.evidence.box, (SIDE, SIDE))
        kept = [one.box for one in self.regions(level).regions]
        covered = (values >= level) & self.lungs.mask
        inside = np.zeros_like(covered)
        for left, top, right, bottom in kept:
            rows, columns = (
                slice(int(top * SIDE), round(bottom * SIDE)),
                slice(int(left * SIDE), round(right * SIDE)),
            )
            inside[rows, columns] = True
        return covered & inside


def cut_cases(run: RunFolder, bundle: Bundle, data: list[str], cache: Path | None) -> list[Case]:
    """Return the held-out films with boxes of a run, which show lungs alone."""
    cases = []
    for answers, _, maps, planes in held_out(run, bundle, data, cache).values():
        for film, probability, activation_map, (_, inside, drawn) in zip(
            answers.films, answers.probability, maps, planes, strict=True
        ):
            if not film.boxes:
                continue
            field = Image.fromarray(inside).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            closed = _padded(field).filter(ImageFilter.MaxFilter(_GAP)).filter(ImageFilter.MinFilter(_GAP))
            mask = np.asarray(closed)[_GAP:-_GAP, _GAP:-_GAP] > 127
            lungs = replace(find_lungs(np.where(mask, 9.0, -9.0)[None].repeat(2, 0)), box=WHOLE_FILM)
            evidence = replace(evidence_of(bundle, activation_map), box=WHOLE_FILM)
            boxed = np.asarray(Image.fromarray(drawn).resize((SIDE, SIDE), Image.Resampling.BOX)) > 127
            # The planes have no single boxes: where two of them overlap, they count as one.
            pieces = tuple(_pieces(boxed))
            cases.append(Case(evidence, lungs, boxed, pieces, probability >= bundle.spec.threshold()))
    return cases


def whole_cases(bundle: Bundle, source: str) -> list[Case]:
    """Return the whole films with boxes of a source."""
    manifest = load_sites(source)
    cases = []
    for record in manifest.films:
        if not record.boxes:
            continue
        film = manifest.read(record)
        found = find_in(bundle, film, bundle.spec.threshold())
        if found.activation_map is None or found.lungs is None:
            raise BundleError(f"model {bundle.spec.name} has no regions.")
        boxes = []
        for left, top, width, height in record.boxes:
            one = np.zeros((SIDE, SIDE), np.bool_)
            y, x = (np.arange(SIDE) + 0.5) * film.height / SIDE, (np.arange(SIDE) + 0.5) * film.width / SIDE
            one[np.ix_((y >= top) & (y < top + height), (x >= left) & (x < left + width))] = True
            boxes.append(one)
        evidence = evidence_of(bundle, found.activation_map, found.lungs)
        called = found.row.label in {"PNEUMONIA", "UNSURE"}
        cases.append(Case(evidence, found.lungs, np.any(boxes, axis=0), tuple(boxes), called))
    return cases


def _padded(field: Image.Image) -> Image.Image:
    wide = Image.new("L", (SIDE + 2 * _GAP, SIDE + 2 * _GAP))
    wide.paste(field, (_GAP, _GAP))
    return wide


def _pieces(mask: Mask) -> list[Mask]:
    from pneumoscan.imaging.outlines import pieces_of

    return [piece for piece, _ in pieces_of(mask)]


def overlaps(cases: Sequence[Case], level: float) -> npt.NDArray[np.float64]:
    """Return for each film: overlap, share of its regions in boxes, share of its boxes in regions; float64 (n, 3)."""
    rows = []
    for case in cases:
        drawn, boxed = case.drawn(level), case.boxed & case.lungs.mask
        both, either = int((drawn & boxed).sum()), int((drawn | boxed).sum())
        rows.append((both / max(either, 1), both / max(int(drawn.sum()), 1), both / max(int(boxed.sum()), 1)))
    return np.array(rows)


def measured(cases: Sequence[Case], level: float, films: str) -> dict[str, Any]:
    """Return one of `regions.measured` of `model.json`."""
    hits, chance = [], []
    for case in cases:
        values = to_film(case.evidence.values, case.evidence.box, (SIDE, SIDE))
        field = case.lungs.mask
        hits.append(bool(case.boxed.ravel()[np.where(field, values, -np.inf).argmax()]))
        chance.append(float(case.boxed[field].mean()) if field.any() else 0.0)
    shown = [case for case in cases if case.called]
    within, peaks, found, boxes = [], [], 0, 0
    for case in shown:
        positive = np.maximum(to_film(case.evidence.values, case.evidence.box, (SIDE, SIDE)), 0)
        within.append(float(positive[case.boxed].sum() / positive.sum()) if positive.any() else 0.0)
        places = [(int(one.peak[1] * SIDE), int(one.peak[0] * SIDE)) for one in case.regions(level).regions]
        peaks += [bool(case.boxed[place]) for place in places]
        found += sum(any(box[place] for place in places) for box in case.boxes)
        boxes += len(case.boxes)
    return {
        "films": films,
        "n": len(cases),
        "hottest_in_a_box": _rounded(np.mean(hits)),
        "random_in_a_box": _rounded(np.mean(chance)),
        "shown": len(shown),
        "evidence_in_boxes": _rounded(np.mean(within)),
        "regions": len(peaks),
        "regions_in_a_box": _rounded(np.mean(peaks)),
        "boxes": boxes,
        "boxes_with_a_region": _rounded(found / boxes),
        "overlap": _rounded(overlaps(shown, level)[:, 0].mean()),
    }


def _rounded(value: Any) -> float:
    return round(float(value), 4)


def main() -> None:
    """Read the command line, choose and measure, and write."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("run", type=Path)
    line.add_argument("--data", action="append", required=True)
    line.add_argument("--whole", action="append", default=[], metavar="NAME=SOURCE")
    line.add_argument("--cache", type=Path)
    line.add_argument("--out", type=Path, required=True)
    line.add_argument("--store", type=Path, help="a bundle that was exported from RUN")
    asked = line.parse_args()
    bundle = load_bundle(asked.store or asked.run / "bundle")
    cut = cut_cases(RunFolder(asked.run), bundle, asked.data, asked.cache)
    called = [case for case in cut if case.called]
    rows = {level: overlaps(called, level) for level in LEVELS}
    means = {level: float(row[:, 0].mean()) for level, row in rows.items()}
    best = max(means, key=lambda level: means[level])
    error = float(rows[best][:, 0].std(ddof=1) / len(called) ** 0.5)
    level = max(one for one in LEVELS if means[one] >= means[best] - error)
    names = f"held-out films of adults that show lungs alone, {len(called)} of {len(cut)} with boxes"
    regions = {
        "level": level,
        "source": f"the highest level whose mean overlap with boxes is within one standard error of the best, on {names}",
        "measured": [measured(cut, level, "held-out films of adults that show lungs alone")]
        + [
            measured(whole_cases(bundle, source), level, f"whole films of {source.partition('=')[0]}")
            for source in asked.whole
        ],
    }
    table = [
        (one, len(called), *(f"{value:.4f}" for value in (row[:, 0].mean(), row[:, 0].std(ddof=1) / len(called) ** 0.5,
                                                          row[:, 1].mean(), row[:, 2].mean())), int(one == level))
        for one, row in rows.items()
    ]  # fmt: skip
    asked.out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(",".join(map(str, row)) for row in (COLUMNS, *table)) + "\n"
    write_atomic(asked.out / "regions.csv", text)
    write_json(asked.out / "regions.json", regions)
    sys.stdout.write(f"{text}{regions}\n")
    if asked.store:
        write_regions(bundle, regions)


if __name__ == "__main__":
    main()
