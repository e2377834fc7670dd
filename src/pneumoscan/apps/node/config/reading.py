"""`node.toml` is read and checked before anything runs."""

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from pneumoscan.apps.node.config.tables import ROLES, Config, Pacs, Receive, Watch, limits
from pneumoscan.errors import ConfigError

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
    for name, (least, most) in limits().items():
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
    _check_watch(config.watch)


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


def _check_watch(watch: Watch) -> None:
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


def network(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return an address, or a network, as a network; raises ValueError."""
    return ipaddress.ip_network(address)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
