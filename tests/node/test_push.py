"""Results pushed as FHIR and HL7 v2: legal messages, each taken exactly once by its identifier, whatever fails on the way."""

import json
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hospital_films import FILM, MADE_AT, STUDY, finding, hospital_film, writer
from push_receivers import FhirReceiver, Hl7Receiver, parsed

from pneumoscan.errors import ConfigError, PushAnswerError, PushAwayError
from pneumoscan.node import push
from pneumoscan.node.audit import Audit
from pneumoscan.node.config import load_config
from pneumoscan.node.header import read_source
from pneumoscan.node.queue import Arrival, Message, State, open_queue
from pneumoscan.node.results import fhir_transaction, message_id, oru_message
from pneumoscan.node.settings import Config, FhirSettings, Hl7Settings, NodeSettings

LABELS = ("PNEUMONIA", "NORMAL", "UNSURE", "NOT_A_CHEST_FILM")
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def oru(label="PNEUMONIA", changes=None, settings=None, **words):
    film = read_source(hospital_film(changes))
    told = finding(label, **words)
    return oru_message(film, told, writer(), settings or Hl7Settings(), made_at=MADE_AT)


def observations(text):
    """Value and unit of each OBX, by the first component of what it observes."""
    rows = [line.split("|") for line in text.split("\r") if line.startswith("OBX")]
    return {row[3].partition("^")[0]: (row[5], row[6]) for row in rows}


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("sparse", [False, True])
def test_it_is_a_legal_message(label, sparse):
    gone = dict.fromkeys((0x00080020, 0x00080050, 0x00100020)) if sparse else {}
    message = parsed(oru(label, gone, warnings=("FAR",)))
    assert message.msh.msh_9.value == "ORU^R01^ORU_R01"
    assert len(message.msh.msh_10.value) == 20
    with pytest.raises(Exception, match=r"(?i)invalid|not a valid|child"):
        parsed(oru(label, gone).replace("|NM|", "|XX|").replace("OBR|", "OBZ|"))


def test_it_tells_the_finding_and_whose_film_it_is():
    text = oru(probability=0.07, warnings=("FAR",))
    told = observations(text)
    assert told["233604007"] == ("52101004^Present^SCT", "")
    assert told["111012"] == ("7.0", "%^percent^UCUM")
    assert told["THRESHOLD"] == ("50.0", "%^percent^UCUM")
    assert told["WARNING"][0] == "FAR"
    assert (told["110180"][0], told["FILM"][0]) == (STUDY, FILM)
    assert "not for diagnosis" in told["VERDICT"][0]
    segments = {line[:3]: line.split("|") for line in text.split("\r")}
    assert segments["PID"][3] == "PID42^^^^PI"
    assert segments["OBR"][3] == "ACC77"
    assert segments["OBR"][25] == "P"
    assert segments["OBX"][11] == "P"
    assert segments["MSH"][6] == "20260304230506+0900"


def test_what_is_no_chest_film_has_no_finding_and_no_number():
    text = oru("NOT_A_CHEST_FILM")
    told = observations(text)
    assert told["111050"][0] == "111235^Unusable^DCM"
    assert not {"233604007", "111012", "THRESHOLD"} & set(told)
    assert "81.25" not in text


def test_names_and_dates_of_birth_stay_behind_and_what_separates_fields_is_escaped():
    text = oru()
    assert not [word for word in ("Doe", "Jane", "1950", "Referrer") if word in text]
    strange = oru(changes={0x00100020: (b"LO", b"A|B^C&D~E"), 0x00100021: (b"LO", b"H|1")})
    assert "A\\F\\B\\S\\C\\T\\D\\R\\E^^^H\\F\\1^PI" in strange
    assert parsed(strange).msh.msh_10.value == parsed(text).msh.msh_10.value
    settings = Hl7Settings(sending_facility="A|B", receiving_application="RIS")
    assert oru(settings=settings).startswith("MSH|^~\\&|PNEUMOSCAN|A\\F\\B|RIS||")


