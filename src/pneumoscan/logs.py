"""The log of an app on stderr: its own lines, and nobody else's, for other libraries' lines may hold UIDs or names of files."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def logged(log: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    """Give a logger one handler, for the length of a block; the handler is closed at the end."""
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
