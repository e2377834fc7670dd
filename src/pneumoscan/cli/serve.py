"""`pneumoscan serve`: the web viewer and the HTTP service."""

import os
import stat
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pneumoscan.cli.options import model_option
from pneumoscan.errors import UsageError, require

if TYPE_CHECKING:
    from pneumoscan.web.app import VerdictDesk
    from pneumoscan.web.serving import Address

_MOST_WORKERS = 8
_TOKEN_VARIABLE = "PNEUMOSCAN_TOKEN"  # noqa: S105 - its name
_NEW_TOKEN = "python -c 'import secrets; print(secrets.token_urlsafe(32))' > token && chmod 600 token"  # noqa: S105


@click.command(short_help="Run the web viewer and the HTTP service.")
@click.option(
    "--host", default="127.0.0.1", help="Address to listen on; any but a loopback address needs a token."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8800, help="Port; 0 takes a free one.")
@model_option
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Films read at the same time [cores + 1, at most 8].",
)
@click.option("--queue", type=click.IntRange(1, 1000), default=32, help="Films that may wait.")
@click.option("--max-film-mb", type=click.IntRange(1, 512), default=64, help="Largest film in MiB.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help=f"File with the token that clients must send, in one line; or set {_TOKEN_VARIABLE}.",
)
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Also accept requests for this host name; may be repeated.",
)
@click.option(
    "--node",
    "node_config",
    type=click.Path(path_type=Path),
    metavar="NODE.TOML",
    help="Also show the results of this hospital node, in a tab.",
)
@click.option(
    "--verdicts",
    type=click.Path(path_type=Path),
    metavar="FILE.CSV",
    help="Keep what readers say of the answers (agree, disagree, cannot say) in this file.",
)
@click.option(
    "--open/--no-open", "open_page", default=True, help="Open the page in a browser, if there is one."
)
def serve(
    *,
    host: str,
    port: int,
    model: Path | None,
    workers: int | None,
    queue: int,
    max_film_mb: int,
    token_file: Path | None,
    allow_host: tuple[str, ...],
    node_config: Path | None,
    verdicts: Path | None,
    open_page: bool,
) -> None:
    """Run the web viewer and the HTTP service until Ctrl-C. Films stay in memory, and nothing leaves this machine.

    Research use only, not for diagnosis.
    """
    require("h11", "starlette", "uvicorn", "prometheus_client", "python_multipart", extra="web")
    token = _token(token_file)
    from pneumoscan.bundle.contents import pretrained_bundle
    from pneumoscan.system import allowed_cores
    from pneumoscan.verdicts import VerdictFile
    from pneumoscan.web.limits import Settings
    from pneumoscan.web.serving import bind
    from pneumoscan.web.serving import serve as run

    kept = None if verdicts is None else VerdictFile(verdicts)
    bundle = model or pretrained_bundle()
    address = bind(host, port)
    _check_exposure(address, host, token)
    film_bytes = max_film_mb << 20
    settings = Settings(
        film_bytes=film_bytes,
        memory_bytes=max(512 << 20, 4 * film_bytes),
        queue=queue,
        # One more than cores, as in a batch, because a worker sometimes waits for its next film.
        workers=workers or min(allowed_cores() + 1, _MOST_WORKERS),
        token=token,
        hosts=frozenset(_host_name(name) for name in (*allow_host, host)),
        any_address=address.any_address,
    )
    view = None if node_config is None else _node_view(node_config)
    run(
        settings,
        address,
        bundle,
        announce=lambda url: _announce(url, open_page),
        node=view,
        verdicts=kept,
        desk=None if node_config is None else _desk(node_config),
    )


def _node_view(config_path: Path) -> Callable[[], dict[str, Any]]:
    """Return what the tab shows of a node; its queue is opened once now, so that a wrong file is told at the start."""
    from pneumoscan.cli.node import opened_queue
    from pneumoscan.node.config import load_config
    from pneumoscan.node.watch.drift import view_of

    config = load_config(config_path)
    with opened_queue(config):
        return view_of(partial(opened_queue, config), config.watch.reference)


def _desk(config_path: Path) -> "VerdictDesk":
    from pneumoscan.cli.node import opened_queue
    from pneumoscan.node.config import load_config
    from pneumoscan.node.desk import Desk

    config = load_config(config_path)
    return Desk(config, partial(opened_queue, config))


def _token(path: Path | None) -> str | None:
    """Return the token of the file or of the environment; None if there is none."""
    if path is None:
        token = os.environ.get(_TOKEN_VARIABLE, "")
        return _checked(token.strip(), _TOKEN_VARIABLE) if token else None
    try:
        with path.open("rb") as file:
            text = file.read(4096)
            mode = os.fstat(file.fileno()).st_mode
    except OSError as problem:
        raise UsageError(
            f"--token-file {path} cannot be read: {problem.strerror}.", f"Create a token: {_NEW_TOKEN}"
        ) from None
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        print(f"caution: other users can read {path}; chmod 600 {path}", file=sys.stderr)
    return _checked(text.decode("ascii", "replace").strip(), f"--token-file {path}")


def _checked(token: str, source: str) -> str:
    from pneumoscan.web.limits import MIN_TOKEN

    if len(token) < MIN_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(
            f"{source} contains no token: one line of at least {MIN_TOKEN} printable ASCII characters without spaces.",
            f"Create a token: {_NEW_TOKEN}",
        )
    return token


def _check_exposure(address: "Address", host: str, token: str | None) -> None:
    if address.loopback:
        return
    if token is None:
        address.socket.close()
        raise UsageError(
            f"--host {host} can be reached from other machines, and there is no token.",
            f"Create a token: {_NEW_TOKEN}; then add --token-file token. Use a TLS proxy, as docs/web.md shows.",
        )
    print(
        f"caution: {host} can be reached from other machines, and films and token are sent unencrypted: "
        "use a TLS proxy (docs/web.md).",
        file=sys.stderr,
    )


def _host_name(name: str) -> str:
    from pneumoscan.web.limits import host_name

    known = host_name(name) or host_name(f"[{name}]")
    if not known:
        raise UsageError(
            f"--allow-host {name} is not a host name.", "Give a name or an address, without https://."
        )
    return known


def _announce(url: str, open_page: bool) -> None:
    """Print that the service is ready, and open the page if there is a display."""
    print(f"pneumoscan is reading films at {url}", flush=True)
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not (open_page and display and sys.stdout.isatty()):
        return
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
