"""What is in a folder of films, and what to know before training on it."""

from pneumoscan.data.audit.audit import Audit, inspect, summary_lines, write_inspection

__all__ = ["Audit", "inspect", "summary_lines", "write_inspection"]
