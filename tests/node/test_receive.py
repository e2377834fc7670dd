"""C-STORE with a real peer: who is let in, what is acknowledged, and that nothing acknowledged is lost."""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from io import BytesIO

import node_films
import pydicom
import pytest
from node_films import film, sop

from pneumoscan.node.audit import Audit
from pneumoscan.node.queue import State, open_queue
from pneumoscan.node.settings import Config, NodeSettings, Peer, ReceiveSettings
from pneumoscan.node.spool import Spool

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
pynetdicom = pytest.importorskip("pynetdicom", reason="the extra `node` is not installed")
DX, SC = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"
HERE = Peer("XRAY1", "127.0.0.1")


@pytest.fixture
def receiver(tmp_path):
    """Returns a function that begins to receive with some settings, and gives the receiver, the queue and the spool."""
    from pneumoscan.node.receive import Receiver

    opened = []

    def begin(min_free=1, **settings):
        receive = replace(ReceiveSettings(port=0, allow=(HERE,), timeout_seconds=60), **settings)
        config = Config(node=NodeSettings(name="here"), receive=receive, folder=tmp_path)
        queue, spool = open_queue(config.data), Spool(config.spool, min_free=min_free)
        opened.append((Receiver(config, queue, spool, Audit(config.data / "audit.jsonl")), queue))
        return opened[-1][0], queue, spool

    yield begin
    for one, queue in opened:
        one.close()
        queue.close()
    # pynetdicom leaves sockets whose other end has gone to the collector; that must not become the next test's fault.
    for thread in threading.enumerate():
        if "Association" in type(thread).__name__ or "DUL" in type(thread).__name__:
            thread.join(1)
    gc.collect()


@pytest.fixture
def small_disk(tmp_path):
    """Puts the node's folder on a disk of a megabyte; returns a function that mounts it anew with other options."""
    folder = tmp_path / "data"
    folder.mkdir()

    def mount(*words):
        return subprocess.run(["mount", *words, folder], capture_output=True, check=False).returncode

    if sys.platform != "linux" or mount("-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"):
        pytest.skip("only root can mount a small disk, on Linux")
    yield mount
    subprocess.run(["umount", "--lazy", folder], check=True)


