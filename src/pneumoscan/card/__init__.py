"""The model card: what a model is, for whom it works, how it was measured and where it fails.

measured.py          the measurements, the texts of the authors, and a check that they belong to the bundle
measuring.py         measures: held-out films, detector, heatmaps, time of a film
model_card.py        what the card shows; templates/card.md says it
checklist.py         reporting checklists for reviewers, CLAIM 2024 and TRIPOD+AI, from the same records
"""

from pneumoscan.card.measured import Records, read_records
from pneumoscan.card.measuring import measure_run
from pneumoscan.card.model_card import card, difference

__all__ = ["Records", "card", "difference", "measure_run", "read_records"]
