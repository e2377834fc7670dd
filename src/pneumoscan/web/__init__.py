"""The web viewer: a page and an HTTP service, for this machine or behind a proxy.

The path of a request, and the modules in reading order:

    serving.py          the process: socket, signals, log, start and stop; limits.py: its limits and addresses
    socket ─► connection.py     header within 10 s and 16 KiB, at most 1,200 connections; 400, 408, 431, 503
           ─► middleware.py     stopping? host? origin? token? security headers, metrics, one line of log
           ─► app.py            the table of routes (Starlette): a file of page/, openapi.json, about.py (the model), or
           ─► classify.py       one film: its query, its response
                ├─ service.py             503 if the limits are reached, before the body is read; the metrics
                ├─ body.py                counts the bytes: 408, 413, 503; never on disk
                └─ workers.pool.FilmPool  a bounded queue ─► a worker process: limits, decoder, network ─► Reading
           ◄─ responses.py      JSON or PNG, or a problem (RFC 9457)

A film is only in memory, from the socket of the client to that of the worker. No name that a client sends is used as a path, as a
label of a metric or in the log.
"""
