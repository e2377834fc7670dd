"""The audit of a set of films: its content, and problems to know before training.

inspection.py  every step in order, and its result: lines for a terminal, JSON, and the page
scan.py        what is measured on each film, in one reading
counts.py      splits, sizes, patients and sites
duplicates.py  copies of films
shortcuts.py   how well the label can be guessed without the lungs
findings.py    what is noticeable, as text
"""

from pneumoscan.audit.inspection import Inspection, inspect, summary_lines, write_inspection

__all__ = ["Inspection", "inspect", "summary_lines", "write_inspection"]
