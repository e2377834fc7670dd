"""Pictures that are no upright frontal chest film: synthetic ones, and films that were turned or inverted.

Everything is drawn from a seeded generator, as a grey uint8 square. No guard is fitted to these drawings. Of the kinds, it has
met random fields (so noise and gradients are no news to it), turned and inverted films, and films small in the dark.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from pneumoscan.card.picture_parts import Picture, axes, blurred, ellipse, filmed, fractal, grey, stretched

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


def hand(rng: np.random.Generator, side: int) -> Picture:
    """A hand: five fingers of bones in soft tissue on a dark ground, the wrist below."""
    tissue, bones = (Image.new("L", (side, side), 0) for _ in range(2))
    soft, hard = ImageDraw.Draw(tissue), ImageDraw.Draw(bones)
    middle, tilt = rng.uniform(0.44, 0.56), rng.uniform(-0.15, 0.15)
    ellipse(soft, side, middle, 0.66, 0.19, 0.19, 90)
    soft.rectangle(((middle - 0.12) * side, 0.7 * side, (middle + 0.12) * side, side), fill=90)
    for spread, length in ((-0.62, 0.36), (-0.28, 0.50), (-0.05, 0.55), (0.16, 0.51), (0.38, 0.42)):
        angle = spread + tilt
        joints = [
            (middle + np.sin(angle) * r * 1.1, 0.72 - np.cos(angle) * r)
            for r in np.array([0.1, 0.45, 0.72, 0.9, 1.0]) * length * 1.2
        ]
        points = [(x * side, y * side) for x, y in joints]
        soft.line(points, fill=90, width=int(side * 0.085), joint="curve")
        for (x0, y0), (x1, y1) in pairwise(points):
            hard.line(
                (x0, y0, x0 + 0.86 * (x1 - x0), y0 + 0.86 * (y1 - y0)), fill=130, width=int(side * 0.035)
            )
    for shift in (-0.06, 0.05):
        hard.rectangle(
            ((middle + shift - 0.025) * side, 0.84 * side, (middle + shift + 0.03) * side, side), fill=130
        )
    both = np.asarray(tissue, np.float64) + np.asarray(bones)
    return filmed(rng, Image.fromarray(grey(both)), blur=side / 150, noise=5)


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


def skull(rng: np.random.Generator, side: int) -> Picture:
    """A skull from the front: bright vault, dark orbits and nose, teeth."""
    image = Image.new("L", (side, side), 5)
    pen = ImageDraw.Draw(image)
    ellipse(pen, side, 0.5, 0.44, rng.uniform(0.33, 0.39), 0.40, 215)
    ellipse(pen, side, 0.5, 0.43, 0.31, 0.36, 150)
    ellipse(pen, side, 0.5, 0.76, 0.22, 0.18, 180)
    for x in (0.36, 0.64):
        ellipse(pen, side, x, 0.53, 0.085, 0.07, 70)
    ellipse(pen, side, 0.5, 0.64, 0.045, 0.08, 60)
    for x in np.arange(0.38, 0.63, 0.035):
        pen.rectangle((x * side, 0.76 * side, (x + 0.026) * side, 0.84 * side), fill=245)
    return filmed(rng, image, blur=side / 80, noise=6)


def landscape(rng: np.random.Generator, side: int) -> Picture:
    """Sky, hills against it, a textured ground, a few trees."""
    x = np.linspace(0, 1, side)
    y = np.linspace(0, 1, side)[:, None]
    texture = fractal(rng, side, power=1.6)
    horizon = 0.45 + 0.25 * np.interp(x, np.linspace(0, 1, 9), rng.normal(0, 0.5, 9))
    picture = np.where(
        y < horizon, rng.uniform(170, 230) - 50 * y + 8 * texture, rng.uniform(60, 120) + 30 * texture
    )
    for _ in range(rng.integers(2, 7)):
        place, width, top = rng.uniform(0, 1), rng.uniform(0.05, 0.14), rng.uniform(0.2, 0.6)
        crown = ((x - place) / width) ** 2 + ((y - top) / (1.5 * width)) ** 2 < 1 + 0.4 * texture
        trunk = (np.abs(x - place) < 0.012) & (y > top) & (y < 0.85)
        picture = np.where(crown | trunk, rng.uniform(15, 70) + 12 * texture, picture)
    return grey(picture)


def colour_blobs(rng: np.random.Generator, side: int) -> Picture:
    """Soft blobs of colour, seen grey: what a blurred photograph of anything looks like."""
    y, x = axes(side)
    picture = np.full((side, side), rng.uniform(60, 190))
    for _ in range(rng.integers(5, 16)):
        dx, dy = x - rng.uniform(-1, 1), y - rng.uniform(-1, 1)
        size = rng.uniform(0.08, 0.5)
        picture += rng.normal(0, 70) * np.exp(-(((dx**2 + dy**2) / size**2) ** rng.uniform(0.7, 3)))
    return grey(picture + 6 * fractal(rng, side, power=1.2))


def face(rng: np.random.Generator, side: int) -> Picture:
    """A portrait: hair, an oval face lit from one side, eyes, nose and mouth, shoulders."""
    image = Image.new("L", (side, side), int(rng.integers(30, 240)))
    pen, skin, hair = ImageDraw.Draw(image), int(rng.integers(130, 220)), int(rng.integers(10, 130))
    x, y, r = rng.uniform(0.42, 0.58), rng.uniform(0.4, 0.5), rng.uniform(0.2, 0.29)
    ellipse(pen, side, x, 1.1, 0.45, 0.3, int(rng.integers(20, 235)))
    ellipse(pen, side, x, y - 0.06, r * 1.15, r * 1.3, hair)
    ellipse(pen, side, x, y + 0.03, r * 0.9, r * 1.2, skin)
    for sign in (-1, 1):
        ellipse(pen, side, x + sign * r * 0.4, y - 0.03, r * 0.17, r * 0.08, 245)
        ellipse(pen, side, x + sign * r * 0.4, y - 0.03, r * 0.07, r * 0.07, 20)
        ellipse(pen, side, x + sign * r * 0.4, y - 0.03 - r * 0.24, r * 0.2, r * 0.04, hair)
    ellipse(pen, side, x, y + r * 0.3, r * 0.08, r * 0.2, skin - 30)
    ellipse(pen, side, x, y + r * 0.75, r * 0.3, r * 0.07, skin - 80)
    light = np.linspace(rng.uniform(0.6, 1), rng.uniform(0.6, 1), side)
    return grey(
        np.asarray(blurred(image, side / 100), np.float64) * light + 4 * fractal(rng, side, power=1.0)
    )


def cat(rng: np.random.Generator, side: int) -> Picture:
    """An animal's head with ears and eyes, covered with striped fur, on a blurred ground."""
    y, x = axes(side)
    ground = rng.uniform(40, 200) + 40 * fractal(rng, side, power=2.2)
    cx, cy, r = rng.uniform(-0.25, 0.25), rng.uniform(-0.15, 0.25), rng.uniform(0.4, 0.62)
    head = ((x - cx) / r) ** 2 + ((y - cy) / (0.85 * r)) ** 2 < 1
    for sign in (-1, 1):
        ear = np.abs(x - cx - sign * 0.6 * r) * 1.8 + (cy - 0.5 * r - y) < 0.5 * r
        head |= ear & (y < cy) & (y > cy - 1.2 * r)
    hairs = np.asarray(blurred(Image.fromarray(grey(rng.normal(128, 80, (side, side)))), 1), np.float64) - 128
    stripes = 25 * np.sin(
        rng.uniform(14, 26) * (np.abs(x - cx) + 0.4 * y) + 2 * fractal(rng, side, power=1.5)
    )
    picture = np.where(head, rng.uniform(80, 180) + stripes + hairs, ground)
    for sign in (-1, 1):
        eye = ((x - cx - sign * 0.38 * r) / (0.15 * r)) ** 2 + ((y - cy + 0.1 * r) / (0.11 * r)) ** 2
        picture = np.where(eye < 1, 215, picture)
        picture = np.where((eye < 1) & (np.abs(x - cx - sign * 0.38 * r) < 0.04 * r), 10, picture)
    nose = np.abs(x - cx) + np.abs(y - cy - 0.3 * r) < 0.1 * r
    return grey(np.where(nose, 40, picture))


def fur(rng: np.random.Generator, side: int) -> Picture:
    """A close texture of hairs that run one way, with patches."""
    angle = rng.uniform(0, np.pi)
    noise = Image.fromarray(grey(rng.normal(128, 90, (2 * side, 2 * side))))
    smeared = noise.resize((2 * side, side // 4), Image.Resampling.BOX).resize(
        (2 * side, 2 * side), Image.Resampling.BICUBIC
    )
    turned = smeared.rotate(float(np.degrees(angle))).crop(
        (side // 2, side // 2, side // 2 + side, side // 2 + side)
    )
    patches = 30 * fractal(rng, side, power=2)
    return grey(128 + 2.2 * (np.asarray(turned, np.float64) - 128) + patches)


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
