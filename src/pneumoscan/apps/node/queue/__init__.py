"""The queue: one table, in SQLite or in PostgreSQL, behind one protocol."""

from pneumoscan.apps.node.queue.opening import open_queue
from pneumoscan.apps.node.queue.protocol import LeaseLostError, Queue
from pneumoscan.apps.node.queue.rows import ENDS, WAITING, Arrival, Job, State

__all__ = ["ENDS", "WAITING", "Arrival", "Job", "LeaseLostError", "Queue", "State", "open_queue"]
