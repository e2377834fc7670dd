"""Find pneumonia in chest X-rays: train a network, evaluate it, and classify new films.

A film is one chest radiograph. Films pass through the packages in this order: `imaging` reads them, `data` collects them
in a table, `train` trains a network of `networks` on them, and `evaluate` computes the figures. `classifier` reads
new films with the exported model, which `bundle` loads.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pneumoscan.classifier import PneumoniaClassifier

__version__ = "0.1.0"
__all__ = ["PneumoniaClassifier", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the classifier on first use, so that `import pneumoscan` is fast (PEP 562)."""
    if name == "PneumoniaClassifier":
        from pneumoscan.classifier import PneumoniaClassifier

        return PneumoniaClassifier
    raise AttributeError(f"module 'pneumoscan' has no attribute {name!r}")
