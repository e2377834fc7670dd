"""What one process does for all others: the listing and the verification. Seconds and memory.

python -m benchmarks.archive.serial --work /tmp/archive
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, Bar, Options, Record, finish
from benchmarks.timing import quiet_environment

_PEAK = '"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, "seconds": time.monotonic() - begun'
# A path of 73 bytes, as an archive has them.
_LIST = """
import sys
write = sys.stdout.buffer.write
for number in range(int(sys.argv[1])):
    write(b"/pacs/2019/%04d/1.2.826.0.1.3680043.8.498.%020d.dcm\\n" % (number % 10000, number))
"""
_LISTING = f"""
import json, resource, sys, time
from pneumoscan.archive.inputs import inputs_of, write_shards
from pneumoscan.archive.storage import open_folder
begun = time.monotonic()
found = write_shards(open_folder(sys.argv[2]), inputs_of(["-"], sys.argv[2], stdin=sys.stdin.buffer), 500)
assert found.inputs == int(sys.argv[1])
print(json.dumps({{{_PEAK}}}))
"""
_VERIFYING = f"""
import json, resource, sys, time
from pneumoscan.archive.inputs import write_shards
from pneumoscan.archive.shard import encoded, part_name
from pneumoscan.archive.inputs import ArchiveSettings, write_plan
from pneumoscan.archive.run import verified
from pneumoscan.archive.storage import open_folder
from pneumoscan.rows import PredictionRow
folder, count = open_folder(sys.argv[2]), int(sys.argv[1])
paths = [f"/pacs/2019/{{n % 10000:04d}}/1.2.826.0.1.3680043.8.498.{{n:020d}}.dcm" for n in range(count)]
settings = ArchiveSettings("model@123456789012", "0" * 64, 0.5, "parquet", 500)
plan = write_plan(folder, settings, write_shards(folder, paths, 500), ("-",))
for shard in range(plan.listing.shards):
    rows = [PredictionRow(path, "ok", n / count, "NORMAL", 0.5, (), "", "", settings.model)
            for n, path in enumerate(paths[500 * shard:500 * shard + 500])]
    folder.write(part_name(shard, "parquet"), encoded(rows, "parquet"))
begun = time.monotonic()
manifest, damaged = verified(folder, plan, lambda *_: None)
assert manifest["ok"] == count and not damaged
print(json.dumps({{{_PEAK}}}))
"""


def main() -> None:
    """Run it."""
    line = argparse.ArgumentParser(description=__doc__)
    line.add_argument("--inputs", type=int, default=10_000_000)
    line.add_argument("--verified", type=int, default=100_000)
    line.add_argument("--work", type=Path, required=True)
    line.add_argument("--out", type=Path, default=RESULTS)
    options = line.parse_args()
    wanted = Options("", None, options.work, options.out, 1, options.inputs < 10_000_000)
    finish("archive_serial", lambda _: _measure(options), wanted)


def _measure(options: argparse.Namespace) -> Record:
    folder = options.work / "serial"
    counts = {"listing": options.inputs, "verifying": options.verified}
    found = {}
    for (name, count), script in zip(counts.items(), (_LISTING, _VERIFYING), strict=True):
        shutil.rmtree(folder, ignore_errors=True)
        told = _run(script, count, folder, listed=name == "listing")
        found[name] = told | {"inputs": count, "microseconds_each": 1e6 * told["seconds"] / count}
    shutil.rmtree(folder, ignore_errors=True)
    bars = [Bar(f"peak of listing {options.inputs:,} (MB)", found["listing"]["peak_mb"], 300, "<")]
    return Record("archive_serial", bars, medians=found)


def _run(script: str, count: int, folder: Path, *, listed: bool) -> dict[str, Any]:
    names = None
    if listed:
        names = subprocess.Popen([sys.executable, "-c", _LIST, str(count)], stdout=subprocess.PIPE)
    done = subprocess.run(
        [sys.executable, "-c", script, str(count), str(folder)],
        stdin=names.stdout if names else None,
        stdout=subprocess.PIPE,
        check=True,
        env=quiet_environment(),
    )
    if names is not None:
        names.wait()
    told: dict[str, Any] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    main()
