"""Evaluate a model on labelled films: figures, intervals, graphs and a report. Never needs torch.

Read in this order:

run.py          the evaluation of one split, from model and films to the folder of results
films.py        every film with its probability, label and warnings, and how many are answered
metrics.py      all figures; thresholds.py, calibration.py, sites.py (groups too) and stress.py hold those of one kind
intervals.py    Wilson's interval, and the only bootstrap by patient
comparison.py   two models on the same films: scores.py reads files of scores and matches them, paired.py has the tests
arrays.py       what labels, probabilities and patients must be
report.py       the folder of results and its page; templates/ has the words
displays.py     graphs: they hold what they draw; drawing.py has their style
held_out.py     what a bundle says about the held-out films of its training

The package imports only numpy and what reads films. Functions import scikit-learn, matplotlib and Jinja2 when they need them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pneumoscan.evaluate.films import ReadSplit, areas_by_site, read_split
    from pneumoscan.evaluate.run import HELD_OUT, evaluate

__all__ = ["HELD_OUT", "ReadSplit", "areas_by_site", "evaluate", "read_split"]


def __getattr__(name: str) -> Any:
    # Who imports one module of the package, such as the node its shares of films, need not load all others.
    if name in {"HELD_OUT", "evaluate"}:
        from pneumoscan.evaluate import run

        return getattr(run, name)
    if name in __all__:
        from pneumoscan.evaluate import films

        return getattr(films, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
