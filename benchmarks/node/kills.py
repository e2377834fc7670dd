"""Kill the node at random instants, and stop its PACS, while it works; then lose its queue and let it run once more.

python -m benchmarks.node.kills --objects 2000 --kills 50 --pacs-stops 3 --work /tmp/kills

With --push, results are also pushed to an HL7 and to a FHIR receiver that lose answers and refuse messages. With --everything,
they also have regions and presentation states, and a reader judges every film, again and again, in a process that is killed too.
"""

import multiprocessing
import random
import shutil
import time
import uuid
from contextlib import ExitStack
from typing import Any

import running_node

from benchmarks.node import harness
from pneumoscan.node.audit import verify
from pneumoscan.node.config import load_config
from pneumoscan.node.desk import VerdictBook
from pneumoscan.node.queue import open_queue
from pneumoscan.node.results import message_id


def main() -> None:
    """Run it."""
    line = harness.parser(__doc__ or "", 2000)
    line.add_argument("--kills", type=int, default=50)
    line.add_argument("--pacs-stops", type=int, default=3)
    line.add_argument("--seed", type=int, default=0)
    line.add_argument("--push", action="store_true", help="push results too")
    line.add_argument(
        "--everything", action="store_true", help="push results, outline regions, keep verdicts"
    )
    options = line.parse_args()
    rng = random.Random(options.seed)
    everything = options.everything
    server = harness.filled_orthanc(options, *([harness.chest] if everything else []))
    stack = ExitStack()
    receivers = _receivers(stack) if options.push or everything else None
    settings = "max_attempts = 20\n" + ("outlines = true" if everything else "")
    text = running_node.live(server.dicomweb, receivers["settings"] if receivers else "", node=settings)
    model = harness.outlining_model(options) if everything else harness.tiny_model(options)
    node = running_node.Node(options.work / "node", text, model)
    begun = time.monotonic()
    with stack, harness.ended(server, nodes=[node]):
        killed, stopped, whole = _harm(node, server, options, rng)
        node.wait(options.objects, 24 * 3600, restart=True)
        if receivers:
            harness.until(lambda: not _unpushed(node), 3600)
        node.stop()
        seconds = time.monotonic() - begun
        figures = harness.count(server, [node], options.objects, outlines=everything) | {
            "kills": killed, "pacs_stops": stopped, "integrity_checks_ok": whole, "seconds": round(seconds, 1),
        }  # fmt: skip
        if receivers:
            figures["pushes"] = _pushed(node, receivers)
        if everything:
            figures["verdicts"] = _verdicts(node)
        figures["lost_queue"] = _lose_queue(node, server, options)
    passed = harness.holds(figures) and whole == killed and figures["lost_queue"]["pacs_unchanged"]
    passed = passed and (not receivers or figures["pushes"]["each_once"])
    passed = passed and (not everything or figures["verdicts"]["each_once"])
    name = "kills_everything" if everything else "kills_push" if receivers else "kills"
    harness.write(name, figures, options, passed)


def _receivers(stack: ExitStack) -> dict[str, Any]:
    """Start receivers that lose one answer in five and refuse others; return them and the settings that push to them."""
    import push_receivers

    hl7 = push_receivers.Hl7Receiver(lambda number, _: {1: "lost", 3: "AE"}.get(number % 5, "AA"))
    fhir = push_receivers.FhirReceiver(lambda number: (200, "lost", 503, 200, 500)[number % 5])
    stack.callback(hl7.close)
    stack.callback(fhir.close)
    settings = f'[fhir]\nurl = "{fhir.url}"\n[hl7]\naddress = "127.0.0.1:{hl7.port}"\n'
    return {"hl7": hl7, "fhir": fhir, "settings": settings}


def _unpushed(node: Any) -> int:
    queue = open_queue(node.folder / "data")
    try:
        return queue.pushes.waiting(("fhir", "hl7"))
    finally:
        queue.close()


def _pushed(node: Any, receivers: dict[str, Any]) -> dict[str, Any]:
    """Return what the receivers have, and whether it is each result once."""
    reports = {job.report_uid for job in node.jobs(state="done")}
    hl7, fhir = receivers["hl7"], receivers["fhir"]
    created = [uid.removeprefix("urn:oid:") for kind, uid in fhir.created if kind == "DiagnosticReport"]
    figures = {
        "hl7_messages": len(hl7.texts),
        "hl7_deliveries": sum(hl7.came.values()),
        "hl7_changed_when_sent_again": len(hl7.changed),
        "fhir_reports": len(created),
        "fhir_deliveries": sum(fhir.came.values()),
    }
    expected = {message_id(uid) for uid in reports}
    once = set(hl7.texts) == expected and set(created) == reports and not hl7.changed
    return figures | {"each_once": once}


def _judge(node: Any, kill_after: float | None = None) -> None:
    """Let a reader judge all films that were read, each with the same identifier as before; kill the reader half-way, if asked."""
    reader = multiprocessing.get_context("fork").Process(target=_judge_all, args=(node,))
    reader.start()
    reader.join(kill_after)
    reader.kill()
    reader.join()


def _judge_all(node: Any) -> None:
    book = VerdictBook(load_config(node.config))
    queue = open_queue(node.folder / "data")
    for job in node.jobs(state="done"):
        identifier = str(uuid.uuid5(uuid.NAMESPACE_OID, job.sop_instance_uid))
        said = {"object": job.id, "reader": "AB", "verdict": "disagree", "note": "", "id": identifier}
        book.add(queue, said | {"time": "2026-03-01T09:30:00.000Z"})


def _verdicts(node: Any) -> dict[str, Any]:
    """Let the reader judge all once more; return what is kept, and whether it is each film once in an unbroken chain."""
    _judge(node)
    book = VerdictBook(load_config(node.config))
    kept = [one.object for one in book.all()]
    figures = {"kept": len(kept), "lines_of_the_chain": verify(book.path)}
    return figures | {"each_once": sorted(kept) == sorted(job.id for job in node.jobs(state="done"))}


def _harm(node, server, options, rng) -> tuple[int, int, int]:
    """Kill and stop at instants that are spread over the work; return how often each was done, and how often the queue was whole."""
    instants = sorted(rng.sample(range(options.objects), options.kills))
    stops = set(rng.sample(range(1, options.kills), min(options.pacs_stops, options.kills - 1)))
    whole = 0
    for number, instant in enumerate(instants):
        node.start()
        harness.until(
            lambda instant=instant: harness.settled(node) >= instant and _begun(node, options), 3600
        )
        time.sleep(rng.uniform(0, 0.3))
        if number in stops:
            server.stop(kill=True)
            time.sleep(rng.uniform(0, 2))
        node.kill()
        if options.everything:
            _judge(node, kill_after=rng.uniform(0, 0.2))
        whole += running_node.whole(node.folder) == "ok"
        if number in stops:
            server.start()
    node.start()
    return len(instants), len(stops), whole


def _begun(node, options) -> bool:
    """Tell whether the node works on something, or has nothing left to work on."""
    return any(job.lease_until for job in node.jobs()) or harness.settled(node) >= options.objects


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
