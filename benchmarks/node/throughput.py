"""Films a second of the node in live mode, with Orthanc on the same cores, beside `pneumoscan predict` on the same files.

The films are synthetic chests as DX objects of 12 bits, so that evidence is drawn as for real ones. CPU seconds of each
process say where the time goes, and what no node could save: reading, and what Orthanc needs to store two objects. The
first fifth of the films is left out of both, and with it what is loaded or made once.

python -m benchmarks.node.throughput --objects 600 --sizes 1024 2500 --work /tmp/throughput
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import orthanc_server
import running_node
from PIL import Image

from benchmarks.node import harness
from pneumoscan.bundle.contents import pretrained_bundle
from pneumoscan.node.queue import WAITING
from pneumoscan.phantom import plan_phantom_set

_SIDE = 1024
_BYTES = 1 << 30


def main() -> None:
    """Run it."""
    line = harness.parser(__doc__ or "", 600)
    line.add_argument("--sizes", type=int, nargs="+", default=[1024, 2500], help="sides of films in pixels")
    options = line.parse_args()
    harness.empty(options.work)
    films = plan_phantom_set(patients=24, seed=0, side=_SIDE)
    chests = [Image.fromarray(film.draw().pixels).convert("L") for film in films]
    runs = [_run(options, chests, size) for size in options.sizes]
    bar_holds = all(run["count"]["each_once"] and run["share_of_predict"] >= 0.6 for run in runs)
    harness.write("throughput", {"runs": runs}, options, bar_holds)


def _run(options: Any, chests: list[Image.Image], size: int) -> dict[str, Any]:
    # Large films are fewer: all of them lie in the page cache, for the node as for `predict`.
    objects = min(options.objects, _BYTES // (2 * size * size))
    films = options.work / f"films-{size}"
    films.mkdir()
    for number in range(objects):
        (films / f"{number}.dcm").write_bytes(_film(chests, number, size))
    server = orthanc_server.Orthanc(options.work / f"orthanc-{size}")
    node = running_node.Node(
        options.work / f"node-{size}",
        running_node.live(server.dicomweb).replace("every_seconds = 1\n", "every_seconds = 30\n"),
        pretrained_bundle(),
    )
    with harness.ended(server, nodes=[node]):
        for path in films.iterdir():
            server.send(path.read_bytes())
        figures = _node_run(node, server, objects)
        count = harness.count(server, [node], objects)
    predict = _predict(films, options.work / f"rows-{size}.csv")
    return {
        "size": size,
        "objects": objects,
        "share_of_predict": round(figures["films_per_second"] / predict["films_per_second"], 3),
        "share_of_predict_by_cpu": round(predict["cpu_ms_per_film"] / figures["cpu_ms_per_film"]["all"], 3),
        "node": figures,
        "count": count,
        "predict": predict,
    }


def _film(chests: list[Image.Image], number: int, size: int) -> bytes:
    """Return a chest, shifted a little and with noise of its own, or an object that has nothing to read."""
    chest = chests[number % len(chests)]
    height = round(size * chest.height / chest.width)
    rng = np.random.default_rng(number)
    pixels = 15 * np.asarray(chest.resize((size, height), Image.Resampling.BICUBIC), np.uint16)
    pixels = np.roll(pixels, int(rng.integers(-9, 10)), 1) + rng.integers(0, 60, pixels.shape, np.uint16)
    return harness.film(number, pixels)


def _node_run(node: Any, server: Any, objects: int) -> dict[str, Any]:
    """Run the node until all is done; return wall and CPU seconds."""
    node.start()
    harness.until(lambda: harness.settled(node) >= objects // 5, 600)
    first, begun = harness.settled(node), time.monotonic()
    before = _cpu(node.process.pid), _cpu(server.process.pid)
    memory = []
    while sum(node.counts()[state] for state in WAITING) or sum(node.counts().values()) < objects:
        memory.append(harness.megabytes(node.process.pid))
        time.sleep(0.25)
    seconds = time.monotonic() - begun
    after = _cpu(node.process.pid), _cpu(server.process.pid)
    node.stop()
    (main, readers), (orthanc, _) = (
        [late - early for late, early in zip(one, other, strict=True)]
        for one, other in zip(after, before, strict=True)
    )
    films = objects - first
    return {
        "films_per_second": round(films / seconds, 2),
        "cpu_ms_per_film": {
            "node": round(1e3 * main / films, 1),
            "its_readers": round(1e3 * readers / films, 1),
            "orthanc": round(1e3 * orthanc / films, 1),
            "all": round(1e3 * (main + readers + orthanc) / films, 1),
        },
        "node_memory_mb_most": round(max(memory), 1),
    }


def _predict(films: Path, out: Path) -> dict[str, Any]:
    """Return the speed of `pneumoscan predict` on the same files: all of them, less what the first fifth takes alone."""
    paths = sorted(films.iterdir())
    fifth = films.with_name(f"{films.name}-fifth")
    fifth.mkdir()
    for path in paths[: len(paths) // 5]:
        (fifth / path.name).symlink_to(path)
    (seconds, cpu), (less, less_cpu) = _timed(films, out), _timed(fifth, out)
    count = len(paths) - len(paths) // 5
    return {
        "films_per_second": round(count / (seconds - less), 2),
        "cpu_ms_per_film": round(1e3 * (cpu - less_cpu) / count, 1),
        "seconds_of_all": round(seconds, 2),
        "seconds_of_a_fifth": round(less, 2),
    }


def _timed(films: Path, out: Path) -> tuple[float, float]:
    """Return wall and CPU seconds of `predict` on a folder."""
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pneumoscan", "predict", str(films), "--workers", "2", "--out", str(out)]
    begun, before = time.monotonic(), os.times()
    subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
    seconds, after = time.monotonic() - begun, os.times()
    user, system = (
        getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system")
    )
    return seconds, user + system


def _cpu(pid: int) -> tuple[float, float]:
    """Return the CPU seconds of a process, and those of its children that run."""
    children = [
        int(one)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for one in (task / "children").read_text().split()
    ]
    return _own(pid), sum(map(_own, children))


def _own(pid: int) -> float:
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
