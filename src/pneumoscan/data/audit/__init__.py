"""What is in a folder of films, and what to know before training on it."""

from pneumoscan.data.audit.audit import Audit, inspect
from pneumoscan.data.audit.summary import summary_lines
from pneumoscan.data.audit.writing import write_inspection

__all__ = ["Audit", "inspect", "summary_lines", "write_inspection"]
