"""The node beside a real PACS: each film gets one report and one picture, whatever dies in between."""

import hashlib
import json
import random
import shutil
import threading
import time
import urllib.request
from pathlib import Path

import node_films
import numpy as np
import pydicom
import pytest
import tiny_lungs
from faulty_proxy import FaultyProxy
from node_films import film, sop
from orthanc_server import free_port
from running_node import Node, live, results_of, whole

from pneumoscan.classifier import PneumoniaClassifier
from pneumoscan.node.audit import verify
from pneumoscan.node.queue import State

SLOW_MACHINE = 180.0


@pytest.fixture
def make_node(tmp_path, bundle):
    """Returns a node with the text of its node.toml; its process does not outlive the test."""
    made = []

    def make(toml):
        made.append(Node(tmp_path / "node", toml, bundle))
        return made[-1]

    yield make
    for node in made:
        node.kill()


@pytest.fixture(scope="module")
def lungs(tmp_path_factory):
    """A tiny model that reads lungs, to which every drawn chest shows evidence."""
    record = {"level": 0.02, "source": "drawn", "measured": []}
    point = {"threshold": 0.01, "source": "fixed", "n": 10, "n_positive": 5}
    folder = tmp_path_factory.mktemp("lungs") / "bundle"
    return tiny_lungs.write_lungs_bundle(folder, regions=record, thresholds={"balanced": point})


def filled(orthanc, count, **header):
    for number in range(count):
        orthanc.send(film(number, studies=2, **header))


def filled_with_chests(orthanc, count):
    """Send films whose lungs the tiny model finds; no two are the same."""
    for number in range(count):
        pixels = tiny_lungs.draw_chest().astype(np.uint16) * 16
        pixels[-1, number] = 4095
        orthanc.send(film(number, studies=2, pixels=pixels))


KINDS = {"SR": "report", "OT": "picture", "PR": "state"}


def check_results(orthanc, node, films, modalities=("SR", "OT")):
    """One report and one picture for each film, with the bytes that the queue tells of, and nothing else."""
    found = results_of(orthanc)
    assert set(found) == set(films)
    assert all(len(one) == 1 for results in found.values() for one in results.values())
    assert all(set(results) == set(modalities) for results in found.values())
    jobs = {job.sop_instance_uid: job for job in node.jobs(state="done")}
    for uid, results in found.items():
        for modality, (told,) in results.items():
            kind = KINDS[modality]
            assert told["SOPInstanceUID"] == getattr(jobs[uid], f"{kind}_uid")
            assert hashlib.sha256(orthanc.file(told["ID"])).hexdigest() == getattr(
                jobs[uid], f"{kind}_sha256"
            )


def test_films_get_a_report_and_a_picture_each(orthanc, tmp_path, make_node, bundle):
    filled(orthanc, 4)
    orthanc.send(film(4, ViewPosition="LL"))
    orthanc.send(film(5, Modality="CT"))
    port = free_port()
    node = make_node(live(orthanc.dicomweb, f"[watch]\nmetrics_port = {port}"))
    node.start()
    counts = node.wait(5)
    assert (counts[State.DONE], counts[State.REFUSED]) == (4, 1)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    assert 'pneumoscan_node_objects{state="done"} 4.0' in metrics
    check_results(orthanc, node, [sop(n) for n in range(4)])
    said = json.loads(node.command("status", "--json").stdout)
    assert (said["mode"], said["running_mode"], said["running"]) == ("live", "live", ["find", "work"])
    # They come back in no way: neither by asking again, nor by asking for their modality.
    time.sleep(2.5)
    assert sum(node.counts().values()) == 5
    assert node.stop() == 0
    assert list((tmp_path / "node" / "data" / "spool").iterdir()) == []
    assert verify(tmp_path / "node" / "data" / "audit.jsonl") >= 7
    said = json.loads(node.command("status", "--json").stdout)
    assert (said["found"], said["waiting"], said["codes"]) == (5, 0, {"refused(film.view)": 1})
    assert said["counts"]["done"] == 4
    assert said["running"] == []
    assert node.command("status").stdout.startswith("mode live; the node does not run")

    # The number in the report is that of `predict`, to the digits that a decimal string holds.
    model = PneumoniaClassifier.from_pretrained(bundle)
    for uid, results in results_of(orthanc).items():
        report = pydicom.dcmread(_file(orthanc, results["SR"][0]["ID"]))
        (number,) = list(_numbers(report))
        job = next(job for job in node.jobs(sop_instance_uid=uid))
        truth = float(model.predict_proba(film(int(uid.rpartition(".")[2]), studies=2))[0, 1])
        assert job.probability == truth
        assert float(number) == pytest.approx(100 * truth, rel=1e-14)

    # No word of a patient in what the node wrote for people.
    files = [node.log, tmp_path / "node" / "data" / "audit.jsonl", *node.temporary.rglob("*")]
    for text in (metrics, *(path.read_text("latin-1") for path in files if path.is_file())):
        assert node_films.CANARY not in text
        assert node_films.ROOT not in text
        assert "2.25." not in text


