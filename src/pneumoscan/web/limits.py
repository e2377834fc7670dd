"""Settings of the service."""

import ipaddress
from dataclasses import dataclass, field

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MIN_TOKEN = 16
MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """Limits and addresses of the service.

    Attributes:
        film_bytes: Maximum size of a film.
        memory_bytes: Maximum size of all request and response bodies together.
        queue: Maximum number of films that wait for a worker.
        workers: Number of films that are read at the same time.
        token: Required token of `Authorization: Bearer`; None if none is required.
        hosts: Accepted host names in lower case, besides those of the loopback.
        any_address: Whether all IP addresses are accepted as host names. They cannot be used for DNS rebinding.
        idle_seconds: Maximum time between two pieces of a body.
        body_seconds: Maximum time for a whole body.
        ready_seconds: Time that a film waits for the first worker after the start of the service.
    """

    film_bytes: int = 64 * MIB
    memory_bytes: int = 512 * MIB
    queue: int = 32
    workers: int = 2
    token: str | None = field(default=None, repr=False)
    hosts: frozenset[str] = frozenset()
    any_address: bool = False
    idle_seconds: float = 10.0
    body_seconds: float = 120.0
    ready_seconds: float = 5.0

    def knows(self, host: str) -> bool:
        """Return whether a `Host` header names this service, with any port."""
        name = host_name(host)
        if name in LOOPBACK_NAMES or name in self.hosts:
            return True
        return self.any_address and is_address(name)


def host_name(host: str) -> str:
    """Return the name in `name:port` or `[address]:port` in lower case; empty if it has neither form."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        legal = bool(bracket) and is_address(name) and (not port or port[0] == ":")
        port = port[1:]
    else:
        name, _, port = host.partition(":")
        legal = True
    return name.lower() if legal and (not port or (port.isascii() and port.isdigit())) else ""


def is_address(name: str) -> bool:
    """Return whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
