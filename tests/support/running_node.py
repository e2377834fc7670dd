"""A node in a process of its own, as a hospital runs it, and what is to be asked of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pneumoscan.node.queue import WAITING, State, open_queue
from pneumoscan.node.queue.databases import SqliteDatabase

COMMAND = [sys.executable, "-m", "pneumoscan", "node"]


class Node:
    """A folder with a node.toml and a bundle in it, and the process that runs it.

    Attributes:
        log: What it has said.
        temporary: Where its temporary files lie.
    """

    def __init__(self, folder: Path, toml: str, bundle: Path | str = "") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "node.toml"
        self.config.write_text(toml.replace("@bundle", str(bundle)), encoding="utf-8")
        self.log = folder / "node.log"
        self.process: subprocess.Popen | None = None
        self.address = ""
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)

    def start(self, *words: str) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "run", "--config", str(self.config), *words],
                stdout=log,
                stderr=log,
                process_group=0,
                env=os.environ | {"TMPDIR": str(self.temporary)},
            )

    def kill(self) -> None:
        """Kill it and its workers at once, as a power cut would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self, seconds: float = 60) -> int:
        """Ask it to end; return its exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def command(self, *words: str) -> subprocess.CompletedProcess:
        command = [*COMMAND, *words, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def jobs(self, **where):
        queue = open_queue(self.folder / "data", self.address)
        try:
            return list(queue.jobs(where=where))
        finally:
            queue.close()

    def counts(self):
        queue = open_queue(self.folder / "data", self.address)
        try:
            return queue.counts()
        finally:
            queue.close()

    def wait(self, found: int, seconds: float = 240, *, restart: bool = False) -> dict[State, int]:
        """Wait until so many objects came to their end."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            counts = self.counts()
            if sum(counts.values()) >= found and not any(counts[state] for state in WAITING):
                return counts
            if self.process is not None and self.process.poll() is not None:
                if not restart:
                    raise AssertionError(f"the node ended: {self.log.read_text()[-3000:]}")
                self.start()
            time.sleep(0.2)
        raise AssertionError(f"still waiting: {self.counts()}\n{self.log.read_text()[-3000:]}")


def live(pacs: str, extra: str = "", node: str = "") -> str:
    """The text of a node.toml in live mode that looks every second."""
    return (
        f'[node]\nname = "tested"\nmode = "live"\nmodel = "@bundle"\nmin_free_mb = 1\n{node}\n'
        f'[pacs]\nurl = "{pacs}"\n[find]\nevery_seconds = 1\nsweep_days = 0\n{extra}\n'
    )


def whole(folder: Path) -> str:
    """What SQLite says of the queue."""
    database = SqliteDatabase(folder / "data" / "queue.sqlite")
    try:
        return database.integrity()
    finally:
        database.close()


def results_of(orthanc) -> dict[str, dict[str, list[dict]]]:
    """The results in a PACS: by the SOP instance UID of their film, by modality."""
    found: dict[str, dict[str, list[dict]]] = {}
    for tags in orthanc.instances().values():
        if tags["Modality"] not in {"SR", "OT", "PR"}:
            continue
        film = _source(tags)
        found.setdefault(film, {}).setdefault(tags["Modality"], []).append(tags)
    return found


def _source(tags: dict) -> str:
    if tags["Modality"] == "OT":
        return tags["SourceImageSequence"][0]["ReferencedSOPInstanceUID"]
    if tags["Modality"] == "PR":
        return tags["ReferencedSeriesSequence"][0]["ReferencedImageSequence"][0]["ReferencedSOPInstanceUID"]
    (study,) = tags["CurrentRequestedProcedureEvidenceSequence"]
    return study["ReferencedSeriesSequence"][0]["ReferencedSOPSequence"][0]["ReferencedSOPInstanceUID"]
