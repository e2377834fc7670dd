"""The checks of `pneumoscan doctor`: what this machine offers, what is wrong, and what to do.

Nothing heavy is imported here. Versions come from the metadata of the packages, and packages that may crash when they are
imported are imported in separate processes.
"""

import json
import locale
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from pneumoscan.doctor import machine
from pneumoscan.doctor.machine import Check, Status
from pneumoscan.system import has_process_limits

__all__ = ["Check", "Status", "diagnose"]

PROBE_SECONDS = 120
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,.-]+\])?[^;>]*>=\s*([\d.]+)(?:.*extra == ['\"]([\w-]+)['\"])?")
# What each extra is needed for.
_EXTRAS = {
    "": "reading films",
    "train": "training, evaluation, data inspect and adapt",
    "transfer": "the preset transfer",
    "tensorboard": "TensorBoard logs",
    "fetch": "downloads",
    "web": "pneumoscan serve",
    "dicom": "compressed DICOM films",
    "cluster": "studies on Ray",
    "archive": "Parquet and object stores",
    "pdf": "results as PDF",
    "node": "pneumoscan node",
    "node-postgres": "a node's queue in PostgreSQL",
}

_PROBES = {
    "numpy": "import numpy; found['simd'] = numpy.show_config(mode='dicts')['SIMD Extensions'].get('found', [])",
    "pillow": "from PIL import features; found |= {c: features.check(c) for c in ('jpg', 'zlib')}",
    "imagecodecs": "from pneumoscan.imaging.dicom.frames import codecs; found |= codecs()",
    "onnxruntime": "import onnxruntime; found['providers'] = onnxruntime.get_available_providers()",
    "torch": (
        "import torch; found |= {'threads': torch.get_num_threads(), 'cuda': torch.cuda.is_available(),"
        " 'capability': torch.backends.cpu.get_cpu_capability()}"
    ),
    "torchvision": "import torchvision",
}


def python() -> Check:
    """Check the interpreter and the operating system."""
    value = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    if platform.system() == "Linux":
        return Check("python", "ok", value)
    lacks = "the worker processes of the service have no memory limit here"
    if not has_process_limits():
        lacks = "the worker processes of the service have no limits of memory, files and processes here"
    return Check("python", "warn", value, f"pneumoscan is tested on Linux; {lacks}.")


def encoding() -> Check:
    """Check whether file names and text are UTF-8."""
    found = {sys.getfilesystemencoding().lower(), locale.getpreferredencoding(do_setlocale=False).lower()}
    if found <= {"utf-8", "utf8"}:
        return Check("text encoding", "ok", "UTF-8")
    return Check(
        "text encoding",
        "warn",
        ", ".join(sorted(found)),
        "Set PYTHONUTF8=1 or LANG=C.UTF-8 for names with non-ASCII characters.",
    )


def packages() -> list[Check]:
    """Compare the installed versions with the requirements of pneumoscan."""
    try:
        lines = metadata.requires("pneumoscan") or []
    except metadata.PackageNotFoundError:
        remedy = "Install pneumoscan with pip, so that its requirements are known."
        return [Check("pneumoscan", "warn", "not installed as a package", remedy)]
    groups = [match.groups(default="") for match in map(_REQUIREMENT.match, lines) if match]
    wanted: dict[str, tuple[str, str]] = {}
    # The core comes before the extras: a package that several require belongs to the first.
    for extra in _EXTRAS:
        for name, least, its_extra in groups:
            if its_extra == extra:
                wanted.setdefault(name, (least, extra))
    return [_package(name, least, extra) for name, (least, extra) in wanted.items()]


def _package(name: str, least: str, extra: str) -> Check:
    package = f"pneumoscan[{extra}]" if extra else "pneumoscan"
    install = f"pip install --upgrade '{package}'"
    version = installed_version(name)
    if version is None and extra:
        # Prediction needs only the core.
        missing: Status = "warn" if extra == "train" else "ok"
        value = f"not installed, needed for {_EXTRAS[extra]}"
        return Check(name, missing, value, f"If you want it: pip install '{package}'")
    if version is None:
        return Check(name, "fail", "not installed", install)
    if _release(version) < _release(least):
        return Check(name, "fail", f"{version}, at least {least} is needed", install)
    return Check(name, "ok", version)


def installed_version(name: str) -> str | None:
    """Return the version of a package from its metadata, without importing it; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version without trailing zeros: 2.9.0rc1+cpu gives (2, 9)."""
    release = re.match(r"(?:\d+!)?(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in release[1].split(".")] if release else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def imports() -> list[Check]:
    """Import each installed package in a separate process, and report what it offers."""
    running = {name: _start(code) for name, code in _PROBES.items() if installed_version(name) is not None}
    return [_finding_of(name, *_finish(process)) for name, process in running.items()]


def _start(code: str) -> "subprocess.Popen[str]":
    program = f"import json; found = {{}}; {code}; print(json.dumps(found))"
    # -P: a file torch.py in the working folder must not be imported instead of torch.
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUTF8": "1"},
    )


def _finish(process: "subprocess.Popen[str]") -> tuple[dict[str, Any] | None, str]:
    """Return the result of a probe, or None and its last output."""
    try:
        out, err = process.communicate(timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None, f"no answer within {PROBE_SECONDS} s"
    if process.returncode == 0:
        found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        return found, ""
    ended = f"ended by signal {-process.returncode}" if process.returncode < 0 else "ended without output"
    return None, (err.strip().splitlines() or [ended])[-1][:200]


def _finding_of(name: str, found: Mapping[str, Any] | None, problem: str) -> Check:
    title = f"import {name}"
    if found is None:
        return _failed_import(name, title, problem)
    missing = [codec for codec in ("jpg", "zlib") if found.get(codec) is False]
    if missing:
        return Check(
            title, "fail", f"built without {', '.join(missing)}", "pip install --force-reinstall pillow"
        )
    if name == "onnxruntime" and "CPUExecutionProvider" not in found["providers"]:
        return Check(
            title, "fail", "it cannot compute on the CPU", "pip install --force-reinstall onnxruntime"
        )
    value = "; ".join(f"{key} {_said(value)}" for key, value in found.items()) or "it loads"
    return Check(title, "ok", value)


def _failed_import(name: str, title: str, problem: str) -> Check:
    if name == "torchvision":
        remedy = "pneumoscan does not use it, but packages that do will fail: pip uninstall torchvision"
        return Check(title, "warn", f"{problem} ({_mismatch()})", remedy)
    needed = "pneumoscan[train]" if name == "torch" else name
    return Check(title, "fail", problem, f"pip install --force-reinstall '{needed}'")


def _mismatch() -> str:
    """Compare the builds of torch and torchvision: the part of their versions after the plus."""
    versions = [installed_version(name) or "none" for name in ("torch", "torchvision")]
    builds = [version.partition("+")[2] or "default" for version in versions]
    same = "one build" if builds[0] == builds[1] else "two different builds"
    return f"torch {versions[0]} beside torchvision {versions[1]}: {same}"


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def diagnose() -> list[Check]:
    """Run all checks. This takes a few seconds and writes only temporary files."""
    return [
        python(),
        encoding(),
        *packages(),
        *imports(),
        *machine.processors(),
        machine.memory(),
        *machine.folders(),
        machine.disk_space(),
    ]
