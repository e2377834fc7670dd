"""The settings of a node: the tables of `node.toml`, each setting with its default and its range."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Mode = Literal["shadow", "live"]
ROLES = ("find", "receive", "work")
_LEAST_LEASE = 30


@dataclass(frozen=True)
class Node:
    """The table `[node]`.

    Attributes:
        mode: `shadow`: films are read and findings recorded, nothing is stored; `live`: results are stored in the PACS.
        data: Folder of the queue, the files under way and the audit.
        name: Of this node among others; by default the machine's.
        model: Bundle folder; empty for the model that comes with pneumoscan.
        operating_point: Name of the model's threshold; empty for its own choice.
        workers: Films that are read at once.
        film_seconds: That reading one film may take.
        film_memory_mb: That reading one film may take, in MiB.
        manufacturer: What stands in results as their manufacturer.
        character_set: As DICOM names it, of films that declare none though their names are neither ASCII nor UTF-8.
        fhir: Folder for FHIR R4 JSON, one file for each result that is made; empty for none.
        max_attempts: After so many failures in one state a film is parked.
        lease_seconds: For which a film is kept by a process that does not answer.
        min_free_mb: Below so much free disk, in MiB, nothing more is taken in.
    """

    mode: Mode = "shadow"
    data: str = "data"
    name: str = ""
    model: str = ""
    operating_point: str = ""
    workers: int = 2
    film_seconds: float = 30.0
    film_memory_mb: int = 1024
    manufacturer: str = "pneumoscan"
    character_set: str = "ISO_IR 100"
    fhir: str = ""
    max_attempts: int = 5
    lease_seconds: float = 120.0
    min_free_mb: int = 1024


@dataclass(frozen=True)
class Pacs:
    """The table `[pacs]`.

    Attributes:
        url: Of its DICOMweb service, under which `/studies` and `/instances` lie.
        orthanc: Of Orthanc's own interface, whose list of changes is then followed; empty for every other PACS.
        dicom: `AE@host:port` of its application entity, which `node check` sends an echo; empty for none.
        user: Of HTTP's basic authentication; empty for none.
        password_file: Holds the password, one line; or PNEUMOSCAN_PACS_PASSWORD.
        token_file: Holds a bearer token, one line; or PNEUMOSCAN_PACS_TOKEN.
        ca_file: Certificates to trust; empty for those of the system.
        client_certificate: PEM file with the certificate and key that this node shows; empty for none.
        timeout_seconds: To wait for the next bytes of an answer.
        transfer_seconds: For a whole answer.
        max_object_mb: Of one object, in MiB.
        allow_unencrypted: Whether a PACS on another machine may be spoken to without TLS.
    """

    url: str = "http://127.0.0.1:8042/dicom-web"
    orthanc: str = ""
    dicom: str = ""
    user: str = ""
    password_file: str = ""
    token_file: str = ""
    ca_file: str = ""
    client_certificate: str = ""
    timeout_seconds: float = 20.0
    transfer_seconds: float = 60.0
    max_object_mb: int = 128
    allow_unencrypted: bool = False


@dataclass(frozen=True)
class Find:
    """The table `[find]`.

    Attributes:
        modalities: That are asked for.
        days: Back from today of the studies that are asked for.
        every_seconds: From one look to the next.
        page: Objects in one answer.
        sweep_days: Back from today of the nightly look for what was missed; 0 for none.
        sweep_at: When that is done, `HH:MM` of the machine's time.
    """

    modalities: tuple[str, ...] = ("CR", "DX")
    days: int = 2
    every_seconds: float = 30.0
    page: int = 100
    sweep_days: int = 30
    sweep_at: str = "03:00"


@dataclass(frozen=True)
class Peer:
    """One of `[[receive.allow]]`: who may send.

    Attributes:
        ae: Calling AE title.
        address: IP address or network (`10.1.2.0/24`) that it calls from.
    """

    ae: str = ""
    address: str = ""


@dataclass(frozen=True)
class Receive:
    """The table `[receive]`.

    Attributes:
        ae_title: Of this node; others are not answered.
        host: Address to listen on.
        port: To listen on; 0 takes a free one.
        allow: Who may send; nobody else is answered.
        tls_certificate: PEM file of the certificate; empty for no TLS.
        tls_key: PEM file of its key; empty if it stands with the certificate.
        tls_ca: PEM file of those whose certificates callers must show; empty if they need none.
        max_associations: At once.
        max_pdu: Bytes of one PDU.
        max_object_mb: Of one object, in MiB.
        timeout_seconds: For a caller who says nothing.
        allow_unencrypted: Whether to listen to other machines without TLS.
    """

    ae_title: str = "PNEUMOSCAN"
    host: str = "127.0.0.1"
    port: int = 11112
    allow: tuple[Peer, ...] = ()
    tls_certificate: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    max_associations: int = 8
    max_pdu: int = 65536
    max_object_mb: int = 128
    timeout_seconds: float = 30.0
    allow_unencrypted: bool = False


@dataclass(frozen=True)
class Database:
    """The table `[queue]`.

    Attributes:
        postgres: Address of a PostgreSQL database without its password (PGPASSFILE, PGPASSWORD); empty for SQLite.
    """

    postgres: str = ""


@dataclass(frozen=True)
class Watch:
    """The table `[watch]`.

    Attributes:
        reference: First and last of the reference weeks, such as `2026-W01` and `2026-W08`; empty for the first eight.
        metrics_port: At which the process with the role `work` answers Prometheus, at `/metrics`; 0 for none.
        metrics_host: Address to listen on for that.
        metrics_certificate: PEM file of the certificate; empty for no TLS.
        metrics_key: PEM file of its key.
    """

    reference: tuple[str, ...] = ()
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"
    metrics_certificate: str = ""
    metrics_key: str = ""


@dataclass(frozen=True)
class Config:
    """All of `node.toml`.

    Attributes:
        node: The node itself.
        pacs: The picture archive.
        find: How new films are looked for.
        receive: How films are received by C-STORE.
        queue: Where the queue lies.
        watch: How films and the node are watched.
        roles: What `run` does by default: of `find`, `receive`, `work`.
        folder: The file's own.
    """

    node: Node = Node()
    pacs: Pacs = Pacs()
    find: Find = Find()
    receive: Receive = Receive()
    queue: Database = Database()
    watch: Watch = Watch()
    roles: tuple[str, ...] = ("find", "work")
    folder: Path = field(default=Path())

    @property
    def name(self) -> str:
        """This node's name."""
        return self.node.name or socket.gethostname()

    @property
    def data(self) -> Path:
        """The folder of the node's own files."""
        return self.folder / self.node.data

    @property
    def spool(self) -> Path:
        """The folder of the files under way."""
        return self.data / "spool"

    def path(self, name: str) -> Path | None:
        """Return a path that stands in the file; None where it is empty."""
        return self.folder / name if name else None


_LIMITS: Mapping[str, tuple[float, float]] = {
    "node.workers": (1, 64),
    "node.film_seconds": (1, 600),
    "node.film_memory_mb": (64, 65536),
    "node.max_attempts": (1, 100),
    "node.lease_seconds": (_LEAST_LEASE, 600),
    "node.min_free_mb": (1, 1 << 20),
    "pacs.timeout_seconds": (1, 600),
    "pacs.transfer_seconds": (1, 600),
    "pacs.max_object_mb": (1, 256),
    "find.days": (1, 366),
    "find.every_seconds": (0.1, 86400),
    "find.page": (1, 10000),
    "find.sweep_days": (0, 3660),
    "receive.port": (0, 65535),
    "receive.max_associations": (1, 256),
    "receive.max_pdu": (4096, 1 << 20),
    "receive.max_object_mb": (1, 256),
    "receive.timeout_seconds": (1, 600),
    "watch.metrics_port": (0, 65535),
}


def limits() -> Mapping[str, tuple[float, float]]:
    """Return the least and the greatest value of each setting that is a number."""
    return _LIMITS
