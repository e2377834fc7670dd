"""What this machine offers pneumoscan, what is wrong with it, and what to do: the report of `pneumoscan doctor`.

Nothing heavy is imported here: versions are read from the packages' own records, and what may crash when it is
imported is imported in a process of its own.
"""

from pneumoscan.apps.doctor import machine, software
from pneumoscan.apps.doctor.finding import Finding, Status

__all__ = ["Finding", "Status", "diagnose"]


def diagnose() -> list[Finding]:
    """Look at everything; takes a few seconds and writes nothing but files that vanish at once."""
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
