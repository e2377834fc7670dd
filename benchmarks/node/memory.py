"""Resident memory of the node and of its reading processes over thousands of films in live mode.

python -m benchmarks.node.memory --objects 5000 --size 256 --work /tmp/memory
"""

import time
from pathlib import Path
from typing import Any

import running_node

from benchmarks.node import harness
from pneumoscan.bundle.contents import pretrained_bundle

_TENTHS = 10
# From the second tenth on: model, connections and buffers are there by then.
_FIRST = 2
_MOST_GROWTH_MB = 20.0


def main() -> None:
    """Run it."""
    options = harness.parser(__doc__ or "", 5000).parse_args()
    server = harness.filled_orthanc(options)
    text = running_node.live(server.dicomweb).replace("every_seconds = 1\n", "every_seconds = 30\n")
    node = running_node.Node(options.work / "node", text, pretrained_bundle())
    with harness.ended(server, nodes=[node]):
        begun = time.monotonic()
        node.start()
        tenths = [_memory(node, options.objects * tenth // _TENTHS) for tenth in range(1, _TENTHS + 1)]
        node.wait(options.objects, 24 * 3600)
        seconds = time.monotonic() - begun
        node.stop()
        figures: dict[str, Any] = harness.count(server, [node], options.objects)
    growth = {who: round(tenths[-1][who] - tenths[_FIRST - 1][who], 1) for who in tenths[0]}
    figures |= {
        "size": options.size,
        "seconds": round(seconds, 1),
        "memory_mb_at_each_tenth": tenths,
        "growth_mb_from_the_second_tenth": growth,
    }
    harness.write(
        "memory", figures, options, figures["each_once"] and max(growth.values()) <= _MOST_GROWTH_MB
    )


def _memory(node: Any, objects: int) -> dict[str, float]:
    """Wait until so many objects came to an end; return the memory of the node, and the most of a reading process."""
    harness.until(lambda: harness.settled(node) >= objects, 24 * 3600)
    tasks = Path(f"/proc/{node.process.pid}/task")
    readers = [int(one) for task in tasks.iterdir() for one in (task / "children").read_text().split()]
    return {
        "node": round(harness.megabytes(node.process.pid), 1),
        "reader": round(max(map(harness.megabytes, readers), default=0.0), 1),
    }


if __name__ == "__main__":
    main()
