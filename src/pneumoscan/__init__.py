"""Find pneumonia in chest X-rays: train a network, judge it in the open, read new films with it.

The way of the data is the list of the folders: films enter by `imaging`, become a table in `data`, train a network
of `models` in `training`, are judged by `evaluation`, and new ones are read by `inference`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pneumoscan.inference.classifier import PneumoniaClassifier

__version__ = "0.1.0"
__all__ = ["PneumoniaClassifier", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the classifier when it is first asked for, so that `import pneumoscan` stays cheap (PEP 562)."""
    if name == "PneumoniaClassifier":
        from pneumoscan.inference.classifier import PneumoniaClassifier

        return PneumoniaClassifier
    raise AttributeError(f"module 'pneumoscan' has no attribute {name!r}")
