"""Synthetic radiographs and slices that are no frontal chest film, drawn as grey uint8 squares."""

from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from pneumoscan.card.picture_parts import Picture, axes, ellipse, filmed, grey


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
