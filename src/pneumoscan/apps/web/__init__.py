"""The web viewer: a page and an HTTP service, for this machine or behind a proxy.

    serving.py    the process: socket, signals, log, start and stop
    settings.py   what the service allows
    about.py      what it tells of the model
    http/         the service: connection, middleware, routes, bodies, responses
    page/         the page: HTML, scripts and styles that a browser loads

The way of a request:

    socket ─► http.connection.protocol      header within 10 s and 16 KiB, at most 1,200 connections; 400, 408, 431, 503
           ─► http.middleware               stopping? host? origin? token? security headers, metrics, one line of log
           ─► http.app (Starlette)          the route: a file of the page, or
                │
                ├─ http.body.admission      is there room? else 503 before a byte of the body is read
                ├─ http.body.stream         counted while it streams: 408, 413, 503; never on disk
                ├─ workers.pool.FilmPool    a bounded queue ─► a worker process: limits, decoder, network ─► Reading
                └─ http.responses           JSON, PNG or NDJSON; a problem of `http.problems` where there is none

A film lives in memory alone, from the socket to the worker's pipe. No name that a client gives becomes a path, a label of
a metric or a word of the log.
"""
