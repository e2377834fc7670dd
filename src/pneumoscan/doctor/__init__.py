"""The checks of `pneumoscan doctor`: what this machine offers, what is wrong, and what to do.

Nothing heavy is imported here. Versions come from the metadata of the packages, and packages that may crash when they are
imported are imported in separate processes.
"""

from pneumoscan.doctor import machine, software
from pneumoscan.doctor.machine import Check, Status

__all__ = ["Check", "Status", "diagnose"]


def diagnose() -> list[Check]:
    """Run all checks. This takes a few seconds and writes only temporary files."""
    return [
        software.python(),
        software.encoding(),
        *software.packages(),
        *software.imports(),
        *machine.processors(),
        machine.memory(),
        *machine.folders(),
        machine.disk_space(),
    ]
