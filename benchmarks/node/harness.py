"""What the node's benchmarks share: a PACS full of films, a node beside it, and the count of what lies there afterwards."""

import argparse
import hashlib
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import node_films
import numpy as np
import orthanc_server
import running_node
import tiny_bundle
import tiny_lungs

from benchmarks.record import RESULTS, command
from pneumoscan.node.queue import WAITING

PER_STUDY = 4
# One in ten has nothing to read: a lateral view, a knee, a cut-off picture in turn.
EVERY = 10


def parser(description: str, objects: int) -> argparse.ArgumentParser:
    """Return the options that each has."""
    line = argparse.ArgumentParser(description=description)
    line.add_argument("--objects", type=int, default=objects)
    line.add_argument("--size", type=int, default=96, help="side of a film in pixels")
    line.add_argument("--work", type=Path, required=True, help="a new folder for PACS and node")
    line.add_argument("--out", type=Path, default=RESULTS)
    return line


def is_readable(number: int) -> bool:
    """Tell whether a film has something to read."""
    return number % EVERY != EVERY - 1


def chest(number: int) -> Any:
    """Return a drawn chest in 12 bits, in which `outlining_model` finds regions."""
    return np.roll(tiny_lungs.draw_chest().astype(np.uint16) * 15, number % 9, 1)


def film(number: int, pixels: Any = None, size: int = 96) -> bytes:
    """Return the bytes of a film, or of one that has nothing to read.

    Args:
        number: Of the film.
        pixels: uint16 (height, width) in 12 bits; by default a gradient.
        size: Side of the gradient.
    """
    wrong: list[dict[str, Any]] = [{"ViewPosition": "LL"}, {"BodyPartExamined": "KNEE"}, {"Rows": 9000}]
    header = {} if is_readable(number) else wrong[number // EVERY % len(wrong)]
    return node_films.film(number, studies=PER_STUDY, size=(size, max(32, size - 6)), pixels=pixels, **header)


def empty(folder: Path) -> None:
    """Make a folder, or empty it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def filled_orthanc(options: argparse.Namespace, pixels: Callable[[int], Any] | None = None) -> Any:
    """Return an Orthanc that holds the films, with what `pixels` returns for their numbers."""
    empty(options.work)
    server = orthanc_server.Orthanc(options.work / "orthanc")
    for number in range(options.objects):
        server.send(film(number, pixels(number) if pixels else None, options.size))
    return server


@contextmanager
def ended(*servers: Any, nodes: Sequence[Any]) -> Iterator[None]:
    """Kill nodes and stop servers, in this order, when a block ends."""
    try:
        yield
    finally:
        for node in nodes:
            node.kill()
        for server in servers:
            server.stop()


def settled(node: Any) -> int:
    """Return how many objects came to an end."""
    return sum(number for state, number in node.counts().items() if state not in WAITING)


def tiny_model(options: argparse.Namespace) -> Path:
    """Return a tiny model: what is measured with it is not the network."""
    folder = options.work / "bundle"
    tiny_bundle.write_tiny_bundle(folder)
    return folder


def outlining_model(options: argparse.Namespace) -> Path:
    """Return a tiny model that finds regions on every drawn chest."""
    point = {"threshold": 0.01, "source": "fixed", "n": 10, "n_positive": 5}
    return tiny_lungs.write_lungs_bundle(
        options.work / "bundle", regions=tiny_lungs.REGIONS_RECORD, thresholds={"balanced": point}
    )


def count(server: Any, nodes: list[Any], objects: int, *, outlines: bool = False) -> dict[str, Any]:
    """Return what lies in the PACS, and how it agrees with the queue; with `outlines`, presentation states belong to it."""
    wanted = {node_films.sop(number) for number in range(objects) if is_readable(number)}
    found = running_node.results_of(server)
    jobs = {job.sop_instance_uid: job for job in nodes[0].jobs(state="done")}
    kinds = {"SR": "report", "OT": "picture"} | ({"PR": "state"} if outlines else {})
    unequal = sum(
        hashlib.sha256(server.file(told["ID"])).hexdigest() != getattr(jobs[uid], f"{kind}_sha256")
        for uid, results in found.items()
        for modality, kind in kinds.items()
        for told in results.get(modality, [])
        if uid in jobs
    )
    figures = {
        "objects": objects,
        "readable": len(wanted),
        "with_all_results" if outlines else "with_report_and_picture": sum(
            set(results) == set(kinds) for results in found.values()
        ),
        "missing": len(wanted - set(found)),
        "for_others": len(set(found) - wanted),
        "double": sum(len(one) - 1 for results in found.values() for one in results.values()),
        "other_bytes_than_recorded": unequal,
        "states": {str(state): number for state, number in nodes[0].counts().items() if number},
        "files_left_in_spool": sum(len(list((node.folder / "data" / "spool").iterdir())) for node in nodes),
    }
    return figures | {"each_once": holds(figures)}


def holds(figures: dict[str, Any]) -> bool:
    """Tell whether each readable film has one of each result, and nothing else has any."""
    wrong = ("missing", "for_others", "double", "other_bytes_than_recorded", "files_left_in_spool")
    whole = figures.get("with_all_results", figures.get("with_report_and_picture"))
    return whole == figures["readable"] and not any(figures[name] for name in wrong)


def write(name: str, figures: dict[str, Any], options: argparse.Namespace, passed: bool) -> None:
    """Write and print a record."""
    record = {
        "benchmark": f"node.{name}",
        "command": command(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"python": platform.python_version(), "system": platform.platform()},
        "bar_holds": passed,
        **figures,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2) + "\n"
    (options.out / f"node_{name}.json").write_text(text, encoding="utf-8")
    print(text)


def megabytes(pid: int) -> float:
    """Return the resident memory of a process in MiB; 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * 4096 / (1 << 20)


def until(holds: Any, seconds: float) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)
