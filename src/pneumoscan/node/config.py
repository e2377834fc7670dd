"""The settings of a node: `node.toml`, read and checked before anything runs; secrets lie outside it."""

import ipaddress
import os
import re
import socket
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from pneumoscan.errors import ConfigError

Mode = Literal["shadow", "live"]
ROLES = ("find", "receive", "work")
PASSWORD_VARIABLE = "PNEUMOSCAN_PACS_PASSWORD"  # noqa: S105 - its name
TOKEN_VARIABLE = "PNEUMOSCAN_PACS_TOKEN"  # noqa: S105 - its name
_WEEK = re.compile(r"\d{4}-W[0-5]\d")
_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def _setting(default: Any, meaning: str, least: float | None = None, most: float | None = None) -> Any:
    """Return a field of a table: its default, its meaning as docs/hospital.md tells it, and the range of a number."""
    return field(
        default=default, metadata={"meaning": meaning, "range": None if least is None else (least, most)}
    )


@dataclass(frozen=True)
class NodeSettings:
    """The table `[node]`."""

    mode: Mode = _setting(
        "shadow",
        "`shadow`: films are read and findings recorded, nothing is stored; `live`: results are stored in the PACS.",
    )
    data: str = _setting("data", "Folder of the queue, the files being worked on and the audit.")
    name: str = _setting("", "Name of this node among others; empty for the name of the machine.")
    model: str = _setting("", "Bundle folder; empty for the model that comes with pneumoscan.")
    operating_point: str = _setting("", "Name of the model's threshold; empty for its default.")
    workers: int = _setting(2, "Number of films read at the same time.", 1, 64)
    film_seconds: float = _setting(30.0, "Maximum time to read one film.", 1, 600)
    film_memory_mb: int = _setting(1024, "Maximum memory to read one film, in MiB.", 64, 65536)
    manufacturer: str = _setting("pneumoscan", "Manufacturer named in the results.")
    character_set: str = _setting(
        "ISO_IR 100",
        "DICOM character set of films that declare none though their names are neither ASCII nor UTF-8.",
    )
    fhir: str = _setting(
        "", "Folder for [FHIR R4 JSON](hospital-results.md#fhir), one file for each result; empty for none."
    )
    max_attempts: int = _setting(5, "After so many failures in one state a film is parked.", 1, 100)
    lease_seconds: float = _setting(
        120.0, "Time after which another process takes over a film whose process does not answer.", 30, 600
    )
    min_free_mb: int = _setting(
        1024, "Free disk space, in MiB, below which no more objects are accepted.", 1, 1 << 20
    )


@dataclass(frozen=True)
class PacsSettings:
    """The table `[pacs]`."""

    url: str = _setting(
        "http://127.0.0.1:8042/dicom-web",
        "Address of the DICOMweb service, under which `/studies` and `/instances` lie.",
    )
    orthanc: str = _setting(
        "",
        "Address of Orthanc's own interface, whose list of changes is then followed; empty for every other PACS.",
    )
    dicom: str = _setting(
        "", "`AE@host:port` of the PACS, to which `node check` sends an echo; empty for none."
    )
    user: str = _setting("", "User of HTTP basic authentication; empty for none.")
    password_file: str = _setting("", "File with the password in one line; or PNEUMOSCAN_PACS_PASSWORD.")
    token_file: str = _setting("", "File with a bearer token in one line; or PNEUMOSCAN_PACS_TOKEN.")
    ca_file: str = _setting("", "Certificates to trust; empty for those of the system.")
    client_certificate: str = _setting(
        "", "PEM file with the certificate and key that this node shows; empty for none."
    )
    timeout_seconds: float = _setting(20.0, "Maximum time until the next bytes of an answer.", 1, 600)
    transfer_seconds: float = _setting(60.0, "Maximum time for a whole answer.", 1, 600)
    max_object_mb: int = _setting(128, "Maximum size of one object, in MiB.", 1, 256)
    allow_unencrypted: bool = _setting(False, "Whether a PACS on another machine may be used without TLS.")


@dataclass(frozen=True)
class FindSettings:
    """The table `[find]`."""

    modalities: tuple[str, ...] = _setting(("CR", "DX"), "Modalities to search for.")
    days: int = _setting(2, "Number of days searched, back from today.", 1, 366)
    every_seconds: float = _setting(30.0, "Time from one search to the next.", 0.1, 86400)
    page: int = _setting(100, "Number of objects in one answer.", 1, 10000)
    sweep_days: int = _setting(
        30, "Number of days of the nightly search for missed films; 0 for none.", 0, 3660
    )
    sweep_at: str = _setting("03:00", "Time of the nightly search, `HH:MM` of the machine's clock.")


@dataclass(frozen=True)
class Peer:
    """One of `[[receive.allow]]`: a caller, by its AE title and its IP address or network (`10.1.2.0/24`)."""

    ae: str = ""
    address: str = ""


