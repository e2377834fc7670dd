"""The synthetic pictures that are no chest films, and what is measured with them."""

from types import SimpleNamespace

import numpy as np
import pytest

from pneumoscan.card import measuring
from pneumoscan.phantom import foreign_pictures as not_chest


@pytest.mark.parametrize("side", [64, 201])
def test_every_kind_is_drawn_and_drawn_again(side):
    for kind in not_chest.DRAWN:
        picture = not_chest.drawn(kind, 3, side)
        assert (picture.dtype, picture.shape) == (np.uint8, (side, side)), kind
        np.testing.assert_array_equal(picture, not_chest.drawn(kind, 3, side))
        if kind not in {"black", "one_colour"}:
            assert picture.std() > 5, kind
            assert (picture != not_chest.drawn(kind, 4, side)).any(), kind


def test_turned_films(draw_film):
    film = draw_film(size=(60, 90))
    found = {name: change(film) for name, change in not_chest.TURNED.items()}
    assert found["rotated_90"].shape == found["rotated_270"].shape == (90, 60)
    np.testing.assert_array_equal(found["upside_down"][::-1], film)
    np.testing.assert_array_equal(found["inverted"] + film, np.full_like(film, 255))
    corner = found["in_a_corner"]
    assert corner.shape == film.shape
    assert corner[3:23, 4:34].mean() == pytest.approx(film.mean(), rel=0.1)
    assert not corner[23:].any()


def test_shares_of_a_bundle(monkeypatch):
    cuts = {"unusual": 50.0, "not_a_chest_film": 150.0}
    bundle = SimpleNamespace(spec=SimpleNamespace(guard=cuts))
    monkeypatch.setattr(measuring, "distance_of", lambda _bundle, film: float(film.pixels.mean()))
    films = [measuring.film_of(np.full((40, 40), level, np.uint8)) for level in (0, 50, 100, 200)]
    assert measuring.shares(bundle, films) == {"unusual": 0.75, "not_a_chest_film": 0.25}
    turned = measuring.in_pixels(not_chest.TURNED["inverted"])
    assert turned(films[0]).pixels.min() == 255
