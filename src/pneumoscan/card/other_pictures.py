"""Pictures that are no upright frontal chest film: synthetic ones, and films that were turned or inverted.

Everything is drawn from a seeded generator, as a grey uint8 square. No out-of-distribution detector is fitted to these pictures. Of
their kinds, its training has random fields (such as noise and gradients), turned and inverted films, and small films in the dark.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from pneumoscan.card.drawn_radiographs import ct_slice, hand, lateral_chest, skull
from pneumoscan.card.drawn_scenes import cat, colour_blobs, face, fur, landscape
from pneumoscan.card.picture_parts import Picture, axes, fractal, grey, stretched

Draw = Callable[[np.random.Generator, int], Picture]
Change = Callable[[Picture], Picture]
WORDS = [
    "the",
    "lungs",
    "are",
    "clear",
    "and",
    "heart",
    "size",
    "is",
    "normal",
    "no",
    "effusion",
    "seen",
    "on",
    "either",
    "side",
    "report",
    "of",
    "study",
    "dated",
]


def black(_: np.random.Generator, side: int) -> Picture:
    """Nothing."""
    return np.zeros((side, side), np.uint8)


def one_colour(rng: np.random.Generator, side: int) -> Picture:
    """One grey."""
    return np.full((side, side), rng.integers(1, 256), np.uint8)


def white_noise(rng: np.random.Generator, side: int) -> Picture:
    """Noise without a scale."""
    return grey(rng.normal(128, rng.uniform(15, 60), (side, side)))


def pink_noise(rng: np.random.Generator, side: int) -> Picture:
    """Noise of every scale."""
    return stretched(fractal(rng, side, power=rng.uniform(0.8, 1.3)))


def gradient(rng: np.random.Generator, side: int) -> Picture:
    """A ramp, straight or round."""
    y, x = axes(side)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * x + np.sin(angle) * y
    radial = np.hypot(x - rng.uniform(-0.5, 0.5), y - rng.uniform(-0.5, 0.5))
    return stretched(radial if rng.random() < 0.4 else slope)


def checkerboard(rng: np.random.Generator, side: int) -> Picture:
    """Squares in turn."""
    y, x = np.mgrid[0:side, 0:side]
    step = int(side / rng.integers(3, 16))
    return grey(np.where((x // step + y // step) % 2, rng.integers(150, 256), rng.integers(0, 100)))


def text_page(rng: np.random.Generator, side: int) -> Picture:
    """A letter: a head, and paragraphs of words with a ragged edge."""
    image = Image.new("L", (side, side), int(rng.integers(225, 256)))
    pen, line, top = ImageDraw.Draw(image), int(rng.integers(9, 15)), int(side * 0.06)
    margin = int(side * rng.uniform(0.05, 0.14))
    while top < side * 0.94:
        if rng.random() < 0.12:
            top += line
            continue
        words = " ".join(rng.choice(WORDS, 40))
        end = side - margin - int(rng.uniform(0, 0.2) * side)
        pen.text((margin, top), words[: max(1, (end - margin) // 6)], fill=int(rng.integers(0, 60)))
        top += line
    return np.asarray(image)


def screenshot(rng: np.random.Generator, side: int) -> Picture:
    """A window: title bar, side panel with entries, lines of text, a button, a picture frame."""
    dark = rng.random() < 0.5
    ground, ink, panel = (32, 210, 52) if dark else (246, 40, 222)
    image = Image.new("L", (side, side), ground)
    pen, left = ImageDraw.Draw(image), int(side * rng.uniform(0.15, 0.35))
    pen.rectangle((0, 0, side, side * 0.08), fill=panel)
    pen.rectangle((0, side * 0.08, left, side), fill=panel)
    for y in range(int(side * 0.14), int(side * 0.9), int(side * 0.06)):
        pen.text((6, y), str(rng.choice(WORDS)), fill=ink)
        if rng.random() < 0.8:
            pen.text((left + 10, y), " ".join(rng.choice(WORDS, 6)), fill=ink)
    x, y = rng.uniform(0.4, 0.6, 2) * side
    pen.rectangle((x, y, x + side * 0.35, y + side * 0.3), fill=int(rng.integers(60, 200)), outline=ink)
    return np.asarray(image)


DRAWN: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (
        black, one_colour, white_noise, pink_noise, gradient, checkerboard, text_page, screenshot, ct_slice, hand,
        lateral_chest, skull, landscape, colour_blobs, face, cat, fur,
    )
}  # fmt: skip


def in_a_corner(film: Picture) -> Picture:
    """Put a film, at a third of its sides, into a corner of a black one."""
    height, width = film.shape
    small = Image.fromarray(film).resize((max(1, width // 3), max(1, height // 3)), Image.Resampling.BILINEAR)
    canvas, top, left = np.zeros_like(film), height // 20, width // 20
    canvas[top : top + small.height, left : left + small.width] = np.asarray(small)
    return canvas


TURNED: dict[str, Change] = {
    "rotated_90": np.rot90,
    "rotated_180": lambda film: np.rot90(film, 2),
    "rotated_270": lambda film: np.rot90(film, 3),
    "upside_down": lambda film: film[::-1],
    "inverted": lambda film: 255 - film,
    "in_a_corner": in_a_corner,
}


def drawn(kind: str, seed: int, side: int = 320) -> Picture:
    """Return picture number `seed` of a drawn kind: uint8 (side, side)."""
    rng = np.random.default_rng([seed, sum(kind.encode())])
    return np.ascontiguousarray(DRAWN[kind](rng, side))