def _file(orthanc, identifier):
    from io import BytesIO

    return BytesIO(orthanc.file(identifier))


def _numbers(item):
    for child in item.get("ContentSequence", []):
        if "MeasuredValueSequence" in child:
            yield str(child.MeasuredValueSequence[0].NumericValue)
        yield from _numbers(child)


@pytest.mark.slow
def test_shadow_mode_records_and_stores_nothing(orthanc, tmp_path, make_node):
    filled(orthanc, 3)
    node = make_node(live(orthanc.dicomweb).replace('"live"', '"shadow"'))
    node.start()
    assert node.wait(3)[State.DONE] == 3
    assert node.stop() == 0
    assert results_of(orthanc) == {}
    assert all(job.label and job.probability is not None and not job.report_uid for job in node.jobs())

    # Going live reads nothing again by itself; a sweep with --re-read does.
    node.config.write_text(node.config.read_text().replace('"shadow"', '"live"'))
    today = time.strftime("%Y-%m-%d")
    assert node.command("sweep", "--since", today).stdout == "0 new of 3\n"
    assert node.command("sweep", "--since", today, "--re-read").stdout == "3 new of 3\n"
    assert node.command("sweep", "--since", today, "--re-read").stdout == "0 new of 3\n"
    node.start()
    assert node.wait(6)[State.DONE] == 6
    node.stop()
    check_results(orthanc, node, [sop(n) for n in range(3)])


def test_orthancs_changes_find_what_has_no_date(orthanc, tmp_path, make_node):
    filled(orthanc, 3, StudyDate="19990101")
    text = live(orthanc.dicomweb).replace("[find]", f'orthanc = "{orthanc.url}"\n[find]')
    node = make_node(text)
    node.start()
    assert node.wait(3)[State.DONE] == 3
    orthanc.send(film(3, StudyDate="19990101"))
    assert node.wait(4)[State.DONE] == 4
    # Our own results are in the list of changes too.
    time.sleep(2)
    assert sum(node.counts().values()) == 4
    node.stop()
    check_results(orthanc, node, [sop(n) for n in range(4)])


@pytest.mark.slow
def test_kills_and_a_lost_queue_change_nothing(orthanc, tmp_path, make_node):
    count, rng = 12, random.Random(1)
    filled(orthanc, count)
    orthanc.send(film(count, ViewPosition="LL"))
    node = make_node(live(orthanc.dicomweb, node="max_attempts = 20"))
    for done in (0, 3, 7):
        node.start()
        _until(lambda done=done: node.counts()[State.DONE] >= done and any(job.claims for job in node.jobs()))
        time.sleep(rng.uniform(0, 0.5))
        node.kill()
        assert whole(node.folder) == "ok"
    node.start()
    assert node.wait(count + 1)[State.DONE] == count
    node.stop()
    films = [sop(n) for n in range(count)]
    check_results(orthanc, node, films)
    assert list((node.folder / "data" / "spool").iterdir()) == []
    before = {uid: orthanc.file(tags["ID"]) for uid, tags in orthanc.instances().items()}

    shutil.rmtree(node.folder / "data")
    node.start()
    assert node.wait(count + 1)[State.DONE] == count
    node.stop()
    assert {uid: orthanc.file(tags["ID"]) for uid, tags in orthanc.instances().items()} == before


