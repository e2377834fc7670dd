"""Two nodes with one queue in PostgreSQL; one of them is killed half-way, and not started again.

python -m benchmarks.node.hosts --objects 2000 --work /tmp/hosts
"""

import tempfile
import time
from pathlib import Path

import postgres_server
import running_node

from benchmarks.node import harness


def main() -> None:
    """Run it."""
    options = harness.parser(__doc__ or "", 2000).parse_args()
    server = harness.filled_orthanc(options)
    with tempfile.TemporaryDirectory(prefix="pneumoscan-postgres-", ignore_cleanup_errors=True) as folder:
        database = postgres_server.Server(Path(folder))
        nodes = [_node(options, server, database, name) for name in ("one", "two")]
        begun = time.monotonic()
        with harness.ended(database, server, nodes=nodes):
            for node in nodes:
                node.start()
            harness.until(lambda: harness.settled(nodes[0]) >= options.objects // 2, 24 * 3600)
            nodes[1].kill()
            nodes[0].wait(options.objects, 24 * 3600)
            seconds = time.monotonic() - begun
            nodes[0].stop()
            by_host: dict[str, int] = {}
            for job in nodes[0].jobs(state="done"):
                by_host[job.host] = by_host.get(job.host, 0) + 1
            figures = harness.count(server, nodes[:1], options.objects) | {
                "read_by_host": by_host, "seconds": round(seconds, 1), "workers": 4,
            }  # fmt: skip
    harness.write("hosts", figures, options, harness.holds(figures) and len(by_host) == 2)


def _node(options, server, database, name: str):
    text = running_node.live(server.dicomweb, node="lease_seconds = 30").replace('"tested"', f'"{name}"')
    text += f'[queue]\npostgres = "{database.address}"\n'
    node = running_node.Node(options.work / name, text, harness.tiny_model(options))
    node.address = database.address
    return node


if __name__ == "__main__":
    main()
