"""Write the tables from which `flagship-4` was trained: films, masks of lungs, readings and boxes of three sets.

    python studies/lung_tables.py --children chest_xray --outlines lung_masks --cut lung_masks_cut --adults nih_chest --rsna rsna_lungs \
        --mispaired results/flagship-4/mispaired.txt --out tables

`children.csv` and `adults.csv` teach the outliner: films with `mask` (outlined by people) and `aerated` (cut by a network).
`rsna.csv` with `boxes.csv` teaches the reader. Its films of patients that are in `nih_chest` get the split `test`, so that whole films of
these patients can judge the reader. Paths are relative to the tables. `--mispaired` lists films (CLASS/NAME) whose outline is that of another
film; they keep no `mask`.
"""

import argparse
import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path


def main() -> None:
    """Read the command line, and write the tables."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--children", "--outlines", "--cut", "--adults", "--rsna", "--out"):
        line.add_argument(name, type=Path, required=True)
    line.add_argument("--mispaired", type=Path)
    asked = line.parse_args()
    mispaired = set(asked.mispaired.read_text(encoding="utf-8").split()) if asked.mispaired else set()
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)

    def near(path: Path) -> str:
        return Path(os.path.relpath(path, out)).as_posix() if path.is_file() else ""

    films = sorted((asked.children / "train").glob("*/*.jpeg"))
    _write(
        out / "children.csv",
        ("path", "label", "mask", "aerated"),
        (
            (
                near(film),
                film.parent.name,
                ""
                if f"{film.parent.name}/{film.name}" in mispaired
                else near(asked.outlines / film.parent.name / f"{film.stem}.png"),
                near(asked.cut / "chest_xray" / film.parent.name / f"{film.stem}.png"),
            )
            for film in films
        ),
    )
    adults = _read(asked.adults / "films.csv")
    _write(
        out / "adults.csv",
        ("path", "label", "patient_id", "aerated"),
        (
            (near(asked.adults / row["path"]), row["label"], row["patient_id"], cut)
            for row in adults
            if (cut := near(asked.cut / "nih_chest" / row["path"]))
        ),
    )
    kept = {row["patient_id"] for row in adults}
    columns = ("reading", "patient_id", "view", "age", "sex")
    _write(
        out / "rsna.csv",
        ("path", "mask", *columns, "split"),
        (
            (
                near(asked.rsna / row["path"]),
                near(asked.rsna / row["mask"]),
                *(row[column] for column in columns),
                "test" if row["patient_id"] in kept else "train",
            )
            for row in _read(asked.rsna / "films.csv")
        ),
    )
    sides = ("x", "y", "width", "height")
    _write(
        out / "boxes.csv",
        ("path", *sides),
        (
            (near(asked.rsna / row["path"]), *(row[side] for side in sides))
            for row in _read(asked.rsna / "boxes.csv")
        ),
    )


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    main()
