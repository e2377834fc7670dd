"""How much memory the processes of an archive take over time, on Ray.

python -m benchmarks.archive.memory --work /tmp/archive --films 20000
"""

import argparse
import shutil
import subprocess
import time

from benchmarks.archive import scene
from benchmarks.record import Bar, Options, Record, finish
from benchmarks.timing import quiet_environment


def main() -> None:
    """Run it."""
    options = scene.parser(__doc__ or "", 20_000).parse_args()
    wanted = Options("", None, options.work, options.out, 1, options.films < 20_000)
    finish("archive_memory", lambda _: _measure(options), wanted)


def _measure(options: argparse.Namespace) -> Record:
    folder, out = scene.films(options), options.work / "rows-memory"
    shutil.rmtree(out, ignore_errors=True)
    line = scene.command(
        "archive", folder, "--out", out, "--launcher", "ray", "--workers", 2, "--part-size", options.part_size
    )
    begun = time.monotonic()
    process = subprocess.Popen(
        line, env=quiet_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    memory = scene.Memory(process.pid)
    code = process.wait()
    found, seconds = memory.stop(), time.monotonic() - begun
    growth = {role: told["last_quarter_mb"] - told["second_quarter_mb"] for role, told in found.items()}
    bars = [
        Bar(f"growth of the {role} in half the time (MB)", more, 15, "<") for role, more in growth.items()
    ]
    told = scene.facts(options) | {"seconds": round(seconds, 1), "exit_code": code}
    return Record("archive_memory", bars, medians=found, facts=told)


if __name__ == "__main__":
    main()
