"""Run the benchmarks one after the other, write their records and a summary, and print one table with the peers.

python -m benchmarks.speed.run --keras-python /path/to/venv/bin/python --films /path/to/chest_xray
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.record import Options, Record, finish, machine_facts, options_of, parser, print_bars, write
from benchmarks.speed import batch_predict, cold_predict, network_latency, predict_memory, training_speed
from benchmarks.speed.table import table

BENCHMARKS: dict[str, Callable[[Options], Record]] = {
    training_speed.NAME: training_speed.measure,
    cold_predict.NAME: cold_predict.measure,
    network_latency.NAME: network_latency.measure,
    batch_predict.NAME: batch_predict.measure,
    predict_memory.NAME: predict_memory.measure,
}


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the options, and of the choice of benchmarks."""
    line = parser("Run the benchmarks and write results/benchmarks/NAME.json and summary.json.")
    line.add_argument("--only", action="append", choices=BENCHMARKS, help="this one; may be repeated")
    return line


def summary(folder: Path) -> dict[str, object]:
    """Return all targets of the records in a folder, with benchmark and date."""
    records = [
        json.loads(path.read_text()) for name in BENCHMARKS if (path := folder / f"{name}.json").exists()
    ]
    bars = [
        {"benchmark": record["name"], "date": record["date"], "quick": record["quick"], **bar}
        for record in records
        for bar in record["bars"]
    ]
    return {"machine": machine_facts(), "bars": bars, "all_passed": all(bar["passed"] for bar in bars)}


def main() -> None:
    """Run the chosen benchmarks. The exit code does not depend on the targets."""
    arguments = command_line().parse_args()
    options, records = options_of(arguments), []
    for name in arguments.only or BENCHMARKS:
        started = time.monotonic()
        records.append(finish(name, BENCHMARKS[name], options))
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    print("\nSummary")
    print_bars([bar for record in records for bar in record.bars])
    write(options.out / "summary.json", summary(options.out))
    print(f"\n{table(options.out)}")


if __name__ == "__main__":
    main()
