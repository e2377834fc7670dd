"""The result of one check of the machine."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: Name of the check.
        status: `ok`; `warn`: pneumoscan works, but slowly or in part; `fail`: pneumoscan does not work.
        value: What was found.
        remedy: What to do; empty if nothing needs to be done.
    """

    name: str
    status: Status
    value: str
    remedy: str = ""
