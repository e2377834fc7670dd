"""Read one split of a data set through a model bundle and have it judged."""

from pneumoscan.judge.facts import HELD_OUT
from pneumoscan.judge.judging import judge
from pneumoscan.judge.reading import ReadSplit, read_split

__all__ = ["HELD_OUT", "ReadSplit", "judge", "read_split"]