def test_a_message_is_the_same_each_time_and_another_for_another_model():
    assert oru() == oru()
    film = read_source(hospital_film())
    other = oru_message(film, finding(), writer(onnx_sha256="ef" * 32), Hl7Settings(), made_at=MADE_AT)
    assert parsed(other).msh.msh_10.value != parsed(oru()).msh.msh_10.value
    assert fhir_transaction(film, finding(), writer(), made_at=MADE_AT) == fhir_transaction(
        film, finding(), writer(), made_at=MADE_AT
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"MSH|^~\\&|R\rMSA|AA|sent", ""),
        (b"MSH|^~\\&|R\r\nMSA|CA|sent|fine\r\n", ""),
        (b"MSH$^~\\&$R\rMSA$AA$sent\r", ""),
        (b"MSH|^~\\&|R\rMSA|AE|sent|the name Doe", "(AE)"),
        (b"MSH|^~\\&|R\rMSA|AR|sent", "(AR)"),
        (b"MSH|^~\\&|R\rMSA|XX|sent", "no acknowledgement code"),
        (b"MSH|^~\\&|R\rMSA|AA|another", "another message"),
        (b"MSH|^~\\&|R\rMSA|AA", "another message"),
        (b"MSH|^~\\&|R\r", "another message"),
        (b"MSH", "no HL7 message"),
        (b"", "no HL7 message"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no HL7 message"),
        (b"\xff\xfe\r\r", "no HL7 message"),
    ],
)
def test_only_an_acceptance_of_the_same_message_is_one(answer, said):
    if not said:
        push.check_acknowledgement(answer, "sent")
        return
    with pytest.raises(PushAnswerError) as caught:
        push.check_acknowledgement(answer, "sent")
    assert said in caught.value.message
    assert "Doe" not in str(caught.value)


@pytest.fixture
def node(tmp_path):
    """Returns a node's settings and queue that has messages about so many films, all done."""
    opened = []

    def make(count=3, **tables):
        config = Config(node=NodeSettings(name="here", max_attempts=3), folder=tmp_path, **tables)
        queue = open_queue(config.data)
        opened.append(queue)
        queue.add(Arrival(f"1.2.3.{number}") for number in range(count))
        for number in range(count):
            film = read_source(hospital_film({0x00080018: (b"UI", f"1.2.3.{number}".encode())}))
            job = queue.advance(queue.claim("here", 60), State.FETCHED)
            told = list(push.messages(config, film, finding(), writer(), made_at=MADE_AT))
            job = queue.advance(job, State.MADE, messages=told)
            queue.advance(job, State.DONE)
        return config, queue

    yield make
    for queue in opened:
        queue.close()


