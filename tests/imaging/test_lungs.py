"""The lungs of a film: parts, box, quality, crop and input, beside slower ways to the same."""

import numpy as np
import numpy.typing as npt
import pytest
from drawn_lungs import TWO, logits_of, mask_of
from PIL import Image

from pneumoscan.bundle.heatmap import to_film
from pneumoscan.imaging import Film, Preprocessing
from pneumoscan.imaging.lungs import SHAPE_FACTS, SIDE, WHOLE_FILM, find_lungs, fit_shapes, shape_distance
from pneumoscan.imaging.preprocessing import lung_crop, normalise, standardise_lungs

Mask = npt.NDArray[np.bool_]


def _flooded(mask: Mask, start: tuple[int, int], steps: tuple[tuple[int, int], ...]) -> Mask:
    """The pixels of a mask that steps reach, one by one."""
    reached, pending = np.zeros_like(mask), [start]
    while pending:
        y, x = pending.pop()
        if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x] and not reached[y, x]:
            reached[y, x] = True
            pending += [(y + dy, x + dx) for dy, dx in steps]
    return reached


_FOUR = ((0, 1), (1, 0), (0, -1), (-1, 0))
_EIGHT = (*_FOUR, (1, 1), (1, -1), (-1, 1), (-1, -1))


def _slowly(mask: Mask) -> Mask:
    """The two largest parts of a mask with its holes filled, pixel by pixel."""
    framed = np.pad(~mask, 1, constant_values=True)
    left = ~_flooded(framed, (0, 0), _FOUR)[1:-1, 1:-1]
    parts = []
    while left.any():
        part = _flooded(left, tuple(np.argwhere(left)[0].tolist()), _EIGHT)
        parts.append(part)
        left = left & ~part
    large = sorted((part for part in parts if part.sum() >= 64), key=lambda part: -part.sum())
    return np.logical_or.reduce(large[:2]) if large else np.zeros_like(mask)


