"""Films by DICOM's C-STORE (PS3.4, annex B): Success goes out when the file and its row are on the disk, never before.

Only callers whose AE title and address are both on the list are let in; an address that no entry has is not even listened to.
What an object takes is bounded before it is whole: pynetdicom reads a PDU of any length that it claims.
"""

import hashlib
import ipaddress
import logging
import socketserver
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pneumoscan.errors import ConfigError, EnvironmentProblemError, FilmError, importing
from pneumoscan.imaging.dicom.file import JPEG, JPEG_2000, JPEG_LS, NATIVE, RLE
from pneumoscan.node.audit import Audit
from pneumoscan.node.find import arrivals_of
from pneumoscan.node.header import Header, read_header
from pneumoscan.node.queue import Queue, State
from pneumoscan.node.settings import Config, ReceiveSettings
from pneumoscan.node.spool import Spool

if TYPE_CHECKING:
    import socket

    from pynetdicom.events import Event
    from pynetdicom.transport import AssociationServer

log = logging.getLogger("pneumoscan.node")
# PS3.4, B.2.3, and PS3.7, annex C.
SUCCESS, OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000


class Receiver:
    """Listens until it is closed.

    Attributes:
        paused: Whether objects are turned away as if the disk were full, for the node is being drained.
    """

    def __init__(self, config: Config, queue: Queue, spool: Spool, audit: Audit) -> None:
        """Begin to listen.

        Raises:
            EnvironmentProblemError: The address is in use.
            ConfigError: A certificate cannot be read.
            MissingDependencyError: The extra `node` is not installed.
        """
        self.paused = False
        self._config, self._queue, self._spool, self._audit = config, queue, spool, audit
        try:
            with importing():
                self._server = listen(config.receive, self._store, _tls(config))
        except OSError as problem:
            raise EnvironmentProblemError(
                f"cannot listen on {config.receive.host}, port {config.receive.port}: {problem.strerror}.",
                "See receive.host and receive.port.",
            ) from None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening; associations that are open are ended."""
        self._server.shutdown()

    def _store(self, event: "Event") -> int:
        """Answer a C-STORE request; nothing that goes wrong here may become a Success."""
        try:
            return self._accept(event)
        except (EnvironmentProblemError, OSError) as problem:
            code = getattr(problem, "code", type(problem).__name__)
            log.error("an object was not received: %s", code)  # noqa: TRY400 - a traceback may hold what the object says
            return OUT_OF_RESOURCES
        except Exception as problem:  # noqa: BLE001
            log.error("an object was not received: %s", type(problem).__name__)  # noqa: TRY400
            return CANNOT_UNDERSTAND

    def _accept(self, event: "Event") -> int:
        if self.paused:
            return OUT_OF_RESOURCES
        self._spool.check_room()
        content = event.encoded_dataset()
        announced = str(getattr(event.request, "AffectedSOPInstanceUID", None) or "")
        try:
            header, stored, pixels = read_header(content)
        except FilmError as problem:
            digest = hashlib.sha256(content).hexdigest()
            self._commit_row(Header(announced), "", digest, code=problem.code)
            return CANNOT_UNDERSTAND
        if header.sop_instance_uid != announced or not announced:
            return DOES_NOT_MATCH
        if header.is_own_result:
            return SUCCESS
        name = self._spool.put(content)
        if self._commit_row(header, name, stored, pixels) is not State.FETCHED:
            self._spool.drop(name)
        return SUCCESS

    def _commit_row(
        self, header: Header, spool: str, stored: str, pixels: str = "", code: str = ""
    ) -> State | None:
        """Commit the row of an object; the file stands in the spool by then."""
        (arrival,) = arrivals_of([header], "c-store", self._config.node.mode)
        host = self._config.name
        try:
            state = self._queue.receive(
                arrival, host=host, spool=spool, stored_sha256=stored, pixels_sha256=pixels, code=code
            )
        except BaseException:
            if spool:
                self._spool.drop(spool)
            raise
        if state is State.CONFLICT:
            log.error("an object came with the UID of another one, and other pixels: it is not read")
        if state is not None:
            self._audit.write("received", state=str(state), **({"code": code} if code else {}))
        return state


def _tls(config: Config) -> ssl.SSLContext | None:
    receive = config.receive
    if not receive.tls_certificate:
        return None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(config.folder / receive.tls_certificate, config.path(receive.tls_key))
        if receive.tls_ca:
            context.load_verify_locations(config.folder / receive.tls_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError):
        raise ConfigError("receive.tls_* cannot be read.", "Give PEM files.") from None
    return context


_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Radiographs, secondary captures, and the class of our own reports: a PACS that forwards these to us must not be told of a failure.
CLASSES = tuple(f"{_STORAGE}{last}" for last in ("1", "1.1", "7", "7.2", "7.3", "7.4", "88.34"))
VERIFICATION = "1.2.840.10008.1.1"
_REJECTED, _BY_USER, _CALLING_AE = 0x01, 0x01, 0x03
# Commands and the headers of PDUs come on top of an object.
_OVERHEAD = 1 << 20


def listen(
    settings: ReceiveSettings, store: "Callable[[Event], int]", tls: ssl.SSLContext | None
) -> "AssociationServer":
    """Begin to listen, in a thread of its own.

    Args:
        settings: The table `[receive]`.
        store: Answers a C-STORE request with a status.
        tls: Of the listening socket; None for no TLS.

    Returns:
        The server, to be ended by its `shutdown`.

    Raises:
        OSError: The address cannot be listened on.
    """
    from pynetdicom import AE, evt
    from pynetdicom import _config as library

    # It logs what it receives, and that holds patients' data.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    library.LOG_HANDLER_LEVEL = "none"
    entity = AE(settings.ae_title)
    entity.maximum_pdu_size = settings.max_pdu
    entity.maximum_associations = settings.max_associations
    entity.require_called_aet = True
    entity.require_calling_aet = sorted({peer.ae for peer in settings.allow})
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = settings.timeout_seconds
    entity.add_supported_context(VERIFICATION)
    for uid in CLASSES:
        entity.add_supported_context(uid, sorted(NATIVE | {RLE} | JPEG | JPEG_LS | JPEG_2000))
    handlers: list[Any] = [(evt.EVT_REQUESTED, _reject_unlisted, [settings]), (evt.EVT_C_STORE, store)]
    server = entity.make_server(
        (settings.host, settings.port),
        evt_handlers=handlers,
        ssl_context=tls,
        server_class=_server_class(settings),
        request_handler=_handler_class(settings),
    )
    threading.Thread(target=server.serve_forever, name="receive", daemon=True).start()
    return server


def _is_at(peer_address: str, address: str) -> bool:
    """Tell whether an address is one, or lies in a network, that a peer may call from."""
    calling = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(calling, "ipv4_mapped", None)
    return (mapped or calling) in ipaddress.ip_network(peer_address)


def _reject_unlisted(event: "Event", settings: ReceiveSettings) -> None:
    """Reject an association whose AE title and address do not stand together on the list."""
    requestor = event.assoc.requestor
    title = str(getattr(requestor.primitive, "calling_ae_title", "")).strip()
    if any(peer.ae.strip() == title and _is_at(peer.address, requestor.address) for peer in settings.allow):
        return
    event.assoc.acse.send_reject(_REJECTED, _BY_USER, _CALLING_AE)
    event.assoc.kill()


def _server_class(settings: ReceiveSettings) -> type[Any]:
    from pynetdicom.transport import ThreadedAssociationServer

    class Server(ThreadedAssociationServer):
        """Checks the address of a caller before it reads a byte."""

        daemon_threads = True

        def verify_request(self, _request: Any, client_address: Any) -> bool:
            """Return whether a caller of this address may send."""
            known = any(_is_at(peer.address, client_address[0]) for peer in settings.allow)
            # Those above the limit are told so by a rejection; those far above are not told.
            return known and len(self.active_associations) <= 2 * settings.max_associations

        def get_request(self) -> "tuple[socket.socket, Any]":
            """Accept a connection; whoever is slow to shake hands holds up no other."""
            assert self.socket is not None
            accepted, address = self.socket.accept()
            accepted.settimeout(settings.timeout_seconds)
            if self.ssl_context is not None:
                accepted = self.ssl_context.wrap_socket(
                    accepted, server_side=True, do_handshake_on_connect=False
                )
            return accepted, address

        def shutdown(self) -> None:
            """Stop listening, and end what is open; the inherited one asks for a list that only `AE.start_server` keeps."""
            socketserver.BaseServer.shutdown(self)
            self.server_close()
            for association in self.active_associations:
                association.abort()

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing on stderr."""

    return Server


def _handler_class(settings: ReceiveSettings) -> type[Any]:
    from pynetdicom import evt
    from pynetdicom.transport import RequestHandler

    class Handler(RequestHandler):
        """Limits the bytes that a connection sends for one message."""

        def _create_association(self) -> Any:
            association = super()._create_association()
            sock: Any = association.dul.socket
            receive, most = sock.recv, (settings.max_object_mb << 20) + _OVERHEAD
            taken = 0

            def bounded(count: int) -> Any:
                nonlocal taken
                taken += count
                if count > settings.max_pdu + 6 or taken > most:
                    raise OSError("more than is allowed")
                return receive(count)

            def begin(_event: Any) -> None:
                nonlocal taken
                taken = 0

            sock.recv = bounded
            association.bind(evt.EVT_DIMSE_RECV, begin)
            return association

    return Handler
