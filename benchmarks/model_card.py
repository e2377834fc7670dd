"""Write MODEL_CARD.md from the shipped bundle and its records, or check that it is what they give.

    python benchmarks/model_card.py            # searches for failures, then writes failures.json, failures.png, MODEL_CARD.md
    python benchmarks/model_card.py --check    # exit code 1 if MODEL_CARD.md is another than the records give

The check runs no network: another machine's last digits do not matter to it.
"""

import argparse
import difflib
import sys
from pathlib import Path

import card_figures as figures
import card_text as text
import card_trust as trust
from card_failures import search
from card_records import FAILURES, FOLDER, LOG, PICTURE, ROOT, RecordError, Records, read_records

from pneumoscan.errors import PneumoscanError
from pneumoscan.files import write_atomic, write_json
from pneumoscan.inference.bundle import load_bundle
from pneumoscan.inference.pretrained import pretrained_bundle

CARD = ROOT / "MODEL_CARD.md"


def card(records: Records) -> str:
    """Return the whole card as Markdown."""
    parts = [
        text.front_matter(records),
        text.title(records),
        [text.PURPOSE],
        text.sites(records),
        text.blind(records),
        [text.LIMITS],
        text.films(records),
        text.traits(records),
        text.network(records),
        text.training(records),
        figures.held_out(records),
        figures.operating_points(records),
        figures.seeds(records),
        figures.calibration(records),
        figures.stress(records),
        trust.limits_of_use(records),
        trust.heatmaps(records),
        trust.failures(records),
        [text.ETHICS],
        text.again(records),
        text.cost(records),
        text.versions(records),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def write_failures(shipped: Path, folder: Path) -> None:
    """Search for failures on drawn films, and write their record and picture."""
    record, png = search(load_bundle(shipped))
    (folder / PICTURE).unlink(missing_ok=True)
    if png:
        write_atomic(folder / PICTURE, png)
    write_json(folder / FAILURES, record)


def difference(shipped: Path, folder: Path, page: Path, log: Path = LOG) -> str:
    """Return how a page differs from what the records give, as a unified diff; empty if it does not."""
    wanted = card(read_records(shipped, folder, log=log)).splitlines(keepends=True)
    found = page.read_text(encoding="utf-8").splitlines(keepends=True) if page.is_file() else []
    return "".join(difflib.unified_diff(found, wanted, str(page), "what the records give"))


def main(arguments: list[str] | None = None) -> int:
    """Write or check the card; return the exit code."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--check", action="store_true", help="write nothing; 1 if the page is not up to date")
    line.add_argument("--model", type=Path, help="a bundle; the shipped one by default")
    line.add_argument("--records", type=Path, default=FOLDER)
    line.add_argument("--out", type=Path, default=CARD)
    given = line.parse_args(arguments)
    try:
        shipped = given.model or pretrained_bundle()
        if not given.check:
            # An old record of failures may be of an older model; everything else must fit before hours are spent.
            for name in (FAILURES, PICTURE):
                (given.records / name).unlink(missing_ok=True)
            read_records(shipped, given.records)
            write_failures(shipped, given.records)
            write_atomic(given.out, card(read_records(shipped, given.records)))
        found = difference(shipped, given.records, given.out)
    except (RecordError, PneumoscanError) as problem:
        print(f"model card: {problem}", file=sys.stderr)
        return 1
    if found:
        print(
            found,
            f"{given.out} is not up to date: run python benchmarks/model_card.py",
            sep="\n",
            file=sys.stderr,
        )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
