"""A proxy before the PACS answers 401, 409, 429, 500, 503, breaks off before or after the work, dawdles, garbles.

python -m benchmarks.node.faults --objects 100 --share 0.4 --seeds 5 --work /tmp/faults
"""

import time
from contextlib import closing

import faulty_proxy
import running_node

from benchmarks.node import harness


def main() -> None:
    """Run it."""
    line = harness.parser(__doc__ or "", 100)
    line.add_argument("--share", type=float, default=0.4, help="of requests that meet a fault")
    line.add_argument("--seeds", type=int, default=5)
    options = line.parse_args()
    runs = [_run(options, seed) for seed in range(options.seeds)]
    harness.write("faults", {"share": options.share, "runs": runs}, options, all(map(harness.holds, runs)))


def _run(options, seed: int) -> dict[str, object]:
    server = harness.filled_orthanc(options)
    proxy = faulty_proxy.FaultyProxy(server.dicomweb, share=options.share, seed=seed)
    text = running_node.live(proxy.url, node="max_attempts = 50").replace(
        "[find]", "transfer_seconds = 2\n[find]"
    )
    node = running_node.Node(options.work / "node", text, harness.tiny_model(options))
    with harness.ended(server, nodes=[node]), closing(proxy):
        begun = time.monotonic()
        node.start()
        node.wait(options.objects, 24 * 3600)
        seconds = time.monotonic() - begun
        node.stop()
        figures = harness.count(server, [node], options.objects)
    faults = {str(fault): times for fault, times in proxy.done.items()}
    return figures | {"seed": seed, "seconds": round(seconds, 1), "requests": faults}


if __name__ == "__main__":
    main()
