"""Input of the benchmarks, generated once: a trained bundle, the same network for Keras, and films."""

import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from benchmarks.record import Options
from benchmarks.timing import quiet_environment

FILM_WIDTH, FILM_HEIGHT = 1300, 1000
GRAIN = 3.0
PATIENTS = 24
SUFFIXES = {".jpeg", ".jpg", ".png"}


def bundle(options: Options) -> Path:
    """Return a bundle of the baseline network, trained for one epoch on phantom films. The speed does not depend on the weights."""
    run = options.work / "run"
    if not (run / "bundle" / "model.json").exists():
        films = phantom_films(options)
        _run(
            "train",
            "--data",
            films,
            "--out",
            run,
            "--preset",
            "baseline-plain",
            "--set",
            "loop.epochs=1",
            "--resume",
        )
    return run / "bundle"


def phantom_films(options: Options) -> Path:
    """Return a small folder of phantom films in the Kaggle layout; an interrupted run is completed."""
    folder = options.work / "phantom"
    if not folder.with_suffix(".done").exists():
        _run("data", "phantom", folder, "--patients", PATIENTS)
        folder.with_suffix(".done").touch()
    return folder


def keras_file(options: Options) -> Path:
    """Return the same network as a .keras file, written by the interpreter of Keras."""
    path = options.work / "baseline.keras"
    if not path.exists():
        options.work.mkdir(parents=True, exist_ok=True)
        command = [options.keras_python, "-m", "benchmarks.speed.peer_keras", "save", str(path)]
        subprocess.run(command, check=True, capture_output=True, env=quiet_environment())
    return path


def large_films(options: Options, count: int) -> Path:
    """Return a folder with `count` grey JPEGs of 1300×1000 at quality 90, enlarged from real or phantom films."""
    kind = "real" if options.films else "phantom"
    folder = options.work / f"{kind}-{FILM_WIDTH}x{FILM_HEIGHT}-grain-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    sources = film_files(options.films or phantom_films(options))
    for number in range(count):
        target = folder / f"film-{number:04d}.jpeg"
        if not target.exists():
            temporary = target.with_suffix(".part")
            temporary.write_bytes(
                enlarged(sources[number % len(sources)], mirror=bool(number // len(sources) % 2))
            )
            temporary.rename(target)
    return folder


def film_files(folder: Path) -> list[Path]:
    """Return the film files of a folder, evenly mixed from its classes by file name."""
    found = sorted(
        (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES), key=lambda path: path.name
    )
    if not found:
        raise SystemExit(f"there are no films in {folder}")
    stride = max(1, len(found) // 500)
    return found[::stride]


def enlarged(source: Path, *, mirror: bool) -> bytes:
    """Return a film at 1300×1000 pixels as a grey JPEG of quality 90, with grain.

    An enlarged film is smoother than a real one of that size and is decoded in half the time. Grain of three grey
    levels gives the file 0.2 MB, as is usual for a film of that size.
    """
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(source) as film:
        smooth = film.convert("L").resize((FILM_WIDTH, FILM_HEIGHT), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(0).normal(0, GRAIN, (FILM_HEIGHT, FILM_WIDTH))
    picture = Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))
    buffer = BytesIO()
    (ImageOps.mirror(picture) if mirror else picture).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def pneumoscan(*arguments: object) -> list[str]:
    """Return the command line of this interpreter's pneumoscan."""
    return [sys.executable, "-m", "pneumoscan", *map(str, arguments)]


def _run(*arguments: object) -> None:
    command: Sequence[str] = pneumoscan(*arguments)
    print(f"  making material: {' '.join(command[2:])}", file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-800:]}")
