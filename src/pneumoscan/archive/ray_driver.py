"""Ray's driver: one line on stdin says what to read, each line on stdout is a shard whose part is written.

    python -P -m pneumoscan.archive.ray_driver

The shards' numbers are a data set of Ray Data, with a block for each. A pool of actors maps them to numbers of rows; films and
rows never pass through Ray's object store. It is started by `on_ray`, and ends when its stdin closes.
"""

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from pneumoscan.archive.ray_actor import ShardActor
from pneumoscan.error_values import error_values
from pneumoscan.errors import EnvironmentProblemError, PneumoscanError
from pneumoscan.system import dead_child

_STORE_BYTES = 80 << 20
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_TO_ANSWER = 20.0


def main() -> int:
    """Read the shards; returns the exit code."""
    answers, sys.stdout = sys.stdout, sys.stderr
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        ray = started(order["workers"], order["address"], order["session"])
        threading.Thread(target=_end_with_cluster, args=(ray, order["address"]), daemon=True).start()
        for line in _lines(ray, order):
            print(line, file=answers, flush=True)
    except PneumoscanError as problem:
        print(json.dumps(error_values(problem)), file=answers, flush=True)
        return 1
    ray.shutdown()
    return 0


def started(workers: int | None, address: str, session: str) -> Any:
    """Join a cluster, or start Ray on the loopback address of this machine with a random token; returns the module.

    Raises:
        EnvironmentProblemError: Nothing answers at the address.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not address:
        # The default on Windows and macOS; otherwise Ray listens on every address of the machine.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
        os.environ.pop("RAY_ADDRESS", None)
    import ray
    import ray.data

    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if not address:
        ray.init(
            "local",
            num_cpus=workers,
            include_dashboard=False,
            object_store_memory=_STORE_BYTES,
            _temp_dir=session,
            _node_ip_address="127.0.0.1",
            **quiet,
        )
        return ray
    try:
        _knock(address)
        ray.init(address, **quiet)
    except (OSError, ValueError, RuntimeError) as problem:
        raise EnvironmentProblemError(
            f"no cluster of Ray answers at {address}: {str(problem).splitlines()[0]}",
            "Check the address, and RAY_AUTH_TOKEN if the cluster asks for one.",
        ) from None
    return ray


def _knock(address: str) -> None:
    """Raise OSError if nothing listens at `host:port`; Ray itself would wait for many minutes."""
    host, mark, port = address.removeprefix("ray://").rpartition(":")
    if mark and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()


def _lines(ray: Any, order: dict[str, Any]) -> Iterator[str]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    workers = order["workers"] or max(1, int(ray.cluster_resources().get("CPU", 1)))
    # A cluster may grow while it works.
    most = workers if order["workers"] else None
    shards = [{"shard": shard} for shard in order["shards"]]
    rows = ray.data.from_items(shards, override_num_blocks=len(shards)).map_batches(
        ShardActor,
        fn_constructor_args=(order["job"],),
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=workers, max_size=most, max_tasks_in_flight_per_actor=2),
    )
    for row in rows.iter_rows():
        yield row["line"]


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def _end_with_cluster(ray: Any, address: str) -> None:
    """End when no machine of the cluster is left, or a part of Ray that was started here has died.

    The driver itself would wait for it, for minutes or without end.
    """
    dead: int | None = None
    while True:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        before, dead = dead, None if address else dead_child()
        # Twice, because a child that ends in good order is waited for a moment later.
        if dead is not None and dead == before:
            _give_up(f"process {dead} of Ray has died")
        if address and not any(node["Alive"] for node in ray.nodes()):
            _give_up("no machine of the cluster is alive")


def _give_up(why: str) -> None:
    sys.stderr.write(f"{why}\n")
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
