"""The queue: `jobs` says what a row is and which states it goes through, `sql` what can be done with rows, `databases` where they lie."""

from pneumoscan.node.queue.databases import open_queue
from pneumoscan.node.queue.jobs import ENDS, WAITING, Arrival, Job, Message, Push, Pushes, State
from pneumoscan.node.queue.sql import LeaseLostError, Queue

__all__ = [
    "ENDS",
    "WAITING",
    "Arrival",
    "Job",
    "LeaseLostError",
    "Message",
    "Push",
    "Pushes",
    "Queue",
    "State",
    "open_queue",
]
