"""Memory of `pneumoscan predict` over ten thousand films."""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import Bar, Options, Record, run_one
from benchmarks.speed.material import bundle, large_films, pneumoscan

NAME = "predict_memory"


def resident_megabytes(process: int, kind: str = "VmRSS") -> float:
    """Return the resident set of a process in MB (10⁶ bytes); `VmHWM` is the maximum so far."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    found = re.search(rf"^{kind}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def slope(rows: Sequence[int], megabytes: Sequence[float]) -> float:
    """Return the growth in MB per 1,000 rows, by least squares."""
    x = [row / 1000 for row in rows]
    middle, level = sum(x) / len(x), sum(megabytes) / len(megabytes)
    over = sum((a - middle) * (b - level) for a, b in zip(x, megabytes, strict=True))
    return over / sum((a - middle) ** 2 for a in x)


def samples(command: Sequence[str], listed: bytes, every: int) -> tuple[list[tuple[int, float]], float]:
    """Run the command over a list of films; return (rows, MB) every `every` rows, and the maximum in MB."""
    found, most = [], 0.0
    with tempfile.TemporaryFile() as names, tempfile.TemporaryFile() as errors:
        names.write(listed)
        names.seek(0)
        with subprocess.Popen(command, stdin=names, stdout=subprocess.PIPE, stderr=errors) as process:
            assert process.stdout is not None
            for number, _line in enumerate(process.stdout):  # line 0 is the header
                if number and number % every == 0:
                    found.append((number, resident_megabytes(process.pid)))
                    most = resident_megabytes(process.pid, "VmHWM")
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"predict ended with {process.returncode}: {errors.read().decode()[-800:]}")
    return found, most


def measure(options: Options) -> Record:
    """Classify 500 films twenty times in one process; their names are listed on stdin."""
    count, times, every = (20, 10, 40) if options.quick else (500, 20, 1000)
    films = sorted(large_films(options, count).glob("*.jpeg"))
    # A few more at the end, so that the process still runs at the last sample.
    names = films * times + films[:20]
    listed = "\n".join(map(str, names)).encode()
    command = pneumoscan("predict", "-", "--model", bundle(options))
    found, most = samples(command, listed, every)
    rows, megabytes = zip(*found, strict=True)
    record = Record(NAME, raw={"rows": rows, "resident_megabytes": megabytes})
    growth = slope(rows[1:], megabytes[1:])
    record.medians = {
        "MB after the first sample": megabytes[0],
        "MB after the last": megabytes[-1],
        "most MB": most,
    }
    record.facts = {"films": len(names), "sampled_every": every}
    record.bars = [Bar("memory: MB for each 1,000 films after the first 1,000", growth, 1, "<")]
    return record


if __name__ == "__main__":
    run_one(NAME, __doc__ or "", measure)
