"""Seconds from a film's arrival to its two results in the PACS, in an idle node: found by query each second, and received by C-STORE.

python -m benchmarks.node.latency --rounds 20 --work /tmp/latency
"""

import statistics
import time
from io import BytesIO

import node_films
import orthanc_server
import pydicom
import running_node
from pynetdicom import AE

from benchmarks.node import harness
from pneumoscan.bundle.contents import pretrained_bundle


def main() -> None:
    """Run it."""
    line = harness.parser(__doc__ or "", 0)
    line.add_argument("--rounds", type=int, default=20)
    options = line.parse_args()
    server = harness.filled_orthanc(options)
    port = orthanc_server.free_port()
    extra = f'[receive]\nport = {port}\n[[receive.allow]]\nae = "BENCH"\naddress = "127.0.0.1"'
    roles = 'roles = ["find", "receive", "work"]\n'
    node = running_node.Node(
        options.work / "node", roles + running_node.live(server.dicomweb, extra), pretrained_bundle()
    )
    with harness.ended(server, nodes=[node]):
        node.start()
        _arrive(server, node, port, 0, by_store=False)
        seconds: dict[str, list[float]] = {"query": [], "c_store": []}
        for number in range(1, 2 * options.rounds + 1):
            way = "c_store" if number % 2 else "query"
            seconds[way].append(_arrive(server, node, port, number, by_store=number % 2 == 1))
        node.stop()
    figures = {
        way: {"median": round(statistics.median(one), 3), "most": round(max(one), 3)}
        for way, one in seconds.items()
    }
    passed = figures["query"]["median"] <= 3 and figures["c_store"]["median"] <= 1
    harness.write("latency", {"rounds": options.rounds, "seconds": figures}, options, passed)


def _arrive(server, node, port: int, number: int, *, by_store: bool) -> float:
    content = node_films.film(number, size=(1024, 1000))
    begun = time.monotonic()
    if by_store:
        # As a modality does: to the node, and to the PACS.
        entity = AE("BENCH")
        dataset = pydicom.dcmread(BytesIO(content))
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", port, ae_title="PNEUMOSCAN")
        assert association.send_c_store(dataset).Status == 0
        association.release()
    else:
        server.send(content)
    uid = node_films.sop(number)
    harness.until(lambda: any(job.state == "done" for job in node.jobs(sop_instance_uid=uid)), 120)
    return time.monotonic() - begun


if __name__ == "__main__":
    main()
