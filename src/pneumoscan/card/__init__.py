"""The model card: what a model is, for whom it works, how it was measured and where it fails.

records.py        the measurements, the texts of the authors, and a check that they belong to the bundle
measuring.py      measures: held-out films, detector, time of a film; heatmaps.py the heatmaps
page.py           what the card shows; templates/card.md says it
pictures.py       synthetic pictures that are not chest films
"""

from pneumoscan.card.measuring import measure_run
from pneumoscan.card.page import card, difference
from pneumoscan.card.records import Records, read_records

__all__ = ["Records", "card", "difference", "measure_run", "read_records"]
