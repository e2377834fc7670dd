"""Download with kagglehub into its own cache, and copy the films from there."""

import shutil
from collections.abc import Callable
from pathlib import Path

from pneumoscan.data.manifest import CLASS_NAMES, Manifest
from pneumoscan.errors import NoNetworkError, importing

DATASET = "paultimothymooney/chest-xray-pneumonia"

BY_HAND = (
    f"Download the zip file yourself, from https://www.kaggle.com/datasets/{DATASET} or from Mendeley Data "
    "(doi 10.17632/rscbjbr9sj, ChestXRay2017.zip), and run `pneumoscan data fetch DIR --zip FILE`."
)


def download() -> Path:
    """Download the set with kagglehub, about 2.3 GB, and return the folder in its cache.

    Raises:
        MissingDependencyError: kagglehub is not installed.
        NoNetworkError: The download failed.
    """
    with importing(otherwise=f"Or: {BY_HAND}"):
        import kagglehub
    try:
        return Path(kagglehub.dataset_download(DATASET))
    except Exception as problem:
        # kagglehub passes on errors of requests, urllib3 and its own code; users need only one.
        reason = str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
        raise NoNetworkError(f"the download from Kaggle failed: {reason}", BY_HAND) from problem


def copy_films(manifest: Manifest, into: Path, progress: Callable[[int, int], None] | None) -> None:
    """Copy the films of a table to `into/split/CLASS/name`."""
    for done, film in enumerate(manifest.films, start=1):
        target = into / film.split / CLASS_NAMES[film.label] / Path(film.path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(manifest.root / film.path, target)
        if progress is not None:
            progress(done, len(manifest))
