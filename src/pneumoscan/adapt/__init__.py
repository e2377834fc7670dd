"""Evaluate a model on films of another hospital, and refit its temperature and thresholds to them."""

from pneumoscan.adapt.adaptation import Adaptation
from pneumoscan.adapt.run import adapt

__all__ = ["Adaptation", "adapt"]
