"""Receivers of pushed results: an MLLP server of hl7apy, and a small FHIR server that checks each transaction with `fhir.resources`.

Both keep what they took by its identifier, as a hospital's systems do, and can fail in chosen ways.
"""

import json
import threading
import warnings
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

hl7apy_mllp = pytest.importorskip("hl7apy.mllp", reason="hl7apy is not installed")
from hl7apy import parser  # noqa: E402
from hl7apy.consts import VALIDATION_LEVEL  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pydantic, while the models are made
    fhir_bundles = pytest.importorskip("fhir.resources.R4B.bundle", reason="fhir.resources is not installed")

ORU = "ORU^R01^ORU_R01"


def parsed(text):
    """A message, checked against the grammar of its version."""
    message = parser.parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    message.validate()
    return message


class Hl7Receiver:
    """Attributes:
    came: How often each message came, by MSH-10.
    texts: The messages by MSH-10.
    changed: Those that came again with other bytes.
    fault: Told the number of a call and its MSH-10; answers a code, or `lost` to take the message and answer nothing.
    """

    def __init__(self, fault=lambda number, control: "AA", port=0):
        self.came, self.texts, self.changed, self.fault = Counter(), {}, set(), fault
        turn, outer = threading.Lock(), self

        class Handler(hl7apy_mllp.AbstractHandler):
            def reply(self):
                message = parsed(self.incoming_message)
                control = message.msh.msh_10.value
                with turn:
                    code = outer.fault(sum(outer.came.values()), control)
                    outer.came[control] += 1
                    first = outer.texts.get(control, self.incoming_message)
                    if first != self.incoming_message:
                        outer.changed.add(control)
                    if code in {"AA", "lost"}:
                        outer.texts[control] = first
                if code == "lost":
                    raise RuntimeError
                return f"\x0bMSH|^~\\&|RIS||||20260101||ACK^R01|1|P|2.5.1\rMSA|{code}|{control}\r\x1c\r"

        class Server(hl7apy_mllp.MLLPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass

        self.server = Server("127.0.0.1", port, {ORU: (Handler,)})
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class FhirReceiver:
    """Attributes:
    created: The resources that exist, by type and identifier.
    came: How often each report came.
    authorization: That the last request had.
    fault: Told the number of a transaction; answers a status, or `lost` to carry it out and answer nothing.
    """

    def __init__(self, fault=lambda number: 200, port=0):
        self.created, self.came, self.fault, self.authorization = {}, Counter(), fault, None
        turn, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *words):
                pass

            def do_GET(self):
                told = {"resourceType": "CapabilityStatement"} if self.path.endswith("/metadata") else {}
                self.reply(200 if told else 404, told)

            def do_POST(self):
                outer.authorization = self.headers.get("Authorization")
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/fhir+json"
                with turn:
                    code = outer.fault(sum(outer.came.values()))
                    entries = outer.carry_out(body, created=code in {200, "lost"})
                if code == "lost":
                    self.close_connection = True
                elif code == 200:
                    self.reply(
                        200, {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}
                    )
                else:
                    self.reply(code, {"resourceType": "OperationOutcome", "issue": []})

            def reply(self, status, told):
                body = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                """Say nothing: clients are killed."""

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/fhir"

    def carry_out(self, body, *, created):
        bundle = fhir_bundles.Bundle.model_validate_json(body)
        assert bundle.type == "transaction"
        entries = []
        told = json.loads(body)["entry"]
        places = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in told}
        assert all(place.startswith("urn:uuid:") for place in places)
        for entry in told:
            resource, request = entry["resource"], entry["request"]
            for reference in (*resource.get("result", ()), *filter(None, [resource.get("device")])):
                assert places[reference["reference"]] in {"Observation", "Device"}
            (identifier,) = resource["identifier"]
            assert request["method"] == "POST"
            assert request["url"] == resource["resourceType"]
            assert request["ifNoneExist"] == f"identifier={identifier['system']}|{identifier['value']}"
            key = resource["resourceType"], identifier["value"]
            if resource["resourceType"] == "DiagnosticReport":
                self.came[identifier["value"]] += 1
            entries.append({"response": {"status": "200 OK" if key in self.created else "201 Created"}})
            if created:
                self.created.setdefault(key, resource)
        return entries

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