@pytest.mark.parametrize("blur", [3, 9, 21])
def test_mask_is_that_of_a_search_pixel_by_pixel(blur: int) -> None:
    rng = np.random.default_rng(blur)
    for _ in range(4):
        noise = Image.fromarray(rng.normal(size=(SIDE // blur + 2,) * 2).astype(np.float32))
        mask = np.asarray(noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) > 0.2
        assert (find_lungs(logits_of(mask)).mask == _slowly(mask)).all()


def test_corners_connect_a_part_and_a_hole_ends_at_them() -> None:
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[20:40, 20:40] = mask[40:60, 40:60] = True
    assert find_lungs(logits_of(mask)).quality.parts == 1
    ring = np.zeros((SIDE, SIDE), np.bool_)
    ring[30:60, 30:60] = True
    ring[31:59, 31:59] = False
    ring[30, 30] = False
    assert find_lungs(logits_of(ring)).mask.sum() == 30 * 30 - 1


def test_two_lungs_have_sides_a_box_and_their_quality() -> None:
    lungs = find_lungs(logits_of(mask_of()), margin=0.05)
    assert lungs.mask.tolist() == mask_of().tolist()
    assert (np.unique(lungs.parts[:, : SIDE // 2]) == [0, 1]).all()
    assert (np.unique(lungs.parts[:, SIDE // 2 :]) == [0, 2]).all()
    wide = 0.64
    assert lungs.box == pytest.approx(
        (0.17 - 0.05 * wide, 0.2 - 0.03, 0.81 + 0.05 * wide, 0.8 + 0.03), abs=0.01
    )
    quality = lungs.quality
    assert quality.share == pytest.approx(np.pi * (0.13 * 0.3 + 0.11 * 0.28), rel=0.02)
    assert quality.balance == pytest.approx(0.11 * 0.28 / (0.13 * 0.3), rel=0.02)
    assert (quality.parts, quality.cut) == (2, 0)
    assert quality.confidence == pytest.approx(1, abs=0.02)
    shape = dict(zip(SHAPE_FACTS, quality.shape, strict=True))
    assert shape["apart"] == pytest.approx(0.4 / wide, abs=0.01)
    assert shape["aerated"] == 1
    assert shape["middle"] == 0


def test_lungs_that_part_downwards_are_upright() -> None:
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE
    middle = 0.12 + 0.25 * (y - 0.2)
    mask = (np.abs(np.abs(x - 0.5) - middle) < 0.06) & (y > 0.2) & (y < 0.8)
    upright = find_lungs(logits_of(mask)).quality.upright
    assert upright > 0.1
    assert find_lungs(logits_of(mask[::-1])).quality.upright == pytest.approx(-upright, abs=0.01)


def test_right_lung_is_the_smaller_part_too() -> None:
    lungs = find_lungs(logits_of(mask_of(((0.3, 0.5, 0.08, 0.2), (0.7, 0.5, 0.13, 0.3)))))
    assert (lungs.parts[64, 38], lungs.parts[64, 90]) == (1, 2)


@pytest.mark.parametrize(("x", "side"), [(0.3, 1), (0.7, 2)])
def test_one_part_is_the_lung_of_its_half(x: float, side: int) -> None:
    lungs = find_lungs(logits_of(mask_of(((x, 0.5, 0.13, 0.3),))))
    assert np.unique(lungs.parts).tolist() == [0, side]
    assert (lungs.quality.balance, lungs.quality.parts) == (0, 1)


def test_no_field_gives_the_whole_film_and_zeros() -> None:
    speck = np.zeros((SIDE, SIDE), np.bool_)
    speck[3:6, 3:6] = True
    for mask in (mask_of(()), speck):
        lungs = find_lungs(logits_of(mask))
        assert lungs.box == WHOLE_FILM
        assert not lungs.mask.any()
        assert (lungs.quality.share, lungs.quality.parts, lungs.outlines()) == (0, 0, ())


def test_third_part_is_counted_and_left_out() -> None:
    lungs = find_lungs(logits_of(mask_of((*TWO, (0.5, 0.95, 0.08, 0.04)))))
    assert lungs.quality.parts == 3
    assert lungs.mask.tolist() == mask_of().tolist()


def test_lungs_at_the_edge_are_cut_and_the_box_stays_on_the_film() -> None:
    lungs = find_lungs(logits_of(mask_of(((0.05, 0.5, 0.2, 0.3), (0.95, 0.5, 0.2, 0.3)))))
    assert lungs.quality.cut > 0.2
    assert lungs.box[0] == 0
    assert lungs.box[2] == 1


def test_extreme_logits_stay_finite() -> None:
    logits = logits_of(mask_of()) * np.float32(1e6)
    lungs = find_lungs(logits)
    assert np.unique(lungs.aerated).tolist() == [0, 255]
    assert lungs.quality.confidence == pytest.approx(1)


def test_outline_encloses_the_area_of_its_lung() -> None:
    lungs = find_lungs(logits_of(mask_of()))
    for outline, part in zip(lungs.outlines(), (1, 2), strict=True):
        x, y = outline.T
        area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
        assert area == pytest.approx((lungs.parts == part).mean(), rel=0.01)
        assert ((outline >= 0) & (outline <= 1)).all()


def test_outline_goes_on_over_a_corner() -> None:
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[20:40, 20:40] = mask[40:60, 40:60] = True
    (outline,) = find_lungs(logits_of(mask)).outlines()
    assert outline.min(0) == pytest.approx([20 / SIDE, 20 / SIDE])
    assert outline.max(0) == pytest.approx([60 / SIDE, 60 / SIDE])


def _film(pixels: npt.NDArray[np.uint8]) -> Film:
    return Film(pixels=pixels, source="<array>", format="array", mode="uint8")


def test_crop_shows_the_box_of_film_and_aerated_lung() -> None:
    x = np.linspace(0, 255, 640).astype(np.uint8)
    lungs = find_lungs(logits_of(mask_of()))
    crop = lung_crop(_film(np.tile(x, (480, 1))), lungs, 64)
    assert crop.shape == (2, 64, 64)
    ends = crop[0, 32, [0, -1]] / 255
    assert ends == pytest.approx([lungs.box[0], lungs.box[2]], abs=0.02)
    assert crop[1, 32, 10] > 200
    assert crop[1, 32, 32] < 50


def test_crop_of_the_whole_film_is_squashed_as_ever() -> None:
    from pneumoscan.imaging.preprocessing import squash

    rng = np.random.default_rng(0)
    film = _film(rng.integers(0, 256, (300, 410)).astype(np.uint8))
    assert (lung_crop(film, find_lungs(logits_of(mask_of(()))), 96)[0] == squash(film, 96)).all()


def test_grey_scale_is_that_of_the_aerated_lung() -> None:
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (3, 2, 40, 40)).astype(np.uint8)
    crop[:, 1] = 0
    crop[:, 1, 10:30, 5:35] = 255
    found = standardise_lungs(crop)
    assert (found.dtype, found.shape) == (np.float32, crop.shape)
    for one, plain in zip(found, crop, strict=True):
        inside = plain[1] > 127
        grey = plain[0] / 255
        wanted = (grey - grey[inside].mean()) / grey[inside].std()
        assert one[0] == pytest.approx(wanted.clip(-6, 6), abs=1e-4)
        assert (one[1] == np.where(inside, one[0], 0)).all()
    assert (normalise(crop, Preprocessing(size=40, normalisation="per_film", input="lungs")) == found).all()
    alone = Preprocessing(size=40, normalisation="per_film", input="lungs", surroundings=False)
    assert (normalise(crop, alone)[:, 1] == found[:, 1]).all()
    assert not normalise(crop, alone)[:, 0].any()


def test_grey_scale_of_a_flat_lung_and_of_no_lung() -> None:
    crop = np.full((2, 40, 40), 100, np.uint8)
    crop[0, 0, 0] = 255
    assert standardise_lungs(crop).max() == 6
    crop[1] = 0
    crop[1, 20, 20:30] = 255
    found = standardise_lungs(crop)
    grey = crop[0] / 255
    assert found[0] == pytest.approx(((grey - grey.mean()) / (4 / 255)).clip(-6, 6), abs=1e-4)
    assert not found[1].any()


def test_map_of_the_box_returns_to_its_place_on_the_film() -> None:
    values = np.full((4, 4), 2, np.float32)
    film = to_film(values, (0.25, 0.5, 0.75, 1.0), (80, 40))
    assert film.shape == (40, 80)
    assert (film[20:, 20:60] == 2).all()
    assert film.sum() == 2 * 20 * 40
    assert (to_film(values, WHOLE_FILM, (80, 40)) == 2).all()


def test_shape_distance_is_one_on_average_and_large_for_another_outline() -> None:
    rng = np.random.default_rng(0)
    shapes = []
    for _ in range(200):
        a, b, c, d = rng.normal(1, 0.1, 4)
        two = ((0.3, 0.5, 0.13 * a, 0.3 * b), (0.7, 0.48, 0.11 * c, 0.28 * d))
        shapes.append(find_lungs(logits_of(mask_of(two))).quality)
    mean, inverse = fit_shapes(np.array([quality.shape for quality in shapes]))
    own = [shape_distance(quality, mean, inverse) for quality in shapes]
    assert np.mean(own) < 1.2
    above = find_lungs(logits_of(mask_of(((0.5, 0.25, 0.3, 0.1), (0.5, 0.75, 0.3, 0.1))))).quality
    assert shape_distance(above, mean, inverse) > 2 * max(own)
