"""Ray, which is started here alone: a cluster that is there, or Ray on this machine for this process and its children.

On this machine it listens on the loopback address only, and asks every connection for a random token. Ray is an optional package.
"""

import os
import secrets
import socket
from typing import Any

from pneumoscan.errors import EnvironmentProblemError, importing

_STORE_BYTES = 80 << 20
_SECONDS_TO_ANSWER = 20.0
_QUIET = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}


def start_ray(address: str, *, cpus: int | None, folder: str | None = None) -> Any:
    """Join the cluster at an address, or start Ray on this machine if it is empty; return the module `ray`.

    Args:
        address: Of a cluster; empty to start Ray here.
        cpus: CPUs of Ray on this machine; None for all.
        folder: For the files of Ray on this machine; by default Ray's own.

    Raises:
        MissingDependencyError: Ray is not installed.
        EnvironmentProblemError: Nothing answers at the address.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not address:
        # The default on Windows and macOS; otherwise Ray listens on every address of the machine.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
        os.environ.pop("RAY_ADDRESS", None)
    with importing(otherwise="Or leave out --launcher."):
        import ray
    if not address:
        ray.init(
            "local",
            num_cpus=cpus,
            include_dashboard=False,
            # Only names and counts pass through it.
            object_store_memory=_STORE_BYTES,
            _temp_dir=folder,
            _node_ip_address="127.0.0.1",
            **_QUIET,
        )
        return ray
    try:
        _check_answers(address)
        ray.init(address, **_QUIET)
    except (OSError, ValueError, RuntimeError) as problem:
        raise EnvironmentProblemError(
            f"no cluster of Ray answers at {address}: {str(problem).splitlines()[0]}",
            "Check the address, and RAY_AUTH_TOKEN if the cluster asks for one.",
        ) from None
    return ray


def _check_answers(address: str) -> None:
    """Raise OSError if nothing listens at `host:port`; Ray itself would wait for many minutes."""
    host, mark, port = address.removeprefix("ray://").rpartition(":")
    if mark and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
