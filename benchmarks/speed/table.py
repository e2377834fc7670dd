"""One table of all speed records with their peers: printed by `run.py`, and written into docs/speed.md.

python -m benchmarks.speed.table
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS
from benchmarks.timing import ROOT

PAGE = ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- the table of benchmarks/speed/table.py begins -->", "<!-- the table ends -->"
_HEAD = ("| | measured | beside it | target | record |", "|---|---|---|---|---|")


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        what: What was measured.
        record: Name of the record.
        measured: Returns the figure of the record, with its unit.
        beside: Returns the figure of the peer or the limit, likewise.
        bar: Beginning of the name of the bar in the record; empty if the row has no target.
    """

    what: str
    record: str
    measured: Callable[[Mapping[str, Any]], str]
    beside: Callable[[Mapping[str, Any]], str]
    bar: str = ""

    def text(self, record: Mapping[str, Any]) -> str:
        """Return the row in Markdown."""
        cells = (
            self.what,
            self.measured(record),
            self.beside(record),
            self._target(record),
            f"`{self.record}.json`",
        )
        return f"| {' | '.join(cells)} |"

    def _target(self, record: Mapping[str, Any]) -> str:
        for bar in record["bars"] if self.bar else ():
            if bar["what"].startswith(self.bar):
                return (
                    bar["bar"].replace(">=", "≥")
                    + {True: "", False: ", **missed**", None: ", not measured"}[bar["passed"]]
                )
        return "–"


def _films(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda record: f"{record['medians'][key]:.0f} films/s"


def _seconds(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda record: f"{record['medians'][key]:.2f} s"


def _milliseconds(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda record: f"{record['medians'][key]:.1f} ms"


def _peer(
    name: str, key: str, rate: Callable[[Mapping[str, Any]], str], share: str
) -> Callable[[Mapping[str, Any]], str]:
    """Return a text such as "Keras: 123 films/s, 2.6 ×", or that the peer was not measured."""

    def text(record: Mapping[str, Any]) -> str:
        if record["medians"].get(key) is None:
            return f"{name}: not measured"
        return f"{name}: {rate(record)}, {record['ratios'][share]:.2f} ×"

    return text


def _training(name: str, key: str, bar: str = "") -> Row:
    peer = _peer(name, key, _films(key), f"ours / {key}")
    return Row("training, baseline network, batches of 32", "training_speed", _films("ours"), peer, bar)


def _reading(name: str, bar: str = "") -> Row:
    def beside(record: Mapping[str, Any]) -> str:
        share, decode = (
            record["ratios"][f"{name}: steady state / bound"],
            record["medians"][f"{name}: decode, ms a film on one core"],
        )
        return f"{share:.0%} of cores ÷ (decoding, {decode:.1f} ms, + network)"

    return Row(
        f"`predict`, {name} of 1300×1000",
        "batch_predict",
        _films(f"{name}: steady state, films/s"),
        beside,
        bar,
    )


ROWS = (
    _training("Keras, float32, its defaults", "Keras default", "training: ours / Keras model.fit"),
    _training("Keras, bfloat16", "Keras bfloat16", "training: ours / Keras with bfloat16"),
    _training("plain PyTorch, float32", "plain PyTorch", "training: ours / plain PyTorch"),
    Row("… share of the processor's bfloat16 peak", "training_speed", lambda r: f"{r['ratios']['ours / peak bfloat16']:.0%}", lambda _: "–"),
    _reading("JPEG", "batch:"),
    _reading("PNG"),
    _reading("DICOM"),
    _reading("DICOM, JPEG 2000"),
    Row("`predict` of one film, whole process", "cold_predict", _seconds("predict"),
        _peer("a script with Keras", "Keras script", _seconds("Keras script"), "Keras script / predict"), "cold: pneumoscan predict"),
    Row("the network alone, one film, one core", "network_latency", _milliseconds("ours, ms"),
        _peer("Keras `model.predict`", "Keras model.predict, ms", _milliseconds("Keras model.predict, ms"), "Keras model.predict / ours"), "latency:"),
    Row("memory of `predict`, for each 1,000 films", "predict_memory", lambda r: f"{r['bars'][0]['measured']:.2f} MB", lambda _: "–", "memory:"),
)  # fmt: skip


def table(folder: Path = RESULTS) -> str:
    """Return the table of the records in a folder, in Markdown. A record that is missing has no row."""
    records: dict[str, Any] = {}
    for name in {row.record for row in ROWS}:
        path = folder / f"{name}.json"
        if path.exists():
            records[name] = json.loads(path.read_text(encoding="utf-8"))
    rows = [row.text(records[row.record]) for row in ROWS if row.record in records]
    return "\n".join((*_HEAD, *rows))


def with_table(page: str, text: str) -> str:
    """Return a page with another table between its markers.

    Raises:
        ValueError: The page has no markers.
    """
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main() -> None:
    """Write the table of the committed records into docs/speed.md."""
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table()), encoding="utf-8")
    print(f"written: {PAGE}", file=sys.stderr)


if __name__ == "__main__":
    main()
