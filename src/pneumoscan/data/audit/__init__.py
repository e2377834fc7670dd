"""The audit of a set of films: its content, and problems to know before training."""

from pneumoscan.data.audit.audit import Audit, inspect
from pneumoscan.data.audit.summary import summary_lines
from pneumoscan.data.audit.writing import write_inspection

__all__ = ["Audit", "inspect", "summary_lines", "write_inspection"]
