"""Augmentation: every change does what it says, is off when it is off, and can be drawn again."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pneumoscan.errors import UsageError
from pneumoscan.train.augment import AugmentationParameters, apply, sample
from pneumoscan.train.config import AugmentationConfig

EVERYTHING: dict[str, Any] = {
    "rotation": 12.0,
    "shift": 0.06,
    "zoom": 0.12,
    "crop": 0.7,
    "crop_aspect": 1.25,
    "flip": 0.5,
    "border": 0.1,
    "marker": 0.5,
    "tone": 0.7,
    "gamma": 0.25,
    "contrast": 0.3,
    "brightness": 0.1,
    "noise": 0.05,
    "blur": 1.2,
    "detail": 0.7,
    "erase": 0.5,
    "erase_area": 0.1,
}
STRENGTHS = sorted(set(EVERYTHING) - {"crop_aspect", "erase_area"})


def draw(n=64, size=200, seed=0, epoch=1, first=0, **config):
    return sample(
        AugmentationConfig(**config), seed=seed, epoch=epoch, film_ids=np.arange(first, first + n), size=size
    )


def parameters(n=1, **changed):
    """Parameters that change nothing, but for those given for all n films."""
    off = draw(n)
    values = {field.name: getattr(off, field.name) for field in fields(off)}
    for name, value in changed.items():
        values[name] = np.broadcast_to(np.asarray(value, values[name].dtype), values[name].shape).copy()
    return AugmentationParameters(**values)


def same(a, b):
    return all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))


@pytest.fixture
def films(draw_film):
    rng = np.random.default_rng(3)
    return (
        torch.from_numpy(
            np.stack([draw_film(rng=rng, size=(96, 96), consolidation=bool(i % 2)) for i in range(8)])[
                :, None
            ]
        )
        .float()
        .div(255)
    )


# What is drawn


def test_the_same_draw_gives_the_same_parameters_and_another_seed_epoch_or_film_others():
    first = draw(**EVERYTHING)
    assert same(first, draw(**EVERYTHING))
    for other in (draw(seed=1, **EVERYTHING), draw(epoch=2, **EVERYTHING), draw(first=64, **EVERYTHING)):
        assert not np.isclose(first.affine, other.affine).all(axis=(1, 2)).any()
        assert not (first.noise_seed == other.noise_seed).any()


def test_a_films_draw_does_not_depend_on_its_batch_or_place_in_it():
    config = AugmentationConfig(**EVERYTHING)
    ids = np.array([5, 2**40, 0, 17, 3], dtype=np.int64)
    whole = sample(config, seed=4, epoch=9, film_ids=ids, size=200)
    for i, film_id in enumerate(ids):
        alone = sample(config, seed=4, epoch=9, film_ids=np.array([film_id]), size=200)
        assert same(whole.row(i), alone)
    assert same(
        sample(config, seed=4, epoch=9, film_ids=ids[::-1].copy(), size=200), whole.take([4, 3, 2, 1, 0])
    )


def test_draws_are_pinned_so_that_a_run_can_go_on_under_a_later_release():
    drawn = draw(2, **EVERYTHING)
    # SplitMix64's first output for state 0 is published: 0xE220A8397B1DCDAF (Vigna's splitmix64.c).
    from pneumoscan.train.augment.parameters import _mix

    assert int(_mix(np.zeros(1, np.uint64))[0]) == 0xE220A8397B1DCDAF
    np.testing.assert_allclose(drawn.gamma, PINNED_GAMMA, rtol=1e-6)
    assert drawn.noise_seed.tolist() == PINNED_NOISE_SEED


PINNED_GAMMA = [1.0387927293777466, 0.9990530014038086]
PINNED_NOISE_SEED = [2893673465840508380, 6575722666132794816]


def test_one_strength_does_not_change_the_numbers_of_another():
    assert np.array_equal(draw(rotation=10, gamma=0.2).gamma, draw(gamma=0.2, noise=0.1, erase=1).gamma)


def test_seeds_and_ids_of_any_sign_and_size_are_taken_without_a_warning():
    draw(3, seed=2**70, epoch=10**9, first=-5, **EVERYTHING)
    draw(3, seed=-1, **EVERYTHING)
    assert len(draw(0, **EVERYTHING)) == 0


@pytest.mark.parametrize(
    ("name", "strength", "low", "high"),
    [
        ("gamma", 0.25, np.exp(-0.25), np.exp(0.25)),
        ("detail", 0.7, np.exp(-0.7), np.exp(0.7)),
        ("contrast", 0.3, 0.7, 1.3),
        ("brightness", 0.1, -0.1, 0.1),
        ("noise", 0.05, 0, 0.05),
        ("blur", 1.5, 0, 1.5),
    ],
)
def test_grey_draws_fill_their_range_evenly(name, strength, low, high):
    drawn = getattr(draw(20_000, **{name: strength}), name).astype(float)
    if name in ("gamma", "detail"):
        drawn, low, high = np.log(drawn), np.log(low), np.log(high)
    assert low - 1e-6 <= drawn.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < drawn.max() <= high + 1e-6
    counts = np.histogram(drawn, bins=20, range=(low, high))[0]
    # 20 bins of 1000 expected: a standard deviation is 31.
    assert np.abs(counts - 1000).max() < 5 * 31


def test_rotation_shift_and_zoom_fill_their_ranges():
    n = 20_000
    turned = draw(n, rotation=15).affine
    degrees = np.rad2deg(np.arctan2(turned[:, 1, 0], turned[:, 0, 0]))
    assert -15.001 <= degrees.min() < -14.8
    assert 14.8 < degrees.max() <= 15.001
    assert abs(degrees.mean()) < 0.3
    shifted = draw(n, shift=0.1).affine[:, :, 2]
    assert -0.2001 <= shifted.min() < -0.198
    assert 0.198 < shifted.max() <= 0.2001
    assert abs(np.corrcoef(shifted.T)[0, 1]) < 0.04
    zoomed = 1 / draw(n, zoom=0.2).affine[:, 0, 0]
    assert 0.7999 <= zoomed.min() < 0.802
    assert 1.198 < zoomed.max() <= 1.2001


def test_crops_keep_the_stated_area_and_stay_inside_the_film():
    affine = draw(20_000, crop=0.4, crop_aspect=1.5).affine.astype(float)
    width, height = affine[:, 0, 0], affine[:, 1, 1]
    area, aspect = width * height, width / height
    assert 0.399 <= area.min() < 0.405
    assert 0.995 < area.max() <= 1.0001
    assert np.abs(np.histogram(area, bins=10, range=(0.4, 1))[0] - 2000).max() < 5 * 45
    assert 1 / 1.501 < aspect.min() < 0.68
    assert 1.48 < aspect.max() < 1.501
    for side, centre in ((width, affine[:, 0, 2]), (height, affine[:, 1, 2])):
        assert side.max() <= 1.0001
        assert (np.abs(centre) + side).max() <= 1.0001


def test_flip_and_erase_happen_as_often_as_they_should():
    drawn = draw(20_000, flip=0.3, erase=0.2, erase_area=0.2)
    assert abs((drawn.affine[:, 0, 0] < 0).mean() - 0.3) < 0.015
    boxes = drawn.erase[drawn.erase[:, 2] > 0]
    assert abs(len(boxes) / 20_000 - 0.2) < 0.015
    share = boxes[:, 2] * boxes[:, 3] / 200**2
    assert 0.048 < share.min() < 0.055
    assert 0.195 < share.max() < 0.204
    assert boxes[:, :2].min() == 0
    assert (boxes[:, :2] + boxes[:, 2:]).max() == 200
    assert ((boxes[:, :2] + boxes[:, 2:]) <= 200).all()


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probabilities_zero_and_one_are_never_and_always(probability):
    drawn = draw(5000, flip=probability, erase=probability)
    assert (drawn.affine[:, 0, 0] < 0).mean() == probability
    assert (drawn.erase[:, 2] > 0).mean() == probability


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rotation", -1),
        ("rotation", 181),
        ("shift", 0.6),
        ("zoom", 1),
        ("crop", 0),
        ("crop", 1.1),
        ("crop_aspect", 0.5),
        ("flip", 1.5),
        ("gamma", float("nan")),
        ("contrast", 1),
        ("brightness", -0.1),
        ("noise", float("inf")),
        ("blur", 6),
        ("detail", 2.1),
        ("erase", -0.5),
        ("erase_area", 0),
        ("rotate", 10),
    ],
)
def test_illegal_settings_are_refused_by_name(name, value):
    with pytest.raises(ValidationError, match=name):
        AugmentationConfig(**{name: value})


def test_default_is_off_and_every_strength_turns_it_on():
    assert AugmentationConfig().is_off
    assert AugmentationConfig(crop_aspect=1.5, erase_area=0.3).is_off
    for name in STRENGTHS:
        assert not AugmentationConfig(**{name: EVERYTHING[name]}).is_off


# What is done


def test_off_gives_back_the_same_bytes(films):
    assert apply(films, draw(8, size=96)) is films


@pytest.mark.parametrize("name", STRENGTHS)
def test_every_strength_changes_films_and_not_the_input(films, name):
    before = films.clone()
    surely = {"flip", "erase", "marker"}
    after = apply(films, draw(8, size=96, **{name: 1.0 if name in surely else EVERYTHING[name]}))
    changed = (after - films).abs().amax(dim=(1, 2, 3)) > 1e-4
    assert torch.equal(films, before)
    # One film in sixteen keeps all four edges.
    assert changed.sum() >= 5 if name == "border" else changed.all()
    assert after.shape == films.shape
    assert after.dtype == torch.float32


def test_replaying_one_film_equals_its_row_of_the_batch(films):
    drawn = draw(8, size=96, **EVERYTHING)
    batch = apply(films, drawn)
    for i in range(8):
        torch.testing.assert_close(apply(films[i : i + 1], drawn.row(i)), batch[i : i + 1], rtol=0, atol=1e-6)
    torch.testing.assert_close(apply(films[2:5], drawn.take(slice(2, 5))), batch[2:5], rtol=0, atol=1e-6)


def test_films_that_are_not_chosen_keep_their_bytes(films):
    drawn = draw(8, size=96, flip=0.5, erase=0.5)
    quiet = (drawn.affine[:, 0, 0] > 0) & (drawn.erase[:, 2] == 0)
    assert 0 < quiet.sum() < 8
    assert torch.equal(apply(films, drawn)[torch.from_numpy(quiet)], films[torch.from_numpy(quiet)])


def test_the_same_input_gives_the_same_bytes(films):
    drawn = draw(8, size=96, **EVERYTHING)
    assert torch.equal(apply(films, drawn), apply(films, drawn))


@pytest.mark.parametrize("fill", [0.0, 1.0, "random"])
def test_the_result_stays_finite_and_in_range_at_full_strength(fill):
    images = torch.rand(16, 1, 48, 48) if fill == "random" else torch.full((16, 1, 48, 48), float(fill))
    strongest = AugmentationConfig(
        rotation=180, shift=0.5, zoom=0.5, crop=0.05, crop_aspect=2, flip=0.5, gamma=1, contrast=0.9,
        brightness=0.5, noise=0.25, blur=5, detail=2, erase=0.7, erase_area=0.5,
    )  # fmt: skip
    for epoch in range(20):
        drawn = sample(strongest, seed=0, epoch=epoch, film_ids=np.arange(16), size=48)
        after = apply(images, drawn)
        assert torch.isfinite(after).all()
        assert after.min() >= 0
        assert after.max() <= 1


def test_flip_mirrors_exactly_and_twice_is_the_film_again(films):
    flip = draw(8, size=96, flip=1.0)
    once = apply(films, flip)
    assert torch.equal(once, films.flip(3))
    assert torch.equal(apply(once, flip), films)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_those_of_rot90_counter_clockwise(films, quarters):
    angle = np.deg2rad(90 * quarters)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]]
    after = apply(films, parameters(8, affine=turn))
    torch.testing.assert_close(after, torch.rot90(films, quarters, (2, 3)), rtol=0, atol=1e-4)


def test_a_small_drawn_rotation_turns_counter_clockwise_above_zero():
    drawn = draw(200, size=96, rotation=30)
    i = int(np.argmax(drawn.affine[:, 1, 0]))
    dot = torch.zeros(1, 1, 96, 96)
    dot[0, 0, 46:50, 80:84] = 1
    row, _column = torch.nonzero(apply(dot, drawn.row(i))[0, 0] > 0.5).float().mean(dim=0)
    assert row < 40  # What was at three o'clock is nearer to twelve.


def test_shift_moves_whole_pixels_right_and_down_and_brings_in_black(films):
    moved = apply(films, parameters(8, affine=[[1, 0, -2 * 12 / 96], [0, 1, -2 * 6 / 96]]))
    torch.testing.assert_close(moved[:, :, 6:, 12:], films[:, :, :-6, :-12], rtol=0, atol=1e-4)
    assert moved[:, :, :6].max() < 1e-4
    assert moved[:, :, :, :12].max() < 1e-4


def test_zoom_of_two_shows_the_middle_half():
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64).contiguous()
    after = apply(ramp, parameters(affine=[[0.5, 0, 0], [0, 0.5, 0]]))
    inner = (np.arange(64) - 31.5) / 2 + 31.5
    np.testing.assert_allclose(after[0, 0, 20].numpy(), inner / 63, atol=1e-5)


def test_a_drawn_crop_shows_that_part_of_the_film():
    x = torch.linspace(-1 + 1 / 96, 1 - 1 / 96, 96)
    plane = torch.stack([x.expand(96, 96), x[:, None].expand(96, 96)])[:, None] / 2 + 0.5
    drawn = draw(1, size=96, crop=0.5, crop_aspect=1.3, first=3)
    affine = drawn.affine[0]
    across, down = (apply(plane[i : i + 1], drawn)[0, 0] * 2 - 1 for i in (0, 1))
    np.testing.assert_allclose(across[40].numpy(), affine[0, 0] * x.numpy() + affine[0, 2], atol=1e-5)
    np.testing.assert_allclose(down[:, 40].numpy(), affine[1, 1] * x.numpy() + affine[1, 2], atol=1e-5)


def test_flip_comes_after_the_crop_and_the_rotation(films):
    both = {"rotation": 10.0, "shift": 0.05, "crop": 0.6}
    plain, flipped = draw(8, size=96, **both), draw(8, size=96, flip=1.0, **both)
    torch.testing.assert_close(apply(films, flipped), apply(films, plain).flip(3), rtol=0, atol=1e-4)


def test_gamma_keeps_black_and_white_and_bends_between():
    levels = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 1, 2, 2)
    after = apply(levels, parameters(gamma=2.0)).flatten()
    assert after.tolist() == [0.0, 0.0625, 0.25, 1.0]


def test_contrast_keeps_the_mean_and_brightness_adds():
    levels = torch.tensor([0.4, 0.5, 0.5, 0.6]).view(1, 1, 2, 2)
    torch.testing.assert_close(
        apply(levels, parameters(contrast=1.5)).flatten(), torch.tensor([0.35, 0.5, 0.5, 0.65])
    )
    torch.testing.assert_close(
        apply(levels, parameters(brightness=-0.1)).flatten(), torch.tensor([0.3, 0.4, 0.4, 0.5])
    )


def test_noise_has_the_stated_spread_and_another_for_each_film():
    grey = torch.full((2, 1, 200, 200), 0.5)
    drawn = parameters(2, noise=0.04)
    noise = apply(grey, drawn) - 0.5
    assert torch.allclose(noise.std(dim=(1, 2, 3)), torch.tensor(0.04), atol=0.001)
    assert noise.mean().abs() < 0.001
    assert abs(np.corrcoef(noise.flatten(1).numpy())[0, 1]) < 0.02


def test_noise_leaves_the_global_generator_alone(films):
    state = torch.get_rng_state()
    apply(films, draw(8, size=96, noise=0.1))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("sigma", [0.8, 1.5, 3.0])
def test_blur_spreads_a_dot_by_its_sigma_and_keeps_its_light(sigma):
    dot = torch.zeros(1, 1, 65, 65)
    dot[0, 0, 32, 32] = 1
    after = apply(dot, parameters(blur=sigma))[0, 0].double()
    offsets = torch.arange(65) - 32.0
    assert after.sum().item() == pytest.approx(1, abs=1e-5)
    for axis in (0, 1):
        assert (after.sum(dim=axis) * offsets**2).sum().sqrt().item() == pytest.approx(sigma, rel=0.03)


def test_blur_keeps_an_even_film_even_to_its_edge_and_films_apart():
    grey = torch.full((2, 1, 40, 40), 0.3)
    grey[1] = 0.8
    drawn = parameters(2, blur=0.0)
    drawn.blur[:] = [0.4, 5.0]
    torch.testing.assert_close(apply(grey, drawn), grey, rtol=0, atol=1e-6)


@pytest.mark.parametrize("reach", [1, 3])
def test_detail_multiplies_what_differs_from_the_local_mean(reach):
    dot = torch.full((2, 1, 41, 41), 0.4)
    dot[1, 0, 20, 20] = 0.5
    drawn = parameters(2, detail=2.0, detail_reach=reach)
    after = apply(dot, drawn)
    torch.testing.assert_close(after[0], dot[0], rtol=0, atol=1e-6)
    # A box of side k, smoothed twice, keeps 1/k² of a dot at its centre, and reaches 2 · reach pixels.
    assert after[1, 0, 20, 20].item() == pytest.approx(0.4 + 0.1 * (2 - 1 / (2 * reach + 1) ** 2), abs=1e-5)
    assert after[1, 0, 20, 20 + 2 * reach].item() < 0.4
    assert after[1, 0, 20, 21 + 2 * reach].item() == pytest.approx(0.4, abs=1e-6)
    assert after.sum().item() == pytest.approx(dot.sum().item(), rel=1e-5)


def test_erasing_paints_its_box_with_the_films_mean_and_nothing_else(films):
    drawn = draw(8, size=96, erase=1.0, erase_area=0.2)
    after = apply(films, drawn)
    for film, new, (top, left, height, width) in zip(films, after, drawn.erase.tolist(), strict=True):
        box = torch.zeros(96, 96, dtype=torch.bool)
        box[top : top + height, left : left + width] = True
        assert new[0][box].unique().item() == pytest.approx(film.mean().item(), abs=1e-6)
        assert torch.equal(new[0][~box], film[0][~box])


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 96, 96),
        torch.zeros(2, 1, 96, 90),
        torch.zeros(2, 1, 96, 96, dtype=torch.float64),
        torch.zeros(2, 1, 96, 96, dtype=torch.uint8),
        torch.zeros(3, 1, 96, 96),
    ],
    ids=["no channel", "not square", "float64", "uint8", "three films for two rows"],
)
def test_anything_but_such_a_batch_is_refused(images):
    with pytest.raises(UsageError):
        apply(images, draw(2, size=96, **EVERYTHING))


# Borders, markers and tone


def test_borders_cover_each_edge_one_time_in_two_and_no_deeper_than_asked():
    drawn = draw(20_000, border=0.1).border
    assert drawn.max() == 20
    assert drawn.min() == 0
    np.testing.assert_allclose((drawn > 0).mean(0), 0.5 * (1 - 0.5 / 20), atol=0.02)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.04


def test_a_border_is_black_and_the_rest_as_it_was(films):
    covered = apply(films, parameters(8, border=(3, 5, 7, 11)))
    expected = films.clone()
    expected[:, :, :3], expected[:, :, 96 - 7 :] = 0, 0
    expected[:, :, :, :11], expected[:, :, :, 96 - 5 :] = 0, 0
    assert torch.equal(covered, expected)


def test_markers_lie_inside_the_film_and_most_of_them_at_an_edge():
    drawn = draw(20_000, marker=0.5).marker.reshape(-1, 6)
    drawn = drawn[drawn[:, 2] > 0]
    assert len(drawn) == pytest.approx(20_000, rel=0.05)
    top, left, height, width, shape, grey = drawn.T
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 200
    assert {height.min(), width.min()} == {6}
    assert {height.max(), width.max()} == {24}
    np.testing.assert_allclose(np.bincount(shape) / len(shape), 1 / 3, atol=0.02)
    assert (grey.min(), grey.max()) == (128, 255)
    at_edge = (left < 30) | (left + width > 170) | (top < 30) | (top + height > 170)
    assert 0.75 < at_edge.mean() < 0.95


def test_a_marker_is_the_letter_it_is_said_to_be(films):
    marker = np.zeros((8, 2, 6), np.int64)
    marker[:, 0] = (10, 20, 7, 5, 1, 255)
    marker[:, 1] = (50, 60, 14, 10, 2, 204)
    marked = apply(films, parameters(8, marker=marker))
    letter = ["".join("#" if value == 1 else "." for value in row) for row in marked[0, 0, 10:17, 20:25]]
    assert letter[0] == "####."
    assert letter[6] == "#...#"
    assert torch.allclose(marked[:, 0, 50:64, 60:62], torch.tensor(0.8))
    assert torch.equal(marked[:, 0, 50:62, 64:70], films[:, 0, 50:62, 64:70])
    assert torch.equal(marked[:, 0, :10], films[:, 0, :10])


def test_tone_is_a_rising_broken_line_through_both_ends(films):
    drawn = draw(5_000, tone=1.0).tone
    assert (drawn[:, 0] == 0).all()
    np.testing.assert_allclose(drawn[:, -1], 1, atol=1e-6)
    steps = np.diff(drawn, axis=1)
    assert steps.min() > 0
    ratio = steps.max(1) / steps.min(1)
    assert 6.5 < ratio.max() < np.exp(2) * 1.001
    knots = np.cumsum([0, 4, 2, 2, 1, 1, 2, 2, 2]) / 16
    bent = apply(films, parameters(8, tone=knots)).numpy()
    np.testing.assert_allclose(bent, np.interp(films.numpy(), np.linspace(0, 1, 9), knots), atol=1e-5)


def test_augmentation_keeps_its_precision_where_the_network_computes_in_bfloat16(films):
    drawn = draw(8, size=96, **EVERYTHING)
    plain = apply(films, drawn)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(apply(films, drawn), plain)
