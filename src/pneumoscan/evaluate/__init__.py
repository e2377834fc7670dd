"""Read one split of a data set through a model bundle and have it evaluated."""

from pneumoscan.evaluate.facts import HELD_OUT
from pneumoscan.evaluate.reading import ReadSplit, read_split
from pneumoscan.evaluate.split import evaluate

__all__ = ["HELD_OUT", "ReadSplit", "evaluate", "read_split"]
