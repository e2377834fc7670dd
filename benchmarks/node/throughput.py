"""Films a second of the node in live mode, Orthanc on the same cores, beside `pneumoscan predict` on the same files.

python -m benchmarks.node.throughput --objects 300 --size 1024 --work /tmp/throughput
"""

import subprocess
import sys
import time
from pathlib import Path

import running_node

from benchmarks.node import scene
from pneumoscan.inference.pretrained import pretrained_bundle


def main() -> None:
    """Run it."""
    options = scene.parser(__doc__ or "", 300).parse_args()
    server = scene.pacs(options)
    node = running_node.Node(options.work / "node", running_node.live(server.dicomweb), pretrained_bundle())
    memory: list[float] = []
    try:
        node.start()
        scene.until(lambda: sum(node.counts().values()) > 0, 300)
        begun = time.monotonic()
        while sum(node.counts()[state] for state in ("found", "fetched", "made", "stored")):
            memory.append(_megabytes(node.process.pid))
            time.sleep(1)
        node.wait(options.objects, 24 * 3600)
        seconds = time.monotonic() - begun
        node.stop()
        figures = scene.count(server, [node], options)
    finally:
        node.kill()
        server.stop()
    alone = _predict(options)
    tenth = max(1, len(memory) // 10)
    figures |= {
        "node_films_per_second": round(options.objects / seconds, 2),
        "predict_films_per_second": round(options.objects / alone, 2),
        "share_of_predict": round(alone / seconds, 3),
        "node_memory_mb": {"at_10_percent": round(memory[tenth], 1), "at_the_end": round(memory[-1], 1)},
    }
    scene.write("throughput", figures, options, scene.holds(figures) and alone / seconds >= 0.6)


def _predict(options) -> float:
    """Return the seconds of `pneumoscan predict` on the same files, which lie in the page cache."""
    folder = options.work / "films"
    folder.mkdir()
    for number in range(options.objects):
        (folder / f"{number}.dcm").write_bytes(scene.film(number, options.size))
    command = [
        sys.executable,
        "-m",
        "pneumoscan",
        "predict",
        str(folder),
        "--workers",
        "2",
        "--out",
        str(options.work / "rows.csv"),
    ]
    begun = time.monotonic()
    subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
    return time.monotonic() - begun


def _megabytes(pid: int) -> float:
    """Return the resident memory of the node's own process, without its readers."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * 4096 / (1 << 20)


if __name__ == "__main__":
    main()
