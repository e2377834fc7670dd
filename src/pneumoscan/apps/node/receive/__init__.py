"""Films by C-STORE: the network's side (`listening`), and what becomes of an object (`receiver`)."""

from pneumoscan.apps.node.receive.receiver import OUT_OF_RESOURCES, SUCCESS, Receiver

__all__ = ["OUT_OF_RESOURCES", "SUCCESS", "Receiver"]
