"""Results pushed to a FHIR server and to an HL7 v2 receiver (MLLP): each message until it is acknowledged, beside the reading of films.

A message has the same identifier and the same bytes at each try, so a receiver that has it already knows it: by MSH-10, or by the
identifiers of the FHIR resources. Errors never repeat what a receiver says, for it may quote the patient.
"""

import json
import logging
import re
import socket
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

from pneumoscan.errors import (
    EnvironmentProblemError,
    PneumoscanError,
    PushAnswerError,
    PushAwayError,
    importing,
)
from pneumoscan.node.audit import Audit
from pneumoscan.node.client import Backoff, certificates, login
from pneumoscan.node.config import host_and_port, secret
from pneumoscan.node.header import Source
from pneumoscan.node.queue import Message, Push, Queue
from pneumoscan.node.results import Finding, Writer, fhir_transaction, message_id, oru_message, result_uids
from pneumoscan.node.settings import Config, FhirSettings, Hl7Settings

log = logging.getLogger("pneumoscan.node")
FHIR, HL7 = "fhir", "hl7"
_FHIR_JSON = "application/fhir+json"
_LATER = frozenset((408, 425, 429, 502, 503, 504))
_LOGIN = frozenset((401, 403, 407))
_LOGIN_SECONDS, _DISK_SECONDS, _IDLE_SECONDS = 300.0, 30.0, 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
_MOST_BYTES = 1 << 20
_START, _END = b"\x0b", b"\x1c\r"
_ACCEPTED = frozenset(("AA", "CA"))
_REFUSED = {
    "AE": "an error (AE)",
    "AR": "a rejection (AR)",
    "CE": "an error (CE)",
    "CR": "a rejection (CR)",
}


class Sender(Protocol):
    """Sends one message, and returns when it is acknowledged."""

    def send(self, push: Push) -> None:
        """Send it; raises PushAwayError or PushAnswerError."""

    def close(self) -> None:
        """Close the connection."""


def messages(
    config: Config, film: Source, finding: Finding, writer: Writer, *, made_at: datetime
) -> Iterable[Message]:
    """Yield the messages about a film; none where nothing is pushed."""
    report = result_uids(film.sop_instance_uid, film.pixels_sha256, writer).report
    if config.fhir.url:
        yield Message(FHIR, report, fhir_transaction(film, finding, writer, made_at=made_at))
    if config.hl7.address:
        text = oru_message(film, finding, writer, config.hl7, made_at=made_at)
        yield Message(HL7, message_id(report), text)


def sender_of(kind: str, config: Config) -> Sender:
    """Return what sends messages of a kind; nothing is sent yet.

    Raises:
        ConfigError: A secret or a certificate cannot be read.
        MissingDependencyError: The extra `node` is not installed.
    """
    return FhirSender(config) if kind == FHIR else MllpSender(config)


def push_messages(
    kind: str, sender: Sender, queue: Queue, config: Config, audit: Audit, stop: threading.Event
) -> None:
    """Send the messages of a kind until `stop` is set; one that is under way is brought to its end.

    Raises:
        DataDamagedError: The queue is damaged.
    """
    backoff = Backoff()
    seconds = max(config.node.lease_seconds, 4 * config.fhir.timeout_seconds, 4 * config.hl7.timeout_seconds)
    try:
        while not stop.is_set():
            try:
                push = queue.pushes.claim(kind, config.name, seconds)
                pause = _IDLE_SECONDS if push is None else _push(push, sender, queue, config, audit, backoff)
            except EnvironmentProblemError as problem:
                # What was acknowledged and could not be recorded is sent again, with the same identifier.
                pause = _DISK_SECONDS
                log.warning("pushing %s again in %.0f s: %s: %s", kind, pause, problem.code, problem.message)
            stop.wait(pause)
    finally:
        sender.close()


