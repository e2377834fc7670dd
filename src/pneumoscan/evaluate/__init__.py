"""Classify one split of a data set with a model bundle and evaluate the result."""

from pneumoscan.evaluate.facts import HELD_OUT
from pneumoscan.evaluate.reading import ReadSplit, areas_by_site, read_split
from pneumoscan.evaluate.split import evaluate

__all__ = ["HELD_OUT", "ReadSplit", "areas_by_site", "evaluate", "read_split"]