@contextmanager
def pushing(config, queue, *kinds):
    """What pushes runs in threads of its own, as in a node, until the block ends."""
    stop = threading.Event()
    audit = Audit(config.data / "audit.jsonl")
    threads = [
        threading.Thread(
            target=push.push_messages, args=(kind, push.sender_of(kind, config), queue, config, audit, stop)
        )
        for kind in kinds or config.pushes
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def quick(monkeypatch):
    """Pauses are short."""
    monkeypatch.setattr("pneumoscan.node.client._FIRST_WAIT", 0.02)
    for name in ("_FIRST_PAUSE", "_IDLE_SECONDS", "_LOGIN_SECONDS", "_DISK_SECONDS"):
        monkeypatch.setattr(push, name, 0.02)


@pytest.fixture
def receivers():
    """Returns functions that start an HL7 and a FHIR receiver; they are closed after the test."""
    opened = []

    def hl7(*words, **more):
        opened.append(Hl7Receiver(*words, **more))
        return opened[-1], Hl7Settings(address=f"127.0.0.1:{opened[-1].port}", timeout_seconds=5)

    def fhir(*words, **more):
        opened.append(FhirReceiver(*words, **more))
        return opened[-1], FhirSettings(url=opened[-1].url, timeout_seconds=5)

    yield hl7, fhir
    for one in opened:
        one.close()


@pytest.mark.usefixtures("quick")
def test_each_result_is_taken_once_though_answers_are_lost(node, receivers):
    turns = iter(("lost", "AE", "AA", "lost"))
    statuses = iter(("lost", 500, 200, 503))
    ris, hl7 = receivers[0](lambda *_: next(turns, "AA"))
    server, fhir = receivers[1](lambda _: next(statuses, 200))
    config, queue = node(6, hl7=hl7, fhir=fhir)
    with pushing(config, queue):
        until(lambda: queue.pushes.counts() == {("fhir", "sent", ""): 6, ("hl7", "sent", ""): 6})
    assert len(ris.texts) == 6
    assert sum(ris.came.values()) == 6 + 3
    assert not ris.changed
    kinds = [kind for kind, _ in server.created]
    assert (kinds.count("DiagnosticReport"), kinds.count("Observation"), kinds.count("Device")) == (6, 6, 1)
    assert sum(server.came.values()) == 6 + 3
    # What was taken leaves nothing of a patient behind, and no word of the receiver is kept.
    with queue._database.transaction() as execute:
        assert {content for (content,) in execute("SELECT content FROM push")} == {""}
    events = [json.loads(line) for line in (config.data / "audit.jsonl").read_text().splitlines()]
    assert (
        sorted((one["event"], one["kind"]) for one in events)
        == [("pushed", "fhir")] * 6 + [("pushed", "hl7")] * 6
    )
    assert "PID42" not in (config.data / "audit.jsonl").read_text()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("code", ["AE", "AR"])
def test_what_is_not_taken_is_parked_and_can_be_sent_again(node, receivers, code):
    ris, hl7 = receivers[0](lambda _, control: code if control == bad else "AA")
    bad = message_id_of(0)
    config, queue = node(3, hl7=hl7)
    with pushing(config, queue):
        until(
            lambda: (
                ("hl7", "parked", "push.answer") in queue.pushes.counts()
                and not queue.pushes.waiting(("hl7",))
            )
        )
        assert (ris.came[bad], len(ris.texts)) == (3, 2)
        ris.fault = lambda *_: "AA"
        assert queue.pushes.retry() == 1
        until(lambda: queue.pushes.counts() == {("hl7", "sent", ""): 3})
    assert len(ris.texts) == 3


def message_id_of(number):
    film = read_source(hospital_film({0x00080018: (b"UI", f"1.2.3.{number}".encode())}))
    return next(
        iter(
            push.messages(Config(hl7=Hl7Settings(address="h:1")), film, finding(), writer(), made_at=MADE_AT)
        )
    ).message_id


@pytest.mark.usefixtures("quick")
def test_no_attempt_is_used_up_while_the_receiver_is_away_and_the_other_goes_on(node, receivers):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    _, fhir = receivers[1]()
    config, queue = node(2, hl7=Hl7Settings(address=f"127.0.0.1:{port}", timeout_seconds=1), fhir=fhir)
    with pushing(config, queue):
        until(lambda: queue.pushes.counts().get(("fhir", "sent", "")) == 2)
        until(lambda: ("hl7", "waiting", "push.away") in queue.pushes.counts())
        time.sleep(0.5)
        with queue._database.transaction() as execute:
            assert {count for (count,) in execute("SELECT attempts FROM push WHERE kind = 'hl7'")} == {0}
        ris, _ = receivers[0](port=port)
        until(lambda: len(ris.texts) == 2)


@pytest.mark.usefixtures("quick")
def test_a_login_goes_with_the_request_and_a_refused_one_is_waited_for(node, receivers, monkeypatch):
    monkeypatch.setenv("PNEUMOSCAN_FHIR_TOKEN", "sesame")
    statuses = iter((401, 403, 200))
    server, fhir = receivers[1](lambda _: next(statuses, 200))
    config, queue = node(1, fhir=fhir)
    with pushing(config, queue):
        until(lambda: queue.pushes.counts() == {("fhir", "sent", ""): 1})
    assert server.authorization == "Bearer sesame"
    assert sum(server.came.values()) == 3


def test_only_results_of_films_that_are_done_go_out(node):
    _, queue = node(0, hl7=Hl7Settings(address="127.0.0.1:1"))
    queue.add([Arrival("1.2"), Arrival("1.3", reading="new")])
    one, other = queue.claim_several("here", 60, 2)
    told = [Message("hl7", "same", "text")]
    one = queue.advance(one, State.MADE, messages=told)
    assert queue.pushes.claim("hl7", "here", 60) is None
    # The same message again is the same, and goes with the film that comes to its end.
    queue.advance(one, State.PARKED)
    queue.advance(queue.advance(other, State.MADE, messages=told), State.DONE)
    claimed = queue.pushes.claim("hl7", "here", 60)
    assert (claimed.job, claimed.message_id, claimed.content) == (other.id, "same", "text")
    assert queue.pushes.claim("hl7", "there", 60) is None
    assert queue.pushes.claim("fhir", "here", 60) is None
    # A process that ended frees it; what it writes afterwards is not taken.
    queue.release("here")
    again = queue.pushes.claim("hl7", "there", 60)
    queue.pushes.park(claimed, "push.answer")
    queue.pushes.acknowledged(again)
    assert queue.pushes.counts() == {("hl7", "sent", ""): 1}
    # A job that is no longer held adds no message.
    assert queue.pushes.waiting(("hl7",)) == 0


@pytest.mark.parametrize(
    "reply", [b"", b"\x0bMSH|", b"HTTP/1.0 400\r\n\r\n", b"\x0bMSH|^~\\&|R\rMSA|AA|other\r\x1c\r"]
)
def test_an_answer_that_is_none_is_no_acknowledgement(reply):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        sender = push.MllpSender(Config(hl7=Hl7Settings(address=address, timeout_seconds=2)))
        with pytest.raises((PushAwayError, PushAnswerError)):
            sender.send(push.Push(1, 1, "hl7", "mine", "MSH|\r", 0, 1))
        sender.close()
        thread.join()


def test_a_receiver_is_known_by_its_certificate(tmp_path):
    words = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    if subprocess.run(["openssl", *words.split()], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("openssl is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    reply = b"\x0bMSH|^~\\&|R\rMSA|AA|mine\r\x1c\r"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer():
            for _ in range(2):
                try:
                    with context.wrap_socket(server.accept()[0], server_side=True) as connection:
                        connection.recv(1 << 16)
                        connection.sendall(reply)
                except OSError:
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        settings = Hl7Settings(address=f"localhost:{port}", tls=True, timeout_seconds=5)
        message = push.Push(1, 1, "hl7", "mine", "MSH|\r", 0, 1)
        with pytest.raises(PushAwayError):
            push.MllpSender(Config(hl7=settings)).send(message)
        known = push.MllpSender(Config(hl7=replace(settings, ca_file="cert.pem"), folder=tmp_path))
        known.send(message)
        known.close()
        thread.join()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[fhir]\nurl = "fhir"', "fhir.url is 'fhir'"),
        ('[fhir]\nurl = "http://fhir.example/R4"', "fhir.url goes to another machine without TLS"),
        ('[fhir]\nurl = "https://me:secret@fhir.example"', "fhir.url holds a login"),
        ('[fhir]\nurl = "https://fhir.example/R4?x=1"', "without ? and #"),
        ('[fhir]\nurl = "https://fhir.example:99999"', "fhir.url is"),
        ('[hl7]\naddress = "ris"', "hl7.address is 'ris'"),
        ('[hl7]\naddress = "127.0.0.1:0"', "Write it as host:port"),
        ('[hl7]\naddress = "127.0.0.1:70000"', "Write it as host:port"),
        ('[hl7]\naddress = "ris.example:2575"', "hl7.address goes to another machine without TLS"),
        ('[hl7]\nsending_facility = "Spital\\nA"', "hl7.sending_facility"),
        ('[hl7]\nreceiving_application = "Krankenhäuser"', "hl7.receiving_application"),
    ],
)
def test_what_is_illegal_is_named(tmp_path, text, said):
    path = tmp_path / "node.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    path.write_text(
        '[hl7]\naddress = "[::1]:2575"\n[fhir]\nurl = "http://localhost:8080/fhir"', encoding="utf-8"
    )
    assert load_config(path).pushes == ("fhir", "hl7")


def test_message_ids_are_short_enough_and_differ():
    found = {message_id(f"2.25.{number}") for number in range(1000)}
    assert len(found) == 1000
    assert {len(one) for one in found} == {20}