@dataclass(frozen=True)
class ReceiveSettings:
    """The table `[receive]`."""

    ae_title: str = _setting("PNEUMOSCAN", "AE title of this node; calls for another title are not answered.")
    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(11112, "Port to listen on; 0 takes a free one.", 0, 65535)
    allow: tuple[Peer, ...] = _setting((), "Who may send; nobody else is answered.")
    tls_certificate: str = _setting("", "PEM file of the certificate; empty for no TLS.")
    tls_key: str = _setting("", "PEM file of the key; empty if the certificate's file contains it.")
    tls_ca: str = _setting(
        "", "PEM file of the authorities whose certificates callers must show; empty if callers need none."
    )
    max_associations: int = _setting(8, "Maximum number of associations at the same time.", 1, 256)
    max_pdu: int = _setting(65536, "Maximum size of one PDU, in bytes.", 4096, 1 << 20)
    max_object_mb: int = _setting(128, "Maximum size of one object, in MiB.", 1, 256)
    timeout_seconds: float = _setting(30.0, "Time after which a silent caller is disconnected.", 1, 600)
    allow_unencrypted: bool = _setting(False, "Whether to listen to other machines without TLS.")


@dataclass(frozen=True)
class QueueSettings:
    """The table `[queue]`."""

    postgres: str = _setting(
        "",
        "Address of a PostgreSQL database without its password (PGPASSFILE, PGPASSWORD); empty for SQLite.",
    )


@dataclass(frozen=True)
class WatchSettings:
    """The table `[watch]`."""

    reference: tuple[str, ...] = _setting(
        (),
        'First and last of the [reference weeks](hospital-watching.md#when-weeks-differ), such as `["2026-W01", "2026-W08"]`; empty for the first eight.',
    )
    metrics_port: int = _setting(
        0,
        "Port on which the process with the role `work` answers [Prometheus](hospital-watching.md#prometheus), at `/metrics`; 0 for none.",
        0,
        65535,
    )
    metrics_host: str = _setting("127.0.0.1", "Address to listen on for Prometheus.")
    metrics_certificate: str = _setting(
        "", "PEM file of the certificate; empty for no TLS, on the loopback only."
    )
    metrics_key: str = _setting("", "PEM file of the key.")


@dataclass(frozen=True)
class Config:
    """All of `node.toml`, and the folder that it lies in; `roles` is what `node run` does by default."""

    node: NodeSettings = NodeSettings()
    pacs: PacsSettings = PacsSettings()
    find: FindSettings = FindSettings()
    receive: ReceiveSettings = ReceiveSettings()
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

    def path(self, name: str) -> Path | None:
        """Return a path that stands in the file; None where it is empty."""
        return self.folder / name if name else None

    def settings(self) -> Iterator[tuple[str, Field[Any], Any]]:
        """Yield each setting as `table.name`, its field, and its value."""
        for table in fields(self):
            values = getattr(self, table.name)
            for one in fields(values) if is_dataclass(values) else ():
                yield f"{table.name}.{one.name}", one, getattr(values, one.name)


