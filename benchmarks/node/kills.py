"""Kill the node at random instants, and stop its PACS, while it works; then lose its queue and let it run once more.

python -m benchmarks.node.kills --objects 2000 --kills 50 --pacs-stops 3 --work /tmp/kills
"""

import random
import shutil
import time

import running_node

from benchmarks.node import harness


def main() -> None:
    """Run it."""
    line = harness.parser(__doc__ or "", 2000)
    line.add_argument("--kills", type=int, default=50)
    line.add_argument("--pacs-stops", type=int, default=3)
    line.add_argument("--seed", type=int, default=0)
    options = line.parse_args()
    rng = random.Random(options.seed)
    server = harness.filled_orthanc(options)
    text = running_node.live(server.dicomweb, node="max_attempts = 20")
    node = running_node.Node(options.work / "node", text, harness.tiny_model(options))
    begun = time.monotonic()
    with harness.ended(server, nodes=[node]):
        killed, stopped, whole = _harm(node, server, options, rng)
        node.wait(options.objects, 24 * 3600, restart=True)
        node.stop()
        seconds = time.monotonic() - begun
        figures = harness.count(server, [node], options.objects) | {
            "kills": killed, "pacs_stops": stopped, "integrity_checks_ok": whole, "seconds": round(seconds, 1),
        }  # fmt: skip
        figures["lost_queue"] = _lose_queue(node, server, options)
    passed = harness.holds(figures) and whole == killed and figures["lost_queue"]["pacs_unchanged"]
    harness.write("kills", figures, options, passed)


def _harm(node, server, options, rng) -> tuple[int, int, int]:
    """Kill and stop at instants that are spread over the work; return how often each was done, and how often the queue was whole."""
    instants = sorted(rng.sample(range(options.objects), options.kills))
    stops = set(rng.sample(range(1, options.kills), min(options.pacs_stops, options.kills - 1)))
    whole = 0
    for number, instant in enumerate(instants):
        node.start()
        harness.until(lambda instant=instant: harness.settled(node) >= instant and _begun(node), 3600)
        time.sleep(rng.uniform(0, 0.3))
        if number in stops:
            server.stop(kill=True)
            time.sleep(rng.uniform(0, 2))
        node.kill()
        whole += running_node.whole(node.folder) == "ok"
        if number in stops:
            server.start()
    node.start()
    return len(instants), len(stops), whole


def _begun(node) -> bool:
    return any(job.lease_until for job in node.jobs())


def _lose_queue(node, server, options) -> dict[str, object]:
    before = {uid: server.file(tags["ID"]) for uid, tags in server.instances().items()}
    shutil.rmtree(node.folder / "data")
    node.start()
    node.wait(options.objects, 24 * 3600)
    node.stop()
    after = {uid: server.file(tags["ID"]) for uid, tags in server.instances().items()}
    return {"objects_before": len(before), "objects_after": len(after), "pacs_unchanged": before == after}


if __name__ == "__main__":
    main()
