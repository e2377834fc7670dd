"""Bodies of requests: let in by number and bytes, counted while they stream, kept in memory, never on disk."""
