"""The web viewer: a page and an HTTP service, for this machine or behind a proxy.

    serving.py    the process: socket, signals, log, start and stop
    settings.py   limits and addresses of the service
    about.py      facts about the model
    http/         the service: connection, middleware, routes, bodies, responses
    page/         the page: HTML, scripts and styles that a browser loads

The path of a request:

    socket ─► http.connection.protocol      header within 10 s and 16 KiB, at most 1,200 connections; 400, 408, 431, 503
           ─► http.middleware               stopping? host? origin? token? security headers, metrics, one line of log
           ─► http.app (Starlette)          the route: a file of the page, or
                │
                ├─ http.body.admission      503 if the limits are reached, before the body is read
                ├─ http.body.stream         counts the bytes: 408, 413, 503; never on disk
                ├─ workers.pool.FilmPool    a bounded queue ─► a worker process: limits, decoder, network ─► Reading
                └─ http.responses           JSON or PNG, or a problem of `http.problems`

A film is only in memory, from the socket of the client to that of the worker. No name that a client sends is used as a path, as a
label of a metric or in the log.
"""
