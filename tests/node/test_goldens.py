"""What must stay the same to the byte: reports, pictures, FHIR files, rows of the queue, and the commands.

`python tests/node/test_goldens.py` writes goldens.json anew.
"""

import hashlib
import json
import re
import struct
from contextlib import closing
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import PIL
import pydicom
import pytest
from click.testing import CliRunner
from hospital_films import MADE_AT, film_in, finding, hospital_film, writer

from pneumoscan.cli import app
from pneumoscan.node.queue import Arrival, State, open_queue
from pneumoscan.node.results import fhir_bundle, make_results

GOLDENS = Path(__file__).with_name("goldens.json")
FINDINGS = {
    "present": finding(),
    "absent": finding("NORMAL", probability=1 / 3),
    "undetermined": finding("UNSURE", warnings=("near_threshold", "of_a_later_version")),
    "not judged": finding("NOT_A_CHEST_FILM", warnings=("far_from_training_films",)),
}
FILMS = {
    "usual": hospital_film(),
    "Japanese": film_in("Japanese")[0],
    "Latin-1, not declared": film_in("none, with bytes of Latin-1")[0],
    "CR, odd lengths, a time zone": hospital_film(
        {
            0x00080016: (b"UI", b"1.2.840.10008.5.1.4.1.1.1"),
            0x00080060: (b"CS", b"CR"),
            0x00080201: (b"SH", b"-0500"),
            0x0020000D: (b"UI", b"1.22"),
            0x00280301: (b"CS", b"YES"),
        }
    ),
}
_PIXELS, _RATIO = 0x7FE00010, 0x00282112
_TIMES = ("lease_until", "not_before", "found_at", "fetched_at", "made_at", "stored_at", "done_at")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _data_set(content: bytes) -> bytes:
    """The data set of a DICOM file: its meta information names the version of highdicom."""
    return content[144 + struct.unpack_from("<I", content, 140)[0] :]


def made_results() -> dict[str, Any]:
    """Digests by film and finding; `picture` is the whole object, which depends on the version of Pillow."""
    told = {}
    for film_name, film in FILMS.items():
        for name, found in FINDINGS.items():
            report, picture = make_results(film, found, writer(), made_at=MADE_AT)
            around = pydicom.dcmread(BytesIO(picture.content))
            del around[_PIXELS], around[_RATIO]
            buffer = BytesIO()
            around.save_as(buffer)
            told[f"{film_name}: {name}"] = {
                "report": _sha256(_data_set(report.content)),
                "picture without pixels": _sha256(_data_set(buffer.getvalue())),
                "picture": _sha256(_data_set(picture.content)),
                "fhir": _sha256(fhir_bundle(film, found, writer(), made_at=MADE_AT)),
                "uids": [report.sop_instance_uid, report.series_instance_uid, picture.sop_instance_uid, picture.series_instance_uid],
            }  # fmt: skip
    return told


def queue_rows(folder: Path, address: str = "") -> dict[str, Any]:
    """The rows after each thing that can be done with them, without what is empty; of a time only whether there is one."""
    told: dict[str, Any] = {}
    with closing(open_queue(folder, address)) as queue:

        def note(what: str) -> None:
            rows = [asdict(row) for row in queue.jobs()]
            rows = [row | {name: bool(row[name]) for name in _TIMES} for row in rows]
            told[what] = [{name: value for name, value in row.items() if value} for row in rows]

        queue.add([replace(_ARRIVAL, sop_instance_uid=f"1.2.{n}") for n in range(3)], ("mark", "7"))
        note("found")
        job, alone = queue.claim_several("here", 60, 2)
        note("claimed")
        queue.give_back(alone, code="pacs.answer", seconds=30, used=True)
        note("given back")
        job = queue.advance(
            job, State.FETCHED, host="here", spool="a", stored_sha256="11", pixels_sha256="22"
        )
        note("fetched")
        job = queue.stamp(job)
        read = {
            "label": "NORMAL",
            "probability": 0.125,
            "threshold": 0.5,
            "operating_point": "balanced",
            "warnings": "a;b",
        }
        job = queue.advance(job, State.MADE, **read, report_uid="2.25.1", picture_uid="2.25.2")  # type: ignore[arg-type]
        note("made")
        (stored,) = queue.advance_all([job], State.STORED)
        note("stored")
        queue.advance_all([stored], State.DONE)  # type: ignore[list-item]
        note("done")
        last = queue.claim("here", 60)
        assert last is not None
        queue.advance(last, State.PARKED, code="film.crash")
        note("parked")
        queue.retry(None)
        note("retried")
        queue.park([last.id], "by_hand")
        note("parked by hand")
        held = {"host": "here", "spool": "b"}
        sent = replace(_ARRIVAL, sop_instance_uid="1.3", source="c-store")
        told["answers"] = [
            str(queue.receive(sent, pixels_sha256="33", **held)),
            str(queue.receive(sent, pixels_sha256="33", **held)),
            str(queue.receive(sent, pixels_sha256="44", **held)),
            str(queue.receive(sent, pixels_sha256="", stored_sha256="55", **held)),
            str(
                queue.receive(
                    replace(sent, sop_instance_uid="1.4"), pixels_sha256="66", code="film.view", **held
                )
            ),
        ]
        note("received")
        told["counts"] = {str(state): n for state, n in queue.counts().items()}
        told["codes"] = {f"{state}({code})": n for (state, code), n in queue.codes().items()}
        told["mark"] = queue.mark("mark")
    return told


