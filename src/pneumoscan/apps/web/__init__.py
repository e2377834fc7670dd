"""The web viewer: a page and an HTTP service, for this machine or behind a proxy.

The way of a request:

    socket ─► protocol.GuardedProtocol  header within 10 s and 16 KiB, at most 1,200 connections; 400, 408, 431, 503
           ─► gates.Gate                stopping? host? origin? token? security headers, metrics, one line of log
           ─► app (Starlette)           the route: a file of the page, or
                │
                ├─ bodies.Door          is there room? else 503 before a byte of the body is read
                ├─ bodies.read_body     counted while it streams: 408, 413, 503; never on disk
                ├─ pool.FilmPool        a bounded queue ─► a worker process: limits, decoder, network ─► Reading
                └─ the answer           JSON, PNG or NDJSON; a `problems.Problem` where there is none

A film lives in memory alone, from the socket to the worker's pipe. No name that a client gives becomes a path, a label of
a metric or a word of the log.
"""
