"""What a check finds; processors, memory, folders and disk space that the process may use."""

import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pneumoscan.system import allowed_cores

ROOT = Path("/")
GIB = 2**30

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
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


def processors(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> list[Check]:
    """Check how many processors may be used, and which instructions they have.

    Args:
        root: Folder that contains `proc` and `sys`.
        environment: Environment variables.
    """
    present = os.cpu_count() or 1
    allowed = allowed_cores()
    quota = cpu_quota(root)
    usable = max(1, math.ceil(min(allowed, quota or allowed)))
    limit = f", quota {quota:.2g}" if quota is not None else ""
    return [
        Check("processors", "ok", f"{usable} usable of {present} (affinity {allowed}{limit})"),
        _thread_setting(environment.get("OMP_NUM_THREADS"), usable),
        _instructions(root),
    ]


def _thread_setting(setting: str | None, usable: int) -> Check:
    name = "OMP_NUM_THREADS"
    if setting is None:
        return Check(name, "ok", "not set; pneumoscan sets its own threads")
    if not re.fullmatch(r"\s*[1-9]\d*\s*(,\s*[1-9]\d*\s*)*", setting):
        return Check(name, "warn", repr(setting), f"Unset it, or set it to {usable}.")
    if int(setting.split(",")[0]) > usable:
        return Check(
            name, "warn", f"{setting}, more than the {usable} usable", f"Set it to {usable} or less."
        )
    return Check(name, "ok", setting)


def _instructions(root: Path) -> Check:
    """Check the vector instructions, and whether bfloat16 is useful."""
    flags = cpu_flags(root)
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "asimd", "sve", "bf16")
    found = [flag for flag in known if flag in flags]
    hardware = {"avx512_bf16", "amx_bf16", "bf16"} & set(found)
    advice = "bfloat16 in hardware" if hardware else "no bfloat16 in hardware: use float32"
    value = f"{' '.join(found) or 'none known'}; {advice}"
    if not flags or {"avx2", "asimd"} & set(found):
        return Check("vector instructions", "ok", value)
    return Check("vector instructions", "warn", value, "Training will be slow; use a machine with AVX2.")


def cpu_flags(root: Path = ROOT) -> frozenset[str]:
    """Return the feature flags of the first processor in lower case; empty if the system does not report them."""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return frozenset(match[1].lower().split()) if match else frozenset()


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return how many processors the control group (version 2 or 1) may use; None without a limit."""
    quotas = []
    for folder in _group_folders(root, "cpu"):
        text = _text(folder / "cpu.max") or " ".join(
            _text(folder / f"cpu.cfs_{part}_us") for part in ("quota", "period")
        )
        match = re.fullmatch(r"\s*(\d+)\s+([1-9]\d*)\s*", text)
        if match:
            quotas.append(int(match[1]) / int(match[2]))
    return min(quotas, default=None)


def memory_available(root: Path = ROOT) -> int | None:
    """Return the available memory in bytes, limited by the control group; None if unknown."""
    match = re.search(r"^MemAvailable:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    left = [int(match[1]) * 1024] if match else []
    for folder in _group_folders(root, "memory"):
        for limit, used in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            numbers = [_text(folder / name).strip() for name in (limit, used)]
            if all(number.isdigit() for number in numbers):
                left.append(max(0, int(numbers[0]) - int(numbers[1])))
    return min(left, default=None)


def _group_folders(root: Path, controller: str) -> list[Path]:
    """Return the folders of the control group of this process and of its parents, which limit it too."""
    folders = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        inside = top / path.lstrip("/")
        # In a container the path may be that of the host, and only the top folder exists.
        folders += [inside, *(parent for parent in inside.parents if parent.is_relative_to(top))]
    return folders


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def memory(root: Path = ROOT) -> Check:
    """Check whether the memory is enough for training, or at least for prediction."""
    left = memory_available(root)
    if left is None:
        return Check("memory", "ok", "unknown")
    value = f"{left / GIB:.1f} GiB available"
    if left < GIB / 4:
        return Check("memory", "fail", value, "Close other programs, or raise the container's limit.")
    if left < 2 * GIB:
        return Check("memory", "warn", value, "Enough for prediction; train with small batches.")
    return Check("memory", "ok", value)


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of caches: $PNEUMOSCAN_CACHE, $XDG_CACHE_HOME/pneumoscan, or ~/.cache/pneumoscan."""
    if own := environment.get("PNEUMOSCAN_CACHE"):
        return Path(own)
    if shared := environment.get("XDG_CACHE_HOME"):
        return Path(shared) / "pneumoscan"
    return _home(environment) / ".cache" / "pneumoscan"


def _home(environment: Mapping[str, str]) -> Path:
    try:
        return Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def folders(environment: Mapping[str, str] = os.environ) -> list[Check]:
    """Check whether the folders of pneumoscan and matplotlib are writable."""
    settings = (
        environment.get("MPLCONFIGDIR")
        or environment.get("XDG_CONFIG_HOME")
        or _home(environment) / ".config"
    )
    return [
        _writable(
            "cache folder", cache_folder(environment), "fail", "Set PNEUMOSCAN_CACHE to a writable folder."
        ),
        _writable("temporary folder", _temporary(), "fail", "Set TMPDIR to a writable folder."),
        _writable("working folder", Path.cwd(), "warn", "Use --out with another folder."),
        _writable("matplotlib's folder", Path(settings), "warn", "Set MPLCONFIGDIR to a writable folder."),
    ]


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Path("/tmp")  # noqa: S108 - only named in the message: no temporary folder was writable


def _writable(name: str, folder: Path, otherwise: Status, remedy: str) -> Check:
    place = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"pneumoscan")
    except OSError as problem:
        return Check(name, otherwise, f"{folder}: cannot be written ({problem.strerror})", remedy)
    return Check(name, "ok", str(folder))


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next((place for place in (folder, *folder.parents) if place.exists()), Path.cwd())


def disk_space(environment: Mapping[str, str] = os.environ) -> Check:
    """Check whether a cache of films and a run fit on the disk."""
    place = _existing(cache_folder(environment))
    free = shutil.disk_usage(place).free
    value = f"{free / GIB:.1f} GiB free at {place}"
    if free < GIB / 10:
        return Check("disk space", "fail", value, "Free some space, or set PNEUMOSCAN_CACHE to another disk.")
    if free < 2 * GIB:
        return Check(
            "disk space", "warn", value, "A cache of 5,000 films takes 0.2 GiB, a long study several."
        )
    return Check("disk space", "ok", value)
