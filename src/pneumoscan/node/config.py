"""The settings of a node: `node.toml`, read and checked before anything runs; secrets lie outside it."""

import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from pneumoscan.errors import ConfigError
from pneumoscan.node.exams import check_exams
from pneumoscan.node.settings import Config, PacsSettings, ReceiveSettings, WatchSettings

ROLES = ("find", "receive", "work")
PASSWORD_VARIABLE = "PNEUMOSCAN_PACS_PASSWORD"  # noqa: S105 - its name
TOKEN_VARIABLE = "PNEUMOSCAN_PACS_TOKEN"  # noqa: S105 - its name
_WEEK = re.compile(r"\d{4}-W[0-5]\d")
_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


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
    _check_pushes(config)
    check_exams(config)


def check_roles(roles: tuple[str, ...]) -> None:
    """Raise ConfigError unless there is at least one role, and all are known."""
    if not roles or not set(roles) <= set(ROLES):
        raise ConfigError(f"roles are {', '.join(roles) or 'none'}.", f"Take some of {', '.join(ROLES)}.")


def _check_pacs(pacs: PacsSettings) -> None:
    if pacs.dicom and not re.fullmatch(r"[^@]+@.+:[0-9]+", pacs.dicom):
        raise ConfigError(f"pacs.dicom is {pacs.dicom!r}.", "Write it as AE@host:port.")
    _check_url("pacs.url", pacs.url, allow_unencrypted=pacs.allow_unencrypted)
    if pacs.orthanc:
        _check_url("pacs.orthanc", pacs.orthanc, allow_unencrypted=pacs.allow_unencrypted)


def _check_url(name: str, url: str, *, allow_unencrypted: bool) -> None:
    table = name.partition(".")[0]
    try:
        parts = urlsplit(url)
        legal = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        legal = False
    if not legal:
        raise ConfigError(f"{name} is {url!r}.", "Write it as https://host/path.")
    if parts.username or parts.password:
        raise ConfigError(f"{name} holds a login.", f"Write {table}.user and {table}.password_file instead.")
    if parts.scheme == "http" and not (is_loopback(parts.hostname or "") or allow_unencrypted):
        raise ConfigError(
            f"{name} goes to another machine without TLS.",
            f"Use https://, or set {table}.allow_unencrypted = true where the network itself is protected.",
        )


def _check_pushes(config: Config) -> None:
    fhir, hl7 = config.fhir, config.hl7
    if fhir.url:
        _check_url("fhir.url", fhir.url, allow_unencrypted=fhir.allow_unencrypted)
        if urlsplit(fhir.url).query or urlsplit(fhir.url).fragment:
            raise ConfigError(f"fhir.url is {fhir.url!r}.", "Write it without ? and #.")
    for name in ("sending_application", "sending_facility", "receiving_application", "receiving_facility"):
        value = getattr(hl7, name)
        if not (value.isascii() and value.isprintable() and len(value) <= 180):
            raise ConfigError(f"hl7.{name} is {value!r}.", "Use at most 180 printable characters of ASCII.")
    if not hl7.address:
        return
    host, port = host_and_port(hl7.address)
    if not host or not 0 < port < 1 << 16:
        raise ConfigError(f"hl7.address is {hl7.address!r}.", "Write it as host:port.")
    if not (is_loopback(host) or hl7.tls or hl7.allow_unencrypted):
        raise ConfigError(
            "hl7.address goes to another machine without TLS.",
            "Set hl7.tls = true, or hl7.allow_unencrypted = true where the network itself is protected.",
        )


def host_and_port(address: str) -> tuple[str, int]:
    """Return host and port of `host:port`, or of `[address]:port` with an IPv6 address; an empty host if it is neither."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", address)
    return (found[1].strip("[]"), int(found[2])) if found else ("", 0)


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

# [exams]
# quiet_seconds = 60              # read a study's films when none was added for a minute
# [[exams.rules]]                 # the first rule that fits decides; what none fits is not read
# name = "adults"
# action = "read"
# modalities = ["CR", "DX"]
# stations = ["XR-ER-*"]
# body_parts = ["CHEST", "THORAX"]
# min_age = 18

# [fhir]
# url = "https://fhir.example/R4" # send each result as a FHIR transaction
# token_file = "fhir-token"
# [hl7]
# address = "ris.example:2575"    # send each result as ORU^R01 by MLLP
# tls = true

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
