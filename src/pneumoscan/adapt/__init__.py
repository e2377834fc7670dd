"""A model at a hospital that is not its own: is it any good there, and with which temperature and threshold?"""

from pneumoscan.adapt.adapting import adapt
from pneumoscan.adapt.found import Adaptation

__all__ = ["Adaptation", "adapt"]
