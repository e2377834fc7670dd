"""Run the tests, two trainings and the exchange between GPUs on an NVIDIA GPU, and measure films/s beside plain PyTorch.

python -m benchmarks.gpu.run --films chest_xray --work ~/gpu     # synthetic films without --films
python -m benchmarks.gpu.run --device cpu --quick --work /tmp/g  # the same steps without a GPU; the figures are meaningless

Each part is recorded in WORK when it is finished. The same command continues after an interruption: finished parts are not
repeated, and trainings resume from their checkpoint.
"""

import json
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.record import Bar, Options, Record, finish, options_of, parser, write
from benchmarks.speed.material import phantom_films
from benchmarks.speed.training_speed import SIZE, multiply_adds
from benchmarks.timing import ROOT, in_turn, quiet_environment, ratio
from benchmarks.workers import Worker

NAME = "gpu"
# The batch of the presets, and one that fills a large GPU.
BATCHES = (32, 256)
QUICK = ("loop.epochs=1", "data.size=48")


@dataclass(frozen=True)
class Job:
    """What the command line asks for: the shared options, and `cuda` or `cpu`."""

    options: Options
    device: str

    @property
    def films(self) -> Path:
        """The folder of films; synthetic ones are drawn if none is given."""
        return self.options.films or phantom_films(self.options)


def gpu_facts() -> dict[str, Any]:
    """Return name, memory, compute capability and number of the GPUs, and torch's versions."""
    import torch

    if not torch.cuda.is_available():
        return {"gpus": 0, "torch": torch.__version__}
    facts = torch.cuda.get_device_properties(0)
    return {
        "gpus": torch.cuda.device_count(),
        "gpu": facts.name,
        "gpu_memory_gib": round(facts.total_memory / 2**30, 1),
        "compute_capability": f"{facts.major}.{facts.minor}",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "nccl": ".".join(map(str, torch.cuda.nccl.version())),
    }


def run_tests(job: Job) -> dict[str, Any]:
    """Run the tests with the GPU visible (`loop.device=auto` then uses it); quick: those of the networks."""
    report = job.options.work / "tests.xml"
    which = ["tests/models"] if job.options.quick else ["tests"]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", f"--junitxml={report}", *which]
    subprocess.run(command, cwd=ROOT, env=quiet_environment(gpu=job.device == "cuda"), check=False)
    return test_counts(report)


def test_counts(report: Path) -> dict[str, Any]:
    """Return the counts of a JUnit report, and the names of the failed tests."""
    suite = next(ET.parse(report).iter("testsuite"))
    failed = [
        f"{case.get('classname')}.{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return {"tests": int(suite.get("tests", 0)), "skipped": int(suite.get("skipped", 0)), "failed": failed}


def train_command(job: Job, preset: str, out: Path, settings: Sequence[str] = ()) -> list[str]:
    """Return the arguments of `python -m` for a training; a run that was interrupted is resumed."""
    command = ["pneumoscan", "train", "--data", str(job.films), "--out", str(out), "--resume"]
    if (out / "config.toml").exists():
        return command
    chosen = [f"loop.device={job.device}", *(QUICK if job.options.quick else ()), *settings]
    return [*command, "--preset", preset, *(part for text in chosen for part in ("--set", text))]


def train(job: Job, preset: str) -> dict[str, Any]:
    """Train a preset as a user does, with export."""
    out = job.options.work / preset
    run_module(job, train_command(job, preset, out))
    return run_facts(out)


def run_facts(out: Path) -> dict[str, Any]:
    """Return films/s (median over the epochs) and the result of a finished run."""
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    rates = [record["films_per_second"] for record in history]
    result = json.loads((out / "manifest.json").read_text())["result"]
    return {"films_per_second": float(median(rates)), "epochs": len(history), **result}


def several_processes(job: Job) -> dict[str, Any]:
    """Sum a gradient over one process per GPU (NCCL; two processes with gloo on a CPU), and train with several.

    NCCL accepts one process per GPU. With a single GPU only the sum is measured, with one process.
    """
    count = gpu_facts()["gpus"] if job.device == "cuda" else 2
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    worker = ["-m", "benchmarks.gpu.step_worker", "collective", job.device]
    facts = json.loads(run_module(job, [*launcher, *worker]).splitlines()[-1])
    if count == 1:
        return {"collective": facts, "training": "not run: it needs two GPUs"}
    out = job.options.work / "several"
    run_module(job, [*launcher, "-m", *train_command(job, "baseline-quick", out, ["loop.worker_threads=1"])])
    return {"collective": facts, "training": run_facts(out)}


def run_module(job: Job, arguments: Sequence[str]) -> str:
    """Run `python -m …`, which must succeed, and return its output; what it reports on stderr is shown."""
    command = [sys.executable, "-m", *arguments]
    print(shlex.join(command), file=sys.stderr, flush=True)
    environment = quiet_environment(gpu=job.device == "cuda")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=environment)
    return done.stdout


