"""How a service is set up."""

import ipaddress
from dataclasses import dataclass, field

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MIN_TOKEN = 16
MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """What the service allows.

    Attributes:
        film_bytes: Of one film.
        memory_bytes: Of all bodies and answers together.
        queue: Films that may wait for a worker.
        workers: Films that are read at once.
        token: What `Authorization: Bearer` must hold; None if none is needed.
        hosts: Names, in lower case, under which the service answers, besides those of the loopback.
        any_address: It answers under every IP address too: it is bound to all of them, and a rebound name is no address.
        idle_seconds: Between two pieces of a body.
        body_seconds: For a whole body.
        ready_seconds: How long a film waits for the first worker of a service that has just begun.
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
        """Tell whether a `Host` header names this service: by a name that it has, whatever the port."""
        name = host_name(host)
        if name in LOOPBACK_NAMES or name in self.hosts:
            return True
        return self.any_address and is_address(name)


def host_name(host: str) -> str:
    """Return the name in `name:port` or `[address]:port`, in lower case; empty if it is neither."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        legal = bool(bracket) and is_address(name) and (not port or port[0] == ":")
        port = port[1:]
    else:
        name, _, port = host.partition(":")
        legal = True
    return name.lower() if legal and (not port or (port.isascii() and port.isdigit())) else ""


def is_address(name: str) -> bool:
    """Tell whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
