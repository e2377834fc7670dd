"""The model card: what a model is, for whom it works, how it was measured and where it fails.

about.py          what only people know of a model: a TOML file of texts
records.py        what was measured, read and held against the bundle
measuring.py      measures it: held-out films, detector (ood.py), heatmaps.py, latency.py, failures.py
page.py           the card: its sections are in text.py, origin.py, figures.py and limits.py
other_pictures.py synthetic pictures that are no chest films
"""

from pneumoscan.card.measuring import measure_run
from pneumoscan.card.page import card, difference
from pneumoscan.card.records import Records, read_records

__all__ = ["Records", "card", "difference", "measure_run", "read_records"]
