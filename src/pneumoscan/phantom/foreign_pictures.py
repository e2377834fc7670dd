"""Pictures that are no upright frontal chest film: synthetic ones, and films that were turned or inverted.

Everything is drawn from a seeded generator, as a grey uint8 square. No out-of-distribution detector is fitted to these pictures. Of
their kinds, its training has random fields (such as noise and gradients), turned and inverted films, and small films in the dark.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Picture = npt.NDArray[np.uint8]
Draw = Callable[[np.random.Generator, int], Picture]
Change = Callable[[Picture], Picture]
WORDS = ["the", "lungs", "are", "clear", "and", "heart", "size", "is", "normal", "no", "effusion", "seen", "on", "either", "side", "report", "of", "study", "dated"]  # fmt: skip


def axes(side: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return y and x from -1 to 1."""
    line = np.linspace(-1, 1, side)
    return line[:, None], line[None, :]


def grey(values: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> Picture:
    """Return values rounded and cut to uint8."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def stretched(values: npt.NDArray[np.floating]) -> Picture:
    """Return values from black to white."""
    low, high = values.min(), values.max()
    return grey(255 * (values - low) / (high - low))


def fractal(rng: np.random.Generator, side: int, *, power: float) -> npt.NDArray[np.float64]:
    """Return noise whose amplitude falls with frequency to the `power`; mean 0, deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    waves = np.fft.rfft2(rng.normal(size=(side, side))) / frequency**power
    field = np.fft.irfft2(waves, s=(side, side))
    scaled: npt.NDArray[np.float64] = field / field.std()
    return scaled


def ellipse(pen: ImageDraw.ImageDraw, side: int, x: float, y: float, rx: float, ry: float, fill: int) -> None:
    """Draw an ellipse; places and radii are shares of the side."""
    pen.ellipse(((x - rx) * side, (y - ry) * side, (x + rx) * side, (y + ry) * side), fill=fill)


def filmed(rng: np.random.Generator, image: Image.Image, *, blur: float, noise: float) -> Picture:
    """Blur and add grain, as a detector does."""
    grain = rng.normal(0, noise, (image.height, image.width))
    return grey(np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), np.float64) + grain)


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


def ct_slice(rng: np.random.Generator, side: int) -> Picture:
    """An axial slice of a chest: body ellipse, two lungs, heart, spine below, a ring of ribs, the table."""
    image = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(image)
    wide, high = rng.uniform(0.40, 0.47), rng.uniform(0.28, 0.36)
    ellipse(pen, side, 0.5, 0.5, wide, high, 110)
    ellipse(pen, side, 0.5, 0.5, wide - 0.03, high - 0.03, 140)
    for x in (0.5 - wide * 0.48, 0.5 + wide * 0.48):
        ellipse(pen, side, x, 0.49, wide * 0.36, high * 0.68, int(rng.integers(15, 45)))
    ellipse(pen, side, 0.53, 0.45, 0.11, 0.11, 165)
    ellipse(pen, side, 0.5, 0.5 + high * 0.6, 0.055, 0.05, 240)
    for angle in np.linspace(0, 2 * np.pi, int(rng.integers(12, 19)), endpoint=False) + rng.uniform(0, 0.3):
        x, y = 0.5 + (wide - 0.05) * np.cos(angle), 0.5 + (high - 0.05) * np.sin(angle)
        ellipse(pen, side, x, y, 0.03, 0.014, 235)
    pen.arc((side * 0.1, side * 0.55, side * 0.9, side * 0.95), 20, 160, fill=120, width=2)
    return filmed(rng, image, blur=side / 250, noise=8)


def lateral_chest(rng: np.random.Generator, side: int) -> Picture:
    """A chest from the side: spine along the back, one dark lung field, the heart in front, the diaphragm below."""
    y, x = axes(side)
    film = 95 + 35 * y
    outline = (np.abs(x) < 0.72 + 0.1 * np.sin(2 * y)) & (y > -0.95)
    film = np.where(outline, film + 30, 12)
    lung = ((x + 0.02) / 0.52) ** 2 + ((y + 0.12) / 0.72) ** 2 < 1
    film = np.where(lung, 60 + 20 * y, film)
    film = np.where(((x + 0.25) / 0.3) ** 2 + ((y - 0.22) / 0.34) ** 2 < 1, 165, film)
    film = np.where(lung & (y > 0.38 + 0.35 * x), 190, film)
    spine = np.abs(x - 0.5 - 0.08 * np.sin(3 * y)) < 0.1
    film = np.where(spine & outline, 175 + 35 * np.sign(np.sin(y * rng.uniform(28, 36))), film)
    for start in np.linspace(-0.8, 0.6, 8):
        film = np.where(outline & (np.abs(y - start - 0.35 * (0.5 - x)) < 0.012), film + 25, film)
    if rng.random() < 0.5:
        film = film[:, ::-1]
    return filmed(rng, Image.fromarray(grey(film)), blur=side / 70, noise=5)


def colour_blobs(rng: np.random.Generator, side: int) -> Picture:
    """Soft blobs of colour, seen grey: what a blurred photograph of anything looks like."""
    y, x = axes(side)
    picture = np.full((side, side), rng.uniform(60, 190))
    for _ in range(rng.integers(5, 16)):
        dx, dy = x - rng.uniform(-1, 1), y - rng.uniform(-1, 1)
        size = rng.uniform(0.08, 0.5)
        picture += rng.normal(0, 70) * np.exp(-(((dx**2 + dy**2) / size**2) ** rng.uniform(0.7, 3)))
    return grey(picture + 6 * fractal(rng, side, power=1.2))


DRAWN: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (
        black, one_colour, white_noise, pink_noise, gradient, checkerboard, text_page, screenshot, ct_slice,
        lateral_chest, colour_blobs,
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
