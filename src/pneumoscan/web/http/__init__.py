"""The HTTP service: from the socket of a request to its response.

connection/                 one socket: HTTP/1.1 with limits of time and size
middleware.py, metrics.py   access, security headers, log, counters
app.py, service.py          the table of routes, and their shared state
body/                       the body of a request: admission, limits, and reading as a film or a form
routes/                     classification of films; the files of the page
responses.py, problems.py   responses and errors
openapi/                    the OpenAPI description
"""