@pytest.mark.slow
def test_kills_and_a_faulty_pacs_neither_lose_nor_double_a_presentation_state(orthanc, tmp_path, lungs):
    count, rng = 6, random.Random(4)
    filled_with_chests(orthanc, count)
    proxy = FaultyProxy(orthanc.dicomweb, share=0.2, seed=5)
    text = live(proxy.url, node="max_attempts = 50\noutlines = true").replace(
        "[find]", "transfer_seconds = 2\n[find]"
    )
    node = Node(tmp_path / "node", text, lungs)
    try:
        for done in (0, 2, 4):
            node.start()
            _until(
                lambda done=done: node.counts()[State.DONE] >= done and any(job.claims for job in node.jobs())
            )
            time.sleep(rng.uniform(0, 0.5))
            node.kill()
            assert whole(node.folder) == "ok"
        node.start()
        assert node.wait(count)[State.DONE] == count
        # None of the three is taken for a film.
        time.sleep(2.5)
        assert sum(node.counts().values()) == count
        node.stop()
        films = [sop(n) for n in range(count)]
        check_results(orthanc, node, films, KINDS)
        assert list((node.folder / "data" / "spool").iterdir()) == []
        before = {uid: orthanc.file(tags["ID"]) for uid, tags in orthanc.instances().items()}

        shutil.rmtree(node.folder / "data")
        node.start()
        assert node.wait(count)[State.DONE] == count
        node.stop()
        assert {uid: orthanc.file(tags["ID"]) for uid, tags in orthanc.instances().items()} == before
        for results in results_of(orthanc).values():
            report = pydicom.dcmread(_file(orthanc, results["SR"][0]["ID"]))
            assert b"SCOORD" in orthanc.file(results["SR"][0]["ID"])
            assert report.SeriesDescription == "pneumoscan: report"
    finally:
        node.kill()
        proxy.close()


def test_films_with_regions_get_a_presentation_state_if_the_settings_ask(orthanc, tmp_path, lungs):
    filled_with_chests(orthanc, 2)
    node = Node(tmp_path / "node", live(orthanc.dicomweb, node="outlines = true"), lungs)
    try:
        node.start()
        assert node.wait(2)[State.DONE] == 2
        assert node.stop() == 0
        check_results(orthanc, node, [sop(0), sop(1)], KINDS)
    finally:
        node.kill()


@pytest.mark.slow
def test_kills_lose_no_message_and_double_none(orthanc, make_node):
    from push_receivers import FhirReceiver, Hl7Receiver

    count, rng = 10, random.Random(2)
    ris = Hl7Receiver(lambda number, _: "lost" if number % 5 == 1 else "AA")
    server = FhirReceiver(lambda number: (200, "lost", 503)[number % 3])
    try:
        filled(orthanc, count)
        pushed = f'[fhir]\nurl = "{server.url}"\n[hl7]\naddress = "127.0.0.1:{ris.port}"\ntimeout_seconds = 5'
        node = make_node(live(orthanc.dicomweb, pushed, node="max_attempts = 20"))
        for done in (1, 4, 8):
            node.start()
            _until(lambda done=done: node.counts()[State.DONE] >= done)
            time.sleep(rng.uniform(0, 0.5))
            node.kill()
            assert whole(node.folder) == "ok"
        node.start()
        assert node.wait(count)[State.DONE] == count
        sent = {"fhir": {"sent": count}, "hl7": {"sent": count}}
        _until(lambda: json.loads(node.command("status", "--json").stdout)["pushes"] == sent)
        node.stop()
    finally:
        ris.close()
        server.close()
    check_results(orthanc, node, [sop(n) for n in range(count)])
    assert len(ris.texts) == count
    assert not ris.changed
    reports = {f"urn:oid:{job.report_uid}" for job in node.jobs()}
    assert {value for kind, value in server.created if kind == "DiagnosticReport"} == reports
    assert node_films.CANARY not in node.log.read_text()


