"""Synthetic pictures of a landscape, a face and animals, drawn as grey uint8 squares."""

import numpy as np
from PIL import Image, ImageDraw

from pneumoscan.card.picture_parts import Picture, axes, blurred, ellipse, fractal, grey


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