def load_config(path: Path) -> Config:
    """Read and check `node.toml`.

    Raises:
        ConfigError: It is absent, or no TOML, or a setting is unknown or illegal.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}.", "Make one: pneumoscan node init") from None
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{path} cannot be read: {problem}.", "Correct it.") from None
    values["folder"] = path.absolute().parent
    try:
        config: Config = _read(Config, values, "")
        _check(config)
    except ConfigError as problem:
        raise ConfigError(f"{path}: {problem.message}", problem.remedy) from None
    return config


def _read(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """Make a dataclass of a table."""
    hints, names = get_type_hints(kind), [one.name for one in fields(kind)]
    unknown = sorted(set(values) - set(names))
    if unknown:
        legal = ", ".join(name for name in names if name != "folder")
        raise ConfigError(f"there is no setting {where}{unknown[0]}.", f"There are {legal}.")
    return kind(**{name: _value(hints[name], value, f"{where}{name}") for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is no table.", f"Write [{where}].")
        return _read(hint, value, f"{where}.")
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{where} is {value!r}.", f"It must be one of {', '.join(get_args(hint))}.")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where} is no list.", "Write it in brackets.")
        return tuple(_value(get_args(hint)[0], one, where) for one in value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint and not (hint is Path and isinstance(value, Path)):
        raise ConfigError(f"{where} is {value!r}.", f"It must be a {_KINDS.get(hint, hint.__name__)}.")
    return value


def _check(config: Config) -> None:
    for name, one, value in config.settings():
        least, most = one.metadata["range"] or (value, value)
        if not least <= value <= most:
            raise ConfigError(f"{name} is {value}.", f"It must be from {least:g} to {most:g}.")
    check_roles(config.roles)
    if not config.find.modalities:
        raise ConfigError("find.modalities is empty.", 'Write ["CR", "DX"].')
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", config.find.sweep_at, re.ASCII):
        raise ConfigError(f"find.sweep_at is {config.find.sweep_at!r}.", "Write it as HH:MM.")
    _check_pacs(config.pacs)
    _check_receive(config.receive, needed="receive" in config.roles)
    _check_watch(config.watch)


def check_roles(roles: tuple[str, ...]) -> None:
    """Raise ConfigError unless there is at least one role, and all are known."""
    if not roles or not set(roles) <= set(ROLES):
        raise ConfigError(f"roles are {', '.join(roles) or 'none'}.", f"Take some of {', '.join(ROLES)}.")


def _check_pacs(pacs: PacsSettings) -> None:
    if pacs.dicom and not re.fullmatch(r"[^@]+@.+:[0-9]+", pacs.dicom):
        raise ConfigError(f"pacs.dicom is {pacs.dicom!r}.", "Write it as AE@host:port.")
    for name, url in (("pacs.url", pacs.url), ("pacs.orthanc", pacs.orthanc)):
        parts = urlsplit(url)
        if (name == "pacs.url" or url) and (parts.scheme not in {"http", "https"} or not parts.hostname):
            raise ConfigError(f"{name} is {url!r}.", "Write it as https://host/path.")
        if parts.username or parts.password:
            raise ConfigError(f"{name} holds a login.", "Write pacs.user and pacs.password_file instead.")
        if parts.scheme == "http" and not (is_loopback(parts.hostname or "") or pacs.allow_unencrypted):
            raise ConfigError(
                f"{name} goes to another machine without TLS.",
                "Use https://, or set pacs.allow_unencrypted = true where the network itself is protected.",
            )


def _check_receive(receive: ReceiveSettings, *, needed: bool) -> None:
    if not 1 <= len(receive.ae_title.strip()) <= 16 or not receive.ae_title.isascii():
        raise ConfigError(f"receive.ae_title is {receive.ae_title!r}.", "It has 1 to 16 characters.")
    for peer in receive.allow:
        try:
            ipaddress.ip_network(peer.address)
        except ValueError:
            raise ConfigError(
                f"receive.allow.address is {peer.address!r}.", "Write an IP address or a network."
            ) from None
        if not peer.ae:
            raise ConfigError("receive.allow.ae is empty.", "Write the AE title of the caller.")
    if not needed:
        return
    if not receive.allow:
        raise ConfigError(
            "receive.allow is empty.", "Write [[receive.allow]] with ae and address of each caller."
        )
    if not (is_loopback(receive.host) or receive.tls_certificate or receive.allow_unencrypted):
        raise ConfigError(
            "receive.host listens to other machines without TLS.",
            "Set receive.tls_certificate, or receive.allow_unencrypted = true where the network itself is protected.",
        )


def _check_watch(watch: WatchSettings) -> None:
    weeks = watch.reference
    if weeks and not (len(weeks) == 2 and all(map(_WEEK.fullmatch, weeks)) and weeks[0] <= weeks[1]):
        raise ConfigError(
            f"watch.reference is {list(weeks)}.",
            'Write the first and the last week: ["2026-W01", "2026-W08"].',
        )
    if bool(watch.metrics_certificate) != bool(watch.metrics_key):
        raise ConfigError("watch.metrics_certificate and watch.metrics_key go together.", "Give both.")
    if not (is_loopback(watch.metrics_host) or watch.metrics_certificate):
        raise ConfigError(
            "watch.metrics_host listens to other machines without TLS.",
            "Set watch.metrics_certificate and watch.metrics_key.",
        )


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def secret(path: Path | None, variable: str) -> str:
    """Return a secret from its file, or else from the environment; empty if there is neither.

    Raises:
        ConfigError: The file cannot be read, or others than its owner may read it.
    """
    if path is None:
        return os.environ.get(variable, "").strip()
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(4096).strip()
    except (OSError, ValueError):
        raise ConfigError(f"{path} cannot be read.", f"Make it, or set {variable}.") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"others than its owner may open {path}.", f"chmod 600 {path}")
    return text


TEMPLATE = """\
# A node in shadow mode: it reads the new chest radiographs of the PACS and records what it found; it stores nothing.
# docs/hospital.md tells of every setting, and how to go live. Research use only, not for diagnosis.

roles = ["find", "work"]        # add "receive" to take films by C-STORE as well

[node]
mode = "shadow"                 # "live" stores a report and a picture beside each film
data = "data"                   # queue, files under way, audit; holds patients' data, so only its owner may look into it
workers = 2

[pacs]
url = "http://127.0.0.1:8042/dicom-web"
# orthanc = "http://127.0.0.1:8042"       # follow Orthanc's list of changes instead of asking by date
# user = "pneumoscan"                     # with password_file; or token_file
# password_file = "pacs-password"         # chmod 600
# ca_file = "hospital-ca.pem"

[find]
modalities = ["CR", "DX"]
days = 2                        # today and the day before
every_seconds = 30

# [watch]
# metrics_port = 9464             # answer Prometheus on the loopback
# reference = ["2026-W01", "2026-W08"]

# [receive]
# ae_title = "PNEUMOSCAN"
# host = "127.0.0.1"
# port = 11112
# [[receive.allow]]
# ae = "XRAY1"
# address = "10.1.2.3"
"""
