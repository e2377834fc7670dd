"""What `node.toml` says: tables of settings, each with its default, checked before anything runs.

Paths are relative to the file. No secret stands in it: passwords and tokens come from files that only their owner may read, or
from the environment.
"""

import ipaddress
import os
import socket
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from pneumoscan.errors import ConfigError

Mode = Literal["shadow", "live"]
ROLES = ("find", "receive", "work")
PASSWORD_VARIABLE = "PNEUMOSCAN_PACS_PASSWORD"  # noqa: S105 - its name
TOKEN_VARIABLE = "PNEUMOSCAN_PACS_TOKEN"  # noqa: S105 - its name
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
class Config:
    """All of `node.toml`.

    Attributes:
        node: The node itself.
        pacs: The picture archive.
        find: How new films are looked for.
        receive: How films are received by C-STORE.
        queue: Where the queue lies.
        roles: What `run` does unless it is told: of `find`, `receive`, `work`.
        folder: The file's own.
    """

    node: Node = Node()
    pacs: Pacs = Pacs()
    find: Find = Find()
    receive: Receive = Receive()
    queue: Database = Database()
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


_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}

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
}


def limits() -> Mapping[str, tuple[float, float]]:
    """Return the least and the greatest value of each setting that is a number."""
    return _LIMITS


def _check(config: Config) -> None:
    for name, (least, most) in _LIMITS.items():
        table, setting = name.split(".")
        value = getattr(getattr(config, table), setting)
        if not least <= value <= most:
            raise ConfigError(f"{name} is {value}.", f"It must be from {least:g} to {most:g}.")
    check_roles(config.roles)
    if not config.find.modalities:
        raise ConfigError("find.modalities is empty.", 'Write ["CR", "DX"].')
    _check_time(config.find.sweep_at)
    _check_pacs(config.pacs)
    _check_receive(config.receive, needed="receive" in config.roles)


def check_roles(roles: tuple[str, ...]) -> None:
    """Raise ConfigError unless there is at least one role, and all are known."""
    if not roles or not set(roles) <= set(ROLES):
        raise ConfigError(f"roles are {', '.join(roles) or 'none'}.", f"Take some of {', '.join(ROLES)}.")


def _check_time(text: str) -> None:
    hour, _, minute = text.partition(":")
    if not (
        hour.isdecimal() and minute.isdecimal() and len(text) == 5 and int(hour) < 24 and int(minute) < 60
    ):
        raise ConfigError(f"find.sweep_at is {text!r}.", "Write it as HH:MM.")


def _check_pacs(pacs: Pacs) -> None:
    _check_entity(pacs.dicom)
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


def _check_entity(text: str) -> None:
    title, _, place = text.partition("@")
    host, _, port = place.rpartition(":")
    if text and not (title and host and port.isdecimal()):
        raise ConfigError(f"pacs.dicom is {text!r}.", "Write it as AE@host:port.")


def _check_receive(receive: Receive, *, needed: bool) -> None:
    if not 1 <= len(receive.ae_title.strip()) <= 16 or not receive.ae_title.isascii():
        raise ConfigError(f"receive.ae_title is {receive.ae_title!r}.", "It has 1 to 16 characters.")
    for peer in receive.allow:
        try:
            network(peer.address)
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


def network(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return an address, or a network, as a network; raises ValueError."""
    return ipaddress.ip_network(address)


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