def _push(push: Push, sender: Sender, queue: Queue, config: Config, audit: Audit, backoff: Backoff) -> float:
    """Send a message, and record what became of it; return for how many seconds nothing should be sent."""
    problem: PneumoscanError
    try:
        sender.send(push)
    except PushAwayError as away:
        pause = backoff.failed(away.seconds)
        queue.pushes.give_back(push, code=away.code, seconds=min(pause, _DISK_SECONDS), used=False)
        problem = away
    except PushAnswerError as refused:
        backoff.succeeded()
        pause, problem = 0.0, refused
        if push.attempts + 1 >= config.node.max_attempts:
            queue.pushes.park(push, refused.code)
            audit.write("push_parked", job=push.job, kind=push.kind, code=refused.code)
        else:
            rest = min(_FIRST_PAUSE * 4**push.attempts, _LONGEST_PAUSE)
            queue.pushes.give_back(push, code=refused.code, seconds=rest, used=True)
    else:
        backoff.succeeded()
        queue.pushes.acknowledged(push)
        audit.write("pushed", job=push.job, kind=push.kind)
        return 0.0
    log.warning("job %d was not pushed (%s): %s: %s", push.job, push.kind, problem.code, problem.message)
    return pause


class FhirSender:
    """Posts transactions to a FHIR server; for one thread."""

    def __init__(self, config: Config) -> None:
        with importing():
            import urllib3
        logging.getLogger("urllib3").setLevel(logging.CRITICAL + 1)
        fhir: FhirSettings = config.fhir
        self._url = fhir.url.rstrip("/")
        self._problems = (urllib3.exceptions.HTTPError, OSError)
        self._headers = login(
            fhir.user,
            secret(config.path(fhir.password_file), "PNEUMOSCAN_FHIR_PASSWORD"),
            secret(config.path(fhir.token_file), "PNEUMOSCAN_FHIR_TOKEN"),
        ) | {"Accept": _FHIR_JSON}
        self._pool = urllib3.PoolManager(
            ssl_context=certificates("fhir", config.path(fhir.ca_file), config.path(fhir.client_certificate)),
            retries=False,
            timeout=fhir.timeout_seconds,
        )

    def send(self, push: Push) -> None:
        """See `Sender`."""
        status, body = self._asked("POST", self._url, push.content.encode(), {"Content-Type": _FHIR_JSON})
        if not 200 <= status < 300:
            raise PushAnswerError(
                f"the FHIR server answers {status}: it does not take the result.", "Ask its administrator."
            )
        _check_response(body)

    def check(self) -> str:
        """Return what the server says of itself (`/metadata`); raises as `send`."""
        status, body = self._asked("GET", f"{self._url}/metadata", None, {})
        with suppress(ValueError):
            told = json.loads(body)
            if status == 200 and isinstance(told, dict) and told.get("resourceType") == "CapabilityStatement":
                return "the FHIR server tells its capabilities"
        return f"fhir.url answers {status} for /metadata: whether it takes results is known when the first is sent"

    def close(self) -> None:
        """See `Sender`."""
        self._pool.clear()

    def _asked(self, method: str, url: str, body: bytes | None, more: Mapping[str, str]) -> tuple[int, bytes]:
        try:
            answer = self._pool.request(
                method,
                url,
                body=body,
                headers={**self._headers, **more},
                redirect=False,
                preload_content=False,
            )
            try:
                content = answer.read(_MOST_BYTES)
                whole = not answer.read(1)
            finally:
                answer.close() if answer.status >= 400 else answer.release_conn()
        except self._problems as problem:
            raise PushAwayError(
                f"the FHIR server does not answer ({type(problem).__name__}).",
                "See that it runs, and that fhir.url is right.",
            ) from None
        if answer.status in _LOGIN:
            raise PushAwayError(
                f"the FHIR server answers {answer.status}: it refuses the login.",
                "Correct fhir.user and the password, or the token, and restart the node.",
                seconds=_LOGIN_SECONDS,
            )
        if answer.status in _LATER:
            raise PushAwayError(f"the FHIR server answers {answer.status}.", "See that it runs.")
        if not whole:
            raise PushAnswerError("the FHIR server's answer is longer than 1 MiB.", "Ask its administrator.")
        return answer.status, content


def _check_response(body: bytes) -> None:
    """Raise PushAnswerError where an answer of success tells of an error nevertheless."""
    if not body.strip():
        return
    try:
        told: Any = json.loads(body)
    except (ValueError, RecursionError):
        return  # some interface engines confirm in words
    if not isinstance(told, dict):
        return
    entries = told.get("entry")
    statuses = [
        str((one.get("response") or {}).get("status", "")) if isinstance(one, dict) else ""
        for one in (entries if isinstance(entries, list) else [])
    ]
    issues = told.get("issue") if told.get("resourceType") == "OperationOutcome" else None
    grave = [
        one for one in issues or () if isinstance(one, dict) and one.get("severity") in {"error", "fatal"}
    ]
    if grave or not all(status.startswith("2") for status in statuses):
        raise PushAnswerError(
            "the FHIR server answers that it did not create every resource.", "Ask its administrator."
        )


