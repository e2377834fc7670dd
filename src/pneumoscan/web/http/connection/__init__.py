"""Connections: HTTP/1.1 with limits of time and size, and the server."""
