"""The films of a study, with the same hold-out for every trial."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pneumoscan.data.cache import open_cache
from pneumoscan.data.layouts import Sources, as_words, load_sites
from pneumoscan.data.splits import hold_out
from pneumoscan.errors import NothingUsableError
from pneumoscan.networks.baseline import BaselineConfig
from pneumoscan.train.config import DataConfig, TrainingConfig
from pneumoscan.train.films import TrainingFilms, training_films
from pneumoscan.train.lungs import preparation_of

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class StudyFilms:
    """Films of one size with their patients.

    Attributes:
        films: Pixels, labels and hold-out.
        held_out_paths: n paths of the held-out films.
        held_out_patients: n patients of the held-out films.
        data_sha256: Identifies the films; see `data.cache`.
        synthetic: Whether they are synthetic films.
    """

    films: TrainingFilms
    held_out_paths: tuple[str, ...]
    held_out_patients: tuple[str, ...]
    data_sha256: str
    synthetic: bool = False

    @property
    def held_out_labels(self) -> npt.NDArray[np.int64]:
        """Labels of the held-out films: int64 (n,), 1 is PNEUMONIA."""
        return self.films.labels[self.films.val].astype(np.int64)

    @property
    def held_out_sha256(self) -> str:
        """SHA-256 over the paths of the held-out films, which identifies the hold-out."""
        return hashlib.sha256("\n".join(self.held_out_paths).encode("utf-8", "surrogateescape")).hexdigest()


def open_films(
    data: Sources, config: DataConfig, *, cache: Path | None = None, progress: Progress | None = None
) -> StudyFilms:
    """Return the films of the split train, with part of the patients held out.

    Args:
        data: Sources for `load_sites`.
        config: Size, preprocessing and hold-out.
        cache: Folder of the film cache.
        progress: Called with (done, total) while films are decoded.

    Raises:
        NothingUsableError, LayoutError: There are no such films, or too few patients; see `hold_out`.
        DataDamagedError, DiskFullError, NotWritableError: See `open_cache`.
    """
    manifest = load_sites(data).of_split("train")
    if not len(manifest):
        raise NothingUsableError(
            f"{as_words(data)} has no films of the split train.",
            "Put them in DIR/train/NORMAL and …/PNEUMONIA.",
        )
    settings = TrainingConfig(data=config, model=BaselineConfig(inputs=config.preprocessing().channels))
    preparation = preparation_of(settings, manifest)
    table = open_cache(manifest, size=config.size, preparation=preparation, folder=cache, progress=progress)
    hold = hold_out(
        manifest,
        fraction=config.val_fraction,
        seed=config.split_seed,
        duplicates=table.content_sha256,
    )
    films = training_films(settings, manifest, table, hold)
    held = [manifest.films[int(place)] for place in table.index[films.val]]
    return StudyFilms(
        films=films,
        held_out_paths=tuple(film.path for film in held),
        held_out_patients=tuple(film.patient_id for film in held),
        data_sha256=table.data_sha256,
        synthetic=manifest.synthetic,
    )
