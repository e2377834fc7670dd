"""The ten changes: exact where they can be, of the right size, without chance, and alike on squashed films."""

import re

import numpy as np
import pytest

from pneumoscan.imaging import Film, read
from pneumoscan.imaging.perturbation import PERTURBATIONS, bend, blur, crop, flip, mask_border, narrow, pad
from pneumoscan.imaging.preprocessing import squash

NAMES = (
    "crop_85", "crop_70", "pad_10", "pad_20", "gamma_0_6", "gamma_1_7", "border_masked", "blurred", "flipped",
    "narrowed",
)  # fmt: skip
BY_NAME = {view.name: view for view in PERTURBATIONS}
every = pytest.mark.parametrize("view", PERTURBATIONS, ids=lambda view: view.name)


def noise(size=(120, 90), seed=0):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def test_the_list_is_the_one_that_tables_name():
    assert tuple(view.name for view in PERTURBATIONS) == NAMES
    assert all(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name) for name in NAMES)
    assert all(view.description and "\n" not in view.description for view in PERTURBATIONS)


@every
@pytest.mark.parametrize("size", [(120, 90), (57, 133), (2, 3), (1, 1)])
def test_films_of_any_size_stay_uint8_and_unharmed(view, size):
    pixels = noise(size)
    before = pixels.copy()
    changed = view.change(pixels)
    assert (changed.dtype, changed.ndim) == (np.uint8, 2)
    assert changed.flags.c_contiguous
    assert min(changed.shape) >= 1
    assert (pixels == before).all()
    assert not np.shares_memory(changed, pixels)
    assert changed.tobytes() == view.change(before).tobytes()


@every
def test_a_film_keeps_where_it_came_from(view):
    film = Film(noise(), "a.png", "PNG", "L")
    changed = view.apply(film)
    assert (changed.source, changed.format, changed.mode) == ("a.png", "PNG", "L")
    assert changed.pixels.tobytes() == view.change(film.pixels).tobytes()
    assert changed.pixels.tobytes() != film.pixels.tobytes()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("crop_85", (170, 85)), ("crop_70", (140, 70)), ("pad_10", (240, 120)), ("pad_20", (280, 140)),
        *((name, (200, 100)) for name in NAMES[4:]),
    ],
)  # fmt: skip
def test_sizes(name, size):
    assert BY_NAME[name].change(noise((200, 100))).shape == size


def test_what_changes_nothing_gives_the_film_back():
    pixels = noise((57, 133))
    assert (crop(pixels, keep=1) == pixels).all()
    assert (pad(pixels, by=0) == pixels).all()
    assert (bend(pixels, gamma=1) == pixels).all()
    assert (mask_border(pixels, share=0) == pixels).all()
    assert (blur(pixels, share=0) == pixels).all()
    assert (narrow(pixels, to=1) == pixels).all()
    assert (flip(flip(pixels)) == pixels).all()


def test_a_crop_is_the_middle_and_undoes_a_pad():
    pixels = noise((200, 100))
    assert (crop(pixels, keep=0.7) == pixels[30:170, 15:85]).all()
    assert (crop(pad(pixels, by=0.2), keep=1 / 1.4) == pixels).all()
    padded = pad(pixels, by=0.1)
    assert padded.sum() == pixels.sum()
    assert (padded[20:-20, 10:-10] == pixels).all()


def test_a_masked_border_is_a_tenth_at_each_edge():
    masked = BY_NAME["border_masked"].change(np.full((200, 100), 9, dtype=np.uint8))
    assert (masked[20:180, 10:90] == 9).all()
    assert (masked == 9).sum() == 160 * 80
    assert masked.max() == 9


def test_gamma_keeps_black_white_and_the_order():
    ramp = np.arange(256, dtype=np.uint8)[None]
    brighter, darker = (BY_NAME[name].change(ramp)[0].astype(int) for name in ("gamma_0_6", "gamma_1_7"))
    for levels in (brighter, darker):
        assert (levels[0], levels[-1]) == (0, 255)
        assert (np.diff(levels) >= 0).all()
    assert (brighter[1:-1] >= ramp[0, 1:-1]).all()
    assert (darker[1:-1] <= ramp[0, 1:-1]).all()
    assert brighter[128] == round(255 * (128 / 255) ** 0.6)
    assert darker[128] == round(255 * (128 / 255) ** 1.7)


@pytest.mark.parametrize("side", [200, 500])
def test_the_blur_is_a_gaussian_of_one_percent_of_the_shorter_side(side):
    # An edge blurred by a Gaussian is its distribution function: its slope has the variance σ².
    edge = np.zeros((side, side + 100), dtype=np.uint8)
    edge[:, side // 2 :] = 255
    slope = np.diff(BY_NAME["blurred"].change(edge)[side // 2].astype(float))
    at = np.arange(slope.size)
    mean = (at * slope).sum() / slope.sum()
    assert ((at - mean) ** 2 * slope).sum() / slope.sum() == pytest.approx((side / 100) ** 2, rel=0.1)
    assert mean == pytest.approx(side // 2 - 1, abs=0.5)


def test_a_narrowed_film_stands_in_the_middle_between_black():
    narrowed = BY_NAME["narrowed"].change(np.full((60, 100), 200, dtype=np.uint8))
    assert (narrowed[:, 10:90] == 200).all()
    assert (narrowed[:, :10] == 0).all()
    assert (narrowed[:, 90:] == 0).all()
    # A mark at a third of the width stays at a third of the narrowed width.
    marked = np.zeros((60, 300), dtype=np.uint8)
    marked[:, 95:105] = 255
    columns = BY_NAME["narrowed"].change(marked).sum(axis=0)
    assert (columns * np.arange(300)).sum() / columns.sum() == pytest.approx(30 + 0.8 * 99.5, abs=0.5)


def test_a_flip_swaps_left_and_right():
    assert flip(np.array([[1, 2, 3]], dtype=np.uint8)).tolist() == [[3, 2, 1]]


@every
def test_changing_a_squashed_film_is_squashing_a_changed_one(view, draw_film):
    film = read(draw_film(np.random.default_rng(3), (640, 640)))
    direct = squash(view.apply(film), 160).astype(int)
    small = Film(view.change(squash(film, 160)), "", "array", "uint8")
    after = squash(small, 160).astype(int)
    assert np.abs(direct - after).mean() < 2.5
    assert np.abs(direct - squash(film, 160)).mean() > np.abs(direct - after).mean()