def associate(port, title="XRAY1", called="PNEUMOSCAN", tls=None, seconds=60):
    entity = pynetdicom.AE(title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = seconds
    for uid in (DX, SC, "1.2.840.10008.1.1"):
        entity.add_requested_context(uid, "1.2.840.10008.1.2.1")
    return entity.associate("127.0.0.1", port, ae_title=called, **({"tls_args": (tls, None)} if tls else {}))


def send(port, *films, **words):
    """Send films, and return the statuses of the answers; None where there is no answer."""
    association = associate(port, **words)
    assert association.is_established
    statuses = [association.send_c_store(pydicom.dcmread(BytesIO(one))).get("Status") for one in films]
    association.release()
    return statuses


def test_what_is_acknowledged_is_a_row_and_a_file(receiver):
    one, queue, spool = receiver()
    assert send(one.port, film(0), film(1), film(0)) == [0, 0, 0]
    jobs = list(queue.jobs())
    assert [(job.sop_instance_uid, job.state, job.source, job.host) for job in jobs] == [
        (sop(n), State.FETCHED, "c-store", "here") for n in range(2)
    ]
    assert [pydicom.dcmread(BytesIO(spool.read(job.spool))).SOPInstanceUID for job in jobs] == [
        sop(0),
        sop(1),
    ]
    assert len(spool) == 2
    assert jobs[0].device == "ACME X0"


def test_another_object_with_the_same_uid_is_a_conflict(receiver):
    one, queue, spool = receiver()
    assert send(one.port, film(0), film(1, SOPInstanceUID=sop(0)), film(1, SOPInstanceUID=sop(0))) == [
        0,
        0,
        0,
    ]
    assert queue.counts()[State.CONFLICT] == queue.counts()[State.FETCHED] == 1
    assert len(spool) == 1


def test_our_own_results_are_taken_and_make_no_row(receiver):
    one, queue, spool = receiver()
    own = film(
        0,
        SOPClassUID=SC,
        Modality="OT",
        ManufacturerModelName="pneumoscan",
        SeriesDescription="pneumoscan: picture",
    )
    assert send(one.port, own) == [0]
    assert (sum(queue.counts().values()), len(spool)) == (0, 0)


def test_too_little_disk_is_said_so(receiver):
    one, queue, spool = receiver(min_free=1 << 60)
    assert send(one.port, film(0)) == [0xA700]
    assert (sum(queue.counts().values()), len(spool)) == (0, 0)


def test_a_queue_that_cannot_be_written_acknowledges_nothing(receiver, monkeypatch):
    from pneumoscan.errors import DiskFullError

    one, queue, spool = receiver()

    def full(*_, **__):
        raise DiskFullError("no space left.")

    monkeypatch.setattr(queue, "receive", full)
    assert send(one.port, film(0)) == [0xA700]
    assert len(spool) == 0


def check_rows(queue, spool, acknowledged):
    """What was acknowledged has a row, and each row a file that can be read."""
    rows = {job.sop_instance_uid: spool.read(job.spool) for job in queue.jobs()}
    assert set(acknowledged) <= set(rows)
    assert all(pydicom.dcmread(BytesIO(content)).SOPInstanceUID == uid for uid, content in rows.items())
    assert len(spool) == len(rows)
    assert queue.integrity() == "ok"


def test_a_disk_that_becomes_full_acknowledges_only_what_is_on_it(small_disk, receiver):
    one, queue, spool = receiver()
    statuses = send(one.port, *(film(number, size=(200, 200)) for number in range(16)))
    assert set(statuses) == {0, 0xA700}
    acknowledged = [sop(number) for number, status in enumerate(statuses) if status == 0]
    assert len(acknowledged) >= 2
    check_rows(queue, Spool(spool.folder, min_free=1), acknowledged)
    # With space again, what was turned away is taken.
    small_disk("-o", "remount,size=4m", "-t", "tmpfs")
    assert set(send(one.port, *(film(number, size=(200, 200)) for number in range(16)))) == {0}
    check_rows(queue, Spool(spool.folder, min_free=1), [sop(number) for number in range(16)])


def test_a_disk_that_becomes_read_only_acknowledges_nothing(small_disk, receiver):
    one, queue, spool = receiver()
    assert send(one.port, film(0)) == [0]
    # The queue's file is open for writing, so the disk itself cannot be made read-only: a second mount over it is.
    spool.folder.chmod(0o700)
    subprocess.run(["mount", "--bind", spool.folder, spool.folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", spool.folder], check=True)
        assert send(one.port, film(1)) == [0xA700]
    finally:
        subprocess.run(["umount", "--lazy", spool.folder], check=True)
    assert send(one.port, film(1)) == [0]
    check_rows(queue, Spool(spool.folder, min_free=1), [sop(0), sop(1)])


def test_a_drained_node_takes_nothing(receiver):
    one, queue, _ = receiver()
    one.paused = True
    assert send(one.port, film(0)) == [0xA700]
    assert sum(queue.counts().values()) == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, {"title": "STRANGER"}),
        ({}, {"called": "ELSEWHERE"}),
        ({"allow": (Peer("XRAY1", "10.0.0.0/8"), Peer("XRAY2", "127.0.0.1"))}, {}),
        ({"allow": (Peer("XRAY1", "10.0.0.0/8"),)}, {}),
    ],
)
def test_strangers_are_turned_away(receiver, settings, words):
    one, queue, _ = receiver(**settings)
    assert not associate(one.port, **words).is_established
    assert sum(queue.counts().values()) == 0


def test_an_address_may_be_a_network(receiver):
    one, _, _ = receiver(allow=(Peer("XRAY1", "127.0.0.0/8"),))
    assert send(one.port, film(0)) == [0]