_ARRIVAL = Arrival("1.2", "1.1", "1.1.1", study_date="20260304", accession_number="ACC77", device="Maker One")


def commands(folder: Path) -> dict[str, Any]:
    """The commands with their options, and the exit codes of calls that fail."""
    group = app.get_command(None, "node")  # type: ignore[arg-type]
    listed = {
        name: sorted("/".join([*one.opts, *one.secondary_opts]) for one in command.params)
        for name, command in sorted(group.commands.items())  # type: ignore[union-attr]
    }
    config = folder / "node.toml"
    config.write_text('[pacs]\nurl = "http://127.0.0.1:9/dicom-web"\n', encoding="utf-8")
    (folder / "bad.toml").write_text("[node]\nworkers = 0\n", encoding="utf-8")
    calls = (
        ("status",), ("list", "--state", "parked"), ("list", "--state", "lost"), ("watch",), ("metrics",), ("init",),
        ("retry",), ("retry", "--all"), ("park", "5"), ("run", "--roles", "sleep"), ("drain",),
        ("sweep", "--since", "2026-01-02", "--until", "2026-01-01"), ("sweep", "--since", "2026-01-01"),
    )  # fmt: skip
    codes = {" ".join(call): _exit_code(*call, "--config", str(config)) for call in calls}
    codes |= {
        f"{name}, illegal settings": _exit_code(name, "--config", str(folder / "bad.toml"))
        for name in ("run", "status")
    }
    codes["status, no settings"] = _exit_code("status", "--config", str(folder / "absent.toml"))
    return {"commands": listed, "exit codes": codes}


def _exit_code(*words: str) -> int:
    done = CliRunner().invoke(app, ["node", *words])
    return int(getattr(done.exception, "exit_code", done.exit_code))


@pytest.fixture(scope="module")
def goldens() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDENS.read_text(encoding="utf-8"))
    return found


def test_results_are_the_same_bytes(goldens: dict[str, Any]) -> None:
    made = made_results()
    if goldens["Pillow"] != PIL.__version__:
        for one in (*made.values(), *goldens["results"].values()):
            del one["picture"]
    assert made == goldens["results"]


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_rows_of_the_queue_are_the_same(
    database: str, goldens: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue("postgres") if database == "postgres" else ""
    assert queue_rows(tmp_path, address) == goldens["queue"]


def test_commands_and_exit_codes_are_the_same(goldens: dict[str, Any], tmp_path: Path) -> None:
    assert commands(tmp_path) == goldens["cli"]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        told = {
            "Pillow": PIL.__version__,
            "results": made_results(),
            "queue": queue_rows(Path(one)),
            "cli": commands(Path(two)),
        }
    text = json.dumps(told, indent=1)
    # One line for each row, and for each list of names.
    text = re.sub(r"[\[{][^\[\]{}]*[\]}]", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
    GOLDENS.write_text(text + "\n", encoding="utf-8")
