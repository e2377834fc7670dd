"""Bodies of requests: limited in number and bytes, and kept in memory, never on disk."""