@pytest.mark.slow
def test_a_pacs_that_fails_in_every_way_costs_nothing_but_time(orthanc, tmp_path, make_node):
    filled(orthanc, 6)
    proxy = FaultyProxy(orthanc.dicomweb, share=0.3, seed=3)
    text = live(proxy.url, node="max_attempts = 50").replace("[find]", "transfer_seconds = 2\n[find]")
    node = make_node(text)
    node.start()
    assert node.wait(6)[State.DONE] == 6
    node.stop()
    proxy.close()
    assert sum(count for fault, count in proxy.done.items() if fault != "passed") > 5
    check_results(orthanc, node, [sop(n) for n in range(6)])


@pytest.mark.slow
def test_no_attempt_is_used_up_while_the_pacs_is_away(orthanc, tmp_path, make_node):
    filled(orthanc, 2)
    node = make_node(live(orthanc.dicomweb, node="max_attempts = 1"))
    node.start("--roles", "find")
    _until(lambda: sum(node.counts().values()) == 2)
    node.stop()
    orthanc.stop()
    node.start("--roles", "work")
    time.sleep(6)
    assert {job.attempts for job in node.jobs()} <= {0, 1}
    assert node.command("check").returncode == 75
    threading.Timer(0.1, orthanc.start).start()
    assert node.wait(2)[State.DONE] == 2
    node.stop()
    check_results(orthanc, node, [sop(0), sop(1)])


def _until(holds, seconds=SLOW_MACHINE):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow
def test_a_drained_node_finishes_what_waits_and_ends(orthanc, tmp_path, make_node):
    filled(orthanc, 3)
    node = make_node(live(orthanc.dicomweb))
    node.start()
    _until(lambda: sum(node.counts().values()) == 3)
    assert node.command("drain").stdout == "nothing waits any more\n"
    assert node.process.wait(30) == 0
    assert node.counts()[State.DONE] == 3


@pytest.mark.parametrize("data", ["/proc/nowhere", "/dev/null/below", "n" * 300])
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc")
def test_check_says_which_data_folder_cannot_be_made(make_node, data):
    node = make_node(
        f'[node]\nname = "tested"\ndata = "{data}"\n[pacs]\nurl = "http://127.0.0.1:9/dicom-web"\n'
    )
    done = node.command("check", "--json")
    assert done.stderr == ""
    told = {one["what"]: one for one in json.loads(done.stdout)}
    assert told["disk"]["code"] == told["queue"]["code"] == "environment.not_writable"
    assert data in told["disk"]["said"]
    assert {"model", "query"} <= told.keys()
    assert done.returncode == 6


def test_check_says_in_words_what_works_and_what_fails(orthanc, tmp_path, make_node):
    text = live(orthanc.dicomweb).replace(
        "[find]", f'orthanc = "{orthanc.url}"\ndicom = "ORTHANC@127.0.0.1:{orthanc.dicom}"\n[find]'
    )
    node = make_node(text)
    done = node.command("check", "--json")
    assert done.returncode == 0, done.stdout
    assert [one["what"] for one in json.loads(done.stdout)] == [
        "software", "disk", "queue", "audit", "model", "query", "changes", "echo", "classes"
    ]  # fmt: skip
    node.config.write_text(text.replace("@bundle", "nowhere"))
    done = node.command("check")
    assert done.returncode == 2
    assert "FAIL model" in done.stdout
    assert "ok   query" in done.stdout