def test_too_many_associations_are_turned_away(receiver):
    one, _, _ = receiver(max_associations=2)
    first = [associate(one.port) for _ in range(2)]
    assert all(association.is_established for association in first)
    assert not associate(one.port).is_established
    for association in first:
        association.release()


def test_an_object_that_is_too_large_ends_the_association(receiver):
    one, queue, spool = receiver(max_object_mb=1)
    association = associate(one.port)
    big = pydicom.dcmread(BytesIO(film(0, size=(1200, 1200))))
    assert not association.send_c_store(big)
    assert (sum(queue.counts().values()), len(spool)) == (0, 0)
    assert send(one.port, film(1)) == [0]


def test_a_pdu_that_claims_gigabytes_is_not_read(receiver):
    one, _, _ = receiver()
    with socket.create_connection(("127.0.0.1", one.port), timeout=10) as peer:
        peer.sendall(b"\x01\x00\xff\xff\xff\xff" + b"\0" * 100)
        assert peer.recv(100)[:1] in {b"", b"\x07"}
    assert send(one.port, film(0)) == [0]


def test_a_killed_receiver_has_what_it_acknowledged(tmp_path, receiver):
    script = f"""
import sys, time
from pathlib import Path
from pneumoscan.node.audit import Audit
from pneumoscan.node.settings import Config, NodeSettings, Peer, ReceiveSettings
from pneumoscan.node.queue import open_queue
from pneumoscan.node.receive import Receiver
from pneumoscan.node.spool import Spool
config = Config(node=NodeSettings(name="here"), receive=ReceiveSettings(port=0, allow=(Peer("XRAY1", "127.0.0.1"),)), folder=Path({str(tmp_path)!r}))
one = Receiver(config, open_queue(config.data), Spool(config.spool, min_free=1), Audit(config.data / "audit.jsonl"))
print(one.port, flush=True)
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    port = int(process.stdout.readline())
    association, acknowledged = associate(port), []
    for number in range(200):
        if number == 12:
            os.kill(process.pid, signal.SIGKILL)
        if not association.is_established:
            break
        status = association.send_c_store(pydicom.dcmread(BytesIO(film(number))))
        if not status:
            break
        acknowledged.append(sop(number))
    process.wait()
    process.stdout.close()
    _, queue, spool = receiver()
    rows = {job.sop_instance_uid: job for job in queue.jobs()}
    assert 12 <= len(acknowledged) < 200
    assert set(acknowledged) <= set(rows)
    assert all(
        pydicom.dcmread(BytesIO(spool.read(job.spool))).SOPInstanceUID == uid for uid, job in rows.items()
    )
    assert queue.integrity() == "ok"


def test_nothing_is_logged_that_an_object_says(receiver, caplog, capsys):
    caplog.set_level("DEBUG")
    one, _, _ = receiver()
    association = associate(one.port)
    association.send_c_store(pydicom.dcmread(BytesIO(film(0))))
    association.send_c_store(pydicom.dcmread(BytesIO(film(1, SOPInstanceUID=sop(0)))))
    association.release()
    time.sleep(0.2)
    said = "".join(
        f"{record.name} {record.getMessage()}"
        for record in caplog.records
        if "acceptor" in record.name.lower() or record.name.startswith("pneumoscan")
    )
    said += capsys.readouterr().err
    assert node_films.CANARY not in said
    assert node_films.ROOT not in said


def test_tls(receiver, tmp_path):
    import shutil
    import ssl

    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
        "-keyout",
        tmp_path / "key.pem",
        "-out",
        tmp_path / "cert.pem",
    ]
    subprocess.run(command, check=True, capture_output=True)
    one, _, _ = receiver(tls_certificate="cert.pem", tls_key="key.pem", tls_ca="cert.pem")
    context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    context.check_hostname = False
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    assert send(one.port, film(0), tls=context) == [0]
    assert not associate(one.port, seconds=3).is_established
