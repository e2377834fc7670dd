"""The HTTP service: what happens to a request between its socket and its response.

connection.py   one socket: HTTP/1.1 with limits of time and size
gate.py         whom the service answers; security headers, metrics, log
app.py          the routes
classify.py, batch.py, query.py, forms.py, bodies.py    films in, predictions out
responses.py, problems.py                               what is sent back
page_files.py, metrics.py, openapi/                     the other routes
"""
