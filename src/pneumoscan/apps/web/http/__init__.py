"""The HTTP service: what happens to a request between its socket and its response.

connection/                 one socket: HTTP/1.1 with limits of time and size
middleware.py, metrics.py   who is let in; security headers, log, counters
app.py, service.py          the table of routes, and what they share
body/                       the body of a request: admitted, counted while it streams, read as a film, a form or lines
routes/                     a film in, a prediction out; the files of the page
responses.py, problems.py   what is sent back
openapi/                    all of this for machines
"""
