"""What can be set in `node.toml`: each table is a dataclass, each setting a field with its default, meaning and range."""

import socket
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

Mode = Literal["shadow", "live"]
# Meanings of settings that several tables have.
_USER = "User of HTTP basic authentication; empty for none."
_AUTHORITIES = "Certificates to trust; empty for those of the system."
_CERTIFICATE = "PEM file with the certificate and key that this node shows; empty for none."


def setting(default: Any, meaning: str, least: float | None = None, most: float | None = None) -> Any:
    """Return a field of a table: its default, its meaning as docs/hospital.md tells it, and the range of a number."""
    return field(
        default=default, metadata={"meaning": meaning, "range": None if least is None else (least, most)}
    )


@dataclass(frozen=True)
class NodeSettings:
    """The table `[node]`."""

    mode: Mode = setting(
        "shadow",
        "`shadow`: films are read and findings recorded, nothing is stored; `live`: results are stored in the PACS.",
    )
    data: str = setting("data", "Folder of the queue, the files being worked on and the audit.")
    name: str = setting("", "Name of this node among others; empty for the name of the machine.")
    model: str = setting("", "Bundle folder; empty for the model that comes with pneumoscan.")
    operating_point: str = setting("", "Name of the model's threshold; empty for its default.")
    workers: int = setting(2, "Number of films read at the same time.", 1, 64)
    film_seconds: float = setting(30.0, "Maximum time to read one film.", 1, 600)
    film_memory_mb: int = setting(1024, "Maximum memory to read one film, in MiB.", 64, 65536)
    manufacturer: str = setting("pneumoscan", "Manufacturer named in the results.")
    character_set: str = setting(
        "ISO_IR 100",
        "DICOM character set of films that declare none though their names are neither ASCII nor UTF-8.",
    )
    fhir: str = setting(
        "", "Folder for [FHIR R4 JSON](hospital-results.md#fhir), one file for each result; empty for none."
    )
    pictures: int = setting(
        1000,
        "Number of films whose picture is kept in `data/pictures` in shadow mode, for [verdicts](hospital-watching.md#verdicts); 0 for none.",
        0,
        1_000_000,
    )
    outlines: bool = setting(
        False,
        "Whether a [presentation state](hospital-results.md#the-presentation-state) that draws the regions of evidence is stored too.",
    )
    max_attempts: int = setting(5, "After so many failures in one state a film is parked.", 1, 100)
    lease_seconds: float = setting(
        120.0, "Time after which another process takes over a film whose process does not answer.", 30, 600
    )
    min_free_mb: int = setting(
        1024, "Free disk space, in MiB, below which no more objects are accepted.", 1, 1 << 20
    )


@dataclass(frozen=True)
class PacsSettings:
    """The table `[pacs]`."""

    url: str = setting(
        "http://127.0.0.1:8042/dicom-web",
        "Address of the DICOMweb service, under which `/studies` and `/instances` lie.",
    )
    orthanc: str = setting(
        "",
        "Address of Orthanc's own interface, whose list of changes is then followed; empty for every other PACS.",
    )
    dicom: str = setting(
        "", "`AE@host:port` of the PACS, to which `node check` sends an echo; empty for none."
    )
    user: str = setting("", _USER)
    password_file: str = setting("", "File with the password in one line; or PNEUMOSCAN_PACS_PASSWORD.")
    token_file: str = setting("", "File with a bearer token in one line; or PNEUMOSCAN_PACS_TOKEN.")
    ca_file: str = setting("", _AUTHORITIES)
    client_certificate: str = setting("", _CERTIFICATE)
    timeout_seconds: float = setting(20.0, "Maximum time until the next bytes of an answer.", 1, 600)
    transfer_seconds: float = setting(60.0, "Maximum time for a whole answer.", 1, 600)
    max_object_mb: int = setting(128, "Maximum size of one object, in MiB.", 1, 256)
    allow_unencrypted: bool = setting(False, "Whether a PACS on another machine may be used without TLS.")


@dataclass(frozen=True)
class FindSettings:
    """The table `[find]`."""

    modalities: tuple[str, ...] = setting(("CR", "DX"), "Modalities to search for.")
    days: int = setting(2, "Number of days searched, back from today.", 1, 366)
    every_seconds: float = setting(30.0, "Time from one search to the next.", 0.1, 86400)
    page: int = setting(100, "Number of objects in one answer.", 1, 10000)
    sweep_days: int = setting(
        30, "Number of days of the nightly search for missed films; 0 for none.", 0, 3660
    )
    sweep_at: str = setting("03:00", "Time of the nightly search, `HH:MM` of the machine's clock.")


@dataclass(frozen=True)
class Peer:
    """One of `[[receive.allow]]`: a caller, by its AE title and its IP address or network (`10.1.2.0/24`)."""

    ae: str = ""
    address: str = ""


@dataclass(frozen=True)
class ReceiveSettings:
    """The table `[receive]`."""

    ae_title: str = setting("PNEUMOSCAN", "AE title of this node; calls for another title are not answered.")
    host: str = setting("127.0.0.1", "Address to listen on.")
    port: int = setting(11112, "Port to listen on; 0 takes a free one.", 0, 65535)
    allow: tuple[Peer, ...] = setting((), "Who may send; nobody else is answered.")
    tls_certificate: str = setting("", "PEM file of the certificate; empty for no TLS.")
    tls_key: str = setting("", "PEM file of the key; empty if the certificate's file contains it.")
    tls_ca: str = setting(
        "", "PEM file of the authorities whose certificates callers must show; empty if callers need none."
    )
    max_associations: int = setting(8, "Maximum number of associations at the same time.", 1, 256)
    max_pdu: int = setting(65536, "Maximum size of one PDU, in bytes.", 4096, 1 << 20)
    max_object_mb: int = setting(128, "Maximum size of one object, in MiB.", 1, 256)
    timeout_seconds: float = setting(30.0, "Time after which a silent caller is disconnected.", 1, 600)
    allow_unencrypted: bool = setting(False, "Whether to listen to other machines without TLS.")


