"""What one look at the machine gave."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: Of the thing.
        status: `ok`; `warn`: it works, but slowly or not all of it; `fail`: pneumoscan cannot work like this.
        value: What was found.
        remedy: What to do about it; empty if nothing need be done.
    """

    name: str
    status: Status
    value: str
    remedy: str = ""
