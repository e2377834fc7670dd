"""The listening end of DICOM's network protocol, by pynetdicom, with the bounds that it leaves to others."""

import ipaddress
import logging
import socketserver
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pneumoscan.apps.node.config import Receive, network
from pneumoscan.imaging.dicom.file import JPEG, JPEG_2000, JPEG_LS, NATIVE, RLE

if TYPE_CHECKING:
    import socket

    from pynetdicom.events import Event
    from pynetdicom.transport import AssociationServer

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Radiographs, secondary captures, and the class of our own reports: a PACS that forwards these to us must not be told of a failure.
CLASSES = tuple(f"{_STORAGE}{last}" for last in ("1", "1.1", "7", "7.2", "7.3", "7.4", "88.34"))
_VERIFICATION = "1.2.840.10008.1.1"
_REJECTED, _BY_USER, _CALLING_AE = 0x01, 0x01, 0x03
# Commands and the headers of PDUs come on top of an object.
_BESIDES = 1 << 20


def listen(
    settings: Receive, store: "Callable[[Event], int]", tls: ssl.SSLContext | None
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
    entity.add_supported_context(_VERIFICATION)
    for uid in CLASSES:
        entity.add_supported_context(uid, sorted(NATIVE | {RLE} | JPEG | JPEG_LS | JPEG_2000))
    handlers: list[Any] = [(evt.EVT_REQUESTED, _turn_away, [settings]), (evt.EVT_C_STORE, store)]
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
    return (mapped or calling) in network(peer_address)


def _turn_away(event: "Event", settings: Receive) -> None:
    """Reject an association whose AE title and address do not stand together on the list."""
    requestor = event.assoc.requestor
    title = str(getattr(requestor.primitive, "calling_ae_title", "")).strip()
    if any(peer.ae.strip() == title and _is_at(peer.address, requestor.address) for peer in settings.allow):
        return
    event.assoc.acse.send_reject(_REJECTED, _BY_USER, _CALLING_AE)
    event.assoc.kill()


def _server_class(settings: Receive) -> type[Any]:
    from pynetdicom.transport import ThreadedAssociationServer

    class Server(ThreadedAssociationServer):
        """Knows whom it listens to before it reads a byte."""

        daemon_threads = True

        def verify_request(self, _request: Any, client_address: Any) -> bool:
            """Tell whether a connection may be read from."""
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


def _handler_class(settings: Receive) -> type[Any]:
    from pynetdicom import evt
    from pynetdicom.transport import RequestHandler

    class Handler(RequestHandler):
        """Counts what a connection sends for one message."""

        def _create_association(self) -> Any:
            association = super()._create_association()
            sock: Any = association.dul.socket
            receive, most = sock.recv, (settings.max_object_mb << 20) + _BESIDES
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
