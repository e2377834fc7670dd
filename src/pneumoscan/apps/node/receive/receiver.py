"""Films by DICOM's C-STORE (PS3.4, annex B): Success goes out when the file and its row are on the disk, never before.

Only callers whose AE title and address are both on the list are let in; an address that no entry has is not even listened to.
What an object takes is bounded before it is whole: pynetdicom reads a PDU of any length that it claims.
"""

import hashlib
import logging
import ssl
from typing import TYPE_CHECKING

from pneumoscan.apps.node.audit import Audit
from pneumoscan.apps.node.config import Config
from pneumoscan.apps.node.header import Header, read_header
from pneumoscan.apps.node.queue import Queue, State
from pneumoscan.apps.node.receive import listening
from pneumoscan.apps.node.results import is_own_result
from pneumoscan.apps.node.sources.qido import arrivals
from pneumoscan.apps.node.spool import Spool
from pneumoscan.errors import ConfigError, EnvironmentProblemError, FilmError, importing

if TYPE_CHECKING:
    from pynetdicom.events import Event

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
                self._server = listening.listen(config.receive, self._store, _tls(config))
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
            return self._kept(event)
        except (EnvironmentProblemError, OSError) as problem:
            code = getattr(problem, "code", type(problem).__name__)
            log.error("an object was not received: %s", code)  # noqa: TRY400 - a traceback may hold what the object says
            return OUT_OF_RESOURCES
        except Exception as problem:  # noqa: BLE001
            log.error("an object was not received: %s", type(problem).__name__)  # noqa: TRY400
            return CANNOT_UNDERSTAND

    def _kept(self, event: "Event") -> int:
        if self.paused:
            return OUT_OF_RESOURCES
        self._spool.check_room()
        content = event.encoded_dataset()
        announced = str(getattr(event.request, "AffectedSOPInstanceUID", None) or "")
        try:
            header, stored, pixels = read_header(content)
        except FilmError as problem:
            digest = hashlib.sha256(content).hexdigest()
            self._enter(Header(announced), "", digest, code=problem.code)
            return CANNOT_UNDERSTAND
        if header.sop_instance_uid != announced or not announced:
            return DOES_NOT_MATCH
        if is_own_result(header.identity):
            return SUCCESS
        name = self._spool.put(content)
        if self._enter(header, name, stored, pixels) is not State.FETCHED:
            self._spool.drop(name)
        return SUCCESS

    def _enter(
        self, header: Header, spool: str, stored: str, pixels: str = "", code: str = ""
    ) -> State | None:
        """Commit the row of an object; the file stands in the spool by then."""
        (arrival,) = arrivals([header], "c-store", self._config.node.mode)
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
