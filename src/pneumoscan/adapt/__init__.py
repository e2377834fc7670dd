"""A model at a hospital that is not its own: is it any good there, and with which temperature and threshold?"""

from pneumoscan.adapt.adaptation import Adaptation
from pneumoscan.adapt.adapting import adapt

__all__ = ["Adaptation", "adapt"]