def commands(job: Job) -> dict[str, list[str]]:
    """Return the command of each contender's worker, in the order in which they take turns."""
    ours = [sys.executable, "-m", "benchmarks.speed.step_worker", "ours", "20", f"loop.device={job.device}"]
    plain = [sys.executable, "-m", "benchmarks.gpu.step_worker"]
    found = {}
    for batch in BATCHES[:1] if job.options.quick else BATCHES:
        settings = [f"loop.batch_size={batch}", "loop.micro_batch=0", "loop.precision=bfloat16"]
        found[f"ours, batch {batch}"] = [*ours, *settings]
        found[f"AMP, batch {batch}"] = [*plain, "plain", job.device, str(batch)]
        found[f"AMP + compile, batch {batch}"] = [*plain, "compiled", job.device, str(batch)]
    side = 8192 if job.device == "cuda" else 1024
    return {**found, "peak": [*plain, "peak", job.device, str(side)]}


def measure_speed(job: Job) -> dict[str, Any]:
    """Measure films/s of training steps in turn: ours, plain PyTorch with AMP, the same compiled, and the peak."""
    steps, gpu, errors = (2 if job.options.quick else 50), job.device == "cuda", {}
    with ExitStack() as stack:
        calls: dict[str, Callable[[], Any]] = {}
        for name, command in commands(job).items():
            try:
                calls[name] = partial(stack.enter_context(Worker(command, gpu=gpu)).ask, steps=steps)
            except RuntimeError as error:
                # Compiling needs more than torch, and the others are measured without it.
                errors[name] = str(error)
        answers = in_turn(calls, job.options.round_count(7))
    peak = [answer["bfloat16"] for answer in answers.pop("peak", [])]
    films = {
        name: [steps * int(name.split()[-1]) / answer["seconds"] for answer in found]
        for name, found in answers.items()
    }
    return {"films_per_second": films, "peak_giga_multiply_adds": peak, "errors": errors}


PARTS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "speed": measure_speed,
    "several": several_processes,
    "train-baseline": partial(train, preset="baseline"),
    "train-flagship": partial(train, preset="flagship"),
    "tests": run_tests,
}


def run_parts(job: Job, parts: Sequence[str]) -> dict[str, Any]:
    """Run the parts that have no record in WORK yet; one that fails is recorded with its error, and runs again next time."""
    found = {}
    for name in parts:
        path = job.options.work / f"{name}.json"
        if not path.exists():
            started = time.monotonic()
            try:
                facts = PARTS[name](job)
            except (subprocess.CalledProcessError, RuntimeError, OSError) as error:
                found[name] = {"error": str(error)}
                continue
            write(path, {**facts, "part_seconds": round(time.monotonic() - started, 1)})
        found[name] = json.loads(path.read_text())
    return found


def summarise(parts: dict[str, Any], facts: dict[str, Any]) -> Record:
    """Return the record of all parts: medians, ratios, shares of the peak and targets."""
    record = Record(NAME, facts={**facts, "parts": parts})
    speed = parts.get("speed", {})
    rates = {name: float(median(values)) for name, values in speed.get("films_per_second", {}).items()}
    record.medians = dict(rates)
    for name in (name for name in rates if name.startswith("ours")):
        others = [f"{other}{name.removeprefix('ours')}" for other in ("AMP", "AMP + compile")]
        record.ratios |= {
            f"{name} / {other}": rates[name] / rates[other] for other in others if other in rates
        }
    work = multiply_adds((32,) * 4, (128,), SIZE)["training"] / 1e9
    if peaks := speed.get("peak_giga_multiply_adds"):
        record.ratios |= {f"{name} / peak": rate * work / median(peaks) for name, rate in rates.items()}
    failed = parts.get("tests", {}).get("failed")
    best = max(
        (rates[name] for name in rates if name.startswith("AMP") and name.endswith("32")), default=None
    )
    ours = ratio(rates.get("ours, batch 32"), best)
    record.bars = [
        Bar("GPU: tests that fail", None if failed is None else float(len(failed)), 1, "<"),
        Bar("GPU: ours / plain PyTorch with AMP (the faster way), batch 32", ours, 1),
    ]
    return record


def main() -> None:
    """Be the command line."""
    line = parser((__doc__ or "").splitlines()[0])
    line.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    line.add_argument("--only", action="append", choices=PARTS, help="this part; may be repeated")
    arguments = line.parse_args()
    facts, options = gpu_facts(), options_of(arguments)
    if arguments.device == "cuda" and not facts["gpus"]:
        raise SystemExit("torch sees no NVIDIA GPU. Install torch with CUDA, or use --device cpu --quick.")
    options.work.mkdir(parents=True, exist_ok=True)
    job = Job(options, arguments.device)
    finish(NAME, lambda _: summarise(run_parts(job, arguments.only or list(PARTS)), facts), options)


if __name__ == "__main__":
    main()