@dataclass(frozen=True)
class ExamRule:
    """One of `[[exams.rules]]`; see `node.exams`. Empty lists, and ages from 0 to 150, are no conditions."""

    name: str = ""
    action: Literal["read", "skip"] = "read"
    modalities: tuple[str, ...] = ()
    stations: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    min_age: int = 0
    max_age: int = 150


@dataclass(frozen=True)
class ExamsSettings:
    """The table `[exams]`."""

    quiet_seconds: float = setting(
        0.0,
        "A film is read when no other object of its study was found for so many seconds; 0 for at once.",
        0,
        3600,
    )
    rules: tuple[ExamRule, ...] = setting(
        (), "[Which exams are read](#which-exams-are-read); without rules, all."
    )


@dataclass(frozen=True)
class FhirSettings:
    """The table `[fhir]`."""

    url: str = setting(
        "",
        "Address of a FHIR R4 server, to which each result is [sent](hospital-results.md#pushed-results) as a transaction; empty for none.",
    )
    user: str = setting("", _USER)
    password_file: str = setting("", "File with the password in one line; or PNEUMOSCAN_FHIR_PASSWORD.")
    token_file: str = setting("", "File with a bearer token in one line; or PNEUMOSCAN_FHIR_TOKEN.")
    ca_file: str = setting("", _AUTHORITIES)
    client_certificate: str = setting("", _CERTIFICATE)
    timeout_seconds: float = setting(20.0, "Maximum time until the next bytes of an answer.", 1, 600)
    allow_unencrypted: bool = setting(False, "Whether a server on another machine may be used without TLS.")


@dataclass(frozen=True)
class Hl7Settings:
    """The table `[hl7]`."""

    address: str = setting(
        "",
        "`host:port` of an MLLP receiver, to which each result is [sent](hospital-results.md#pushed-results) as ORU^R01; empty for none.",
    )
    tls: bool = setting(False, "Whether to use TLS.")
    ca_file: str = setting("", _AUTHORITIES)
    client_certificate: str = setting("", _CERTIFICATE)
    sending_application: str = setting("PNEUMOSCAN", "MSH-3.")
    sending_facility: str = setting("", "MSH-4.")
    receiving_application: str = setting("", "MSH-5.")
    receiving_facility: str = setting("", "MSH-6.")
    timeout_seconds: float = setting(20.0, "Maximum time until the acknowledgement.", 1, 600)
    allow_unencrypted: bool = setting(False, "Whether a receiver on another machine may be used without TLS.")


@dataclass(frozen=True)
class QueueSettings:
    """The table `[queue]`."""

    postgres: str = setting(
        "",
        "Address of a PostgreSQL database without its password (PGPASSFILE, PGPASSWORD); empty for SQLite.",
    )


@dataclass(frozen=True)
class WatchSettings:
    """The table `[watch]`."""

    reference: tuple[str, ...] = setting(
        (),
        'First and last of the [reference weeks](hospital-watching.md#when-weeks-differ), such as `["2026-W01", "2026-W08"]`; empty for the first eight.',
    )
    metrics_port: int = setting(
        0,
        "Port on which the process with the role `work` answers [Prometheus](hospital-watching.md#prometheus), at `/metrics`; 0 for none.",
        0,
        65535,
    )
    metrics_host: str = setting("127.0.0.1", "Address to listen on for Prometheus.")
    metrics_certificate: str = setting(
        "", "PEM file of the certificate; empty for no TLS, on the loopback only."
    )
    metrics_key: str = setting("", "PEM file of the key.")


@dataclass(frozen=True)
class Config:
    """All of `node.toml`, and the folder that it lies in; `roles` is what `node run` does by default."""

    node: NodeSettings = NodeSettings()
    pacs: PacsSettings = PacsSettings()
    find: FindSettings = FindSettings()
    receive: ReceiveSettings = ReceiveSettings()
    exams: ExamsSettings = ExamsSettings()
    fhir: FhirSettings = FhirSettings()
    hl7: Hl7Settings = Hl7Settings()
    queue: QueueSettings = QueueSettings()
    watch: WatchSettings = WatchSettings()
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
        """The folder of the files being worked on."""
        return self.data / "spool"

    @property
    def pushes(self) -> tuple[str, ...]:
        """What results are pushed as: some of `fhir` and `hl7`."""
        return (*(["fhir"] if self.fhir.url else []), *(["hl7"] if self.hl7.address else []))

    def path(self, name: str) -> Path | None:
        """Return a path that stands in the file; None where it is empty."""
        return self.folder / name if name else None

    def settings(self) -> Iterator[tuple[str, Field[Any], Any]]:
        """Yield each setting as `table.name`, its field, and its value."""
        for table in fields(self):
            values = getattr(self, table.name)
            for one in fields(values) if is_dataclass(values) else ():
                yield f"{table.name}.{one.name}", one, getattr(values, one.name)