class MllpSender:
    """Sends messages by MLLP over a connection that is kept open; for one thread."""

    def __init__(self, config: Config) -> None:
        hl7: Hl7Settings = config.hl7
        self._place, self._seconds = host_and_port(hl7.address), hl7.timeout_seconds
        self._context = (
            certificates("hl7", config.path(hl7.ca_file), config.path(hl7.client_certificate))
            if hl7.tls
            else None
        )
        self._socket: socket.socket | None = None

    def send(self, push: Push) -> None:
        """See `Sender`."""
        try:
            kept = self._socket is not None
            try:
                answer = self._answer(push)
            except ConnectionError:
                if not kept:
                    raise
                # Receivers that take one message for each connection close it at any moment after their answer.
                self.close()
                answer = self._answer(push)
            check_acknowledgement(answer, push.message_id)
        except (OSError, UnicodeError) as problem:  # ssl.SSLError and time-outs are some
            self.close()
            raise _no_answer(problem) from None
        except PushAnswerError:
            self.close()  # whatever comes next on it might belong to this message
            raise

    def _answer(self, push: Push) -> bytes:
        connection = self._connected()
        connection.sendall(_START + push.content.encode("ascii") + _END)
        return _framed(connection, self._seconds)

    def check(self) -> str:
        """Connect, and send nothing; raises PushAwayError."""
        try:
            self._connected()
        except (OSError, UnicodeError) as problem:
            raise _no_answer(problem) from None
        finally:
            self.close()
        return "the HL7 receiver accepts a connection" + (" with TLS" if self._context else "")

    def close(self) -> None:
        """See `Sender`."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is not None and _is_closed(self._socket):
            self.close()
        if self._socket is None:
            plain = socket.create_connection(self._place, self._seconds)
            try:
                self._socket = (
                    self._context.wrap_socket(plain, server_hostname=self._place[0])
                    if self._context
                    else plain
                )
            except BaseException:
                plain.close()
                raise
        self._socket.settimeout(self._seconds)
        return self._socket


def _no_answer(problem: Exception) -> PushAwayError:
    return PushAwayError(
        f"the HL7 receiver does not answer ({type(problem).__name__}).",
        "See that it runs, and that hl7.address and hl7.tls are right.",
    )


def _is_closed(connection: socket.socket) -> bool:
    """Tell whether the receiver has closed a connection on which nothing is due."""
    connection.settimeout(0)
    try:
        connection.recv(1)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError as problem:
        return type(problem).__name__ not in {"SSLWantReadError", "SSLWantWriteError"}
    return True  # an end, or bytes that nobody asked for


def _framed(connection: socket.socket, seconds: float) -> bytes:
    """Return the next block that the receiver sends.

    Raises:
        OSError: The connection ends, or the block is not whole in time.
    """
    import time

    until, got = time.monotonic() + seconds, b""
    while _END not in got:
        left = until - time.monotonic()
        if left <= 0 or len(got) > _MOST_BYTES:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(1 << 16)
        if not piece:
            raise ConnectionResetError
        got += piece
    return got.partition(_END)[0].rpartition(_START)[2]


def check_acknowledgement(answer: bytes, sent: str) -> None:
    """See that an acknowledgement accepts a message (chapter 2, 2.9).

    Args:
        answer: The message ACK.
        sent: The message control ID of the message.

    Raises:
        PushAnswerError: It does not, or it belongs to another message.
    """
    lines = [line for line in re.split("[\r\n]+", answer.decode("latin-1")) if line]
    if not lines or not lines[0].startswith("MSH") or len(lines[0]) < 4:
        raise PushAnswerError("the HL7 receiver's answer is no HL7 message.", "Ask its administrator.")
    separator = lines[0][3]
    found = next((line.split(separator) for line in lines if line.startswith(f"MSA{separator}")), [])
    code, about = (*[field.strip() for field in found[1:3]], "", "")[:2]
    if about != sent:
        raise PushAnswerError(
            "the HL7 receiver acknowledges another message than was sent.", "Ask its administrator."
        )
    if code not in _ACCEPTED:
        told = _REFUSED.get(code, "no acknowledgement code that is known")
        raise PushAnswerError(
            f"the HL7 receiver answers with {told}: it does not take the result.", "Ask its administrator."
        )
