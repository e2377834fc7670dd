"""Films that look like chests from afar, and a folder of them as Kaggle has it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def draw_film(
    rng: np.random.Generator | None = None, size: tuple[int, int] = (120, 140), *, consolidation: bool = False
) -> npt.NDArray[np.uint8]:
    """Draw a cheap chest: bright frame, two dark lungs, a bright spine; one lung clouded if `consolidation`."""
    rng = rng or np.random.default_rng(0)
    height, width = size
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    film = np.full(size, 0.6)
    for centre in (0.3, 0.7):
        lung = ((x - centre) / 0.16) ** 2 + ((y - 0.5) / 0.33) ** 2 < 1
        film[lung] = 0.25
    film[np.abs(x - 0.5) < 0.05] = 0.8
    if consolidation:
        side, level = rng.choice([0.3, 0.7]), rng.uniform(0.4, 0.65)
        film += 0.35 * np.exp(-(((x - side) / 0.1) ** 2) - ((y - level) / 0.12) ** 2)
    film = film * rng.uniform(0.8, 1.1) + rng.normal(0, 0.03, size)
    return (np.clip(film, 0, 1) * 255).astype(np.uint8)


def write_film_folder(root: Path, *, patients: int = 12, seed: int = 0) -> Path:
    """Write a folder in the Kaggle layout: `patients` of each class in train, fewer in val and test."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", patients), ("val", 2), ("test", max(2, patients // 2))):
        for label in ("NORMAL", "PNEUMONIA"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for patient in range(count):
                number = {"train": 100, "val": 900, "test": 500}[split] + patient
                for film in range(1 + patient % 2):
                    cause = "bacteria" if patient % 3 else "virus"
                    name = (
                        f"IM-{number:04d}-{film + 1:04d}.jpeg"
                        if label == "NORMAL"
                        else f"person{number}_{cause}_{number * 10 + film}.jpeg"
                    )
                    pixels = draw_film(rng, consolidation=label == "PNEUMONIA")
                    Image.fromarray(pixels).save(folder / name, quality=92)
    return root
