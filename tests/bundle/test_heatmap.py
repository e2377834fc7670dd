"""Heatmaps: where colour goes, that it means the same on every film, and which files are written."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumoscan.bundle.heatmap import FULL_SCALE, Evidence, evidence_of, map_of_film, overlay, shown_size
from pneumoscan.bundle.load import load_bundle
from pneumoscan.classifier import PneumoniaClassifier, predict_one
from pneumoscan.errors import NotWritableError, UsageError
from pneumoscan.imaging import read
from pneumoscan.predict.pictures import PictureFolder, is_drawn
from pneumoscan.predict.sheet import draw, heatmaps_of, printable
from pneumoscan.rows import PredictionRow


def a_film(width=140, height=120, grey=90):
    """A grey film with one pixel that is not, for a film of one colour is none."""
    pixels = np.full((height, width), grey, np.uint8)
    pixels[0, 0] = 200
    return read(pixels, name="film.png")


def a_row(**changes):
    values = {
        "path": "ward/film.png", "status": "ok", "probability": 0.75, "label": "PNEUMONIA", "threshold": 0.5,
        "warnings": (), "error_code": "", "error": "", "model": "tiny@0123456789ab",
    }  # fmt: skip
    return PredictionRow(**(values | changes))


def a_map(value=0.0, at=None, peak=FULL_SCALE):
    values = np.full((8, 8), value, np.float32)
    if at is not None:
        values[at] = peak
    return Evidence(values)


def difference(film, evidence):
    """How far the overlay is from the film: int (height, width), the farthest of the three channels."""
    size = shown_size(film)
    plain = np.asarray(Image.fromarray(film.pixels).resize(size).convert("RGB")).astype(int)
    return np.abs(np.asarray(overlay(film, evidence)).astype(int) - plain).max(2)


def lightness(rgb):
    return np.asarray(rgb, float) @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("against", [0.0, -3.0, -40.0])
def test_without_evidence_the_film_stays_grey(draw_film, against):
    film = read(draw_film(size=(600, 700)))
    drawn = np.asarray(overlay(film, a_map(against)))
    assert (drawn == film.pixels[:, :, None]).all()


def test_colour_goes_where_the_map_says():
    film = a_film(1000, 600)
    found = difference(film, a_map(at=(1, 6)))
    y, x = np.unravel_index(np.argmax(found), found.shape)
    assert (y / 600, x / 1000) == pytest.approx((1.5 / 8, 6.5 / 8), abs=0.03)
    assert found[400:, :500].max() == 0
    assert (found > 5).mean() < 0.1


def test_rows_and_columns_of_the_map_go_down_and_across():
    values = np.zeros((4, 8), np.float32)
    values[3, 0] = FULL_SCALE
    found = difference(a_film(800, 800), Evidence(values))
    assert found[750, 20] > 40
    assert max(found[:400].max(), found[:, 400:].max()) <= 1


def test_the_same_value_has_the_same_colour_on_every_film():
    film = a_film(600, 600)
    weak_alone = np.asarray(overlay(film, a_map(at=(6, 1), peak=2.0)))
    beside = a_map(at=(6, 1), peak=2.0).values
    beside[1, 6] = FULL_SCALE
    assert (np.asarray(overlay(film, Evidence(beside)))[300:] == weak_alone[300:]).all()
    assert difference(film, a_map(at=(6, 1), peak=2.0)).max() < 0.4 * difference(film, a_map(at=(6, 1))).max()


def test_more_evidence_is_lighter_and_less_grey():
    film = a_film(600, 600, grey=110)
    shades = [np.asarray(overlay(film, a_map(part * FULL_SCALE / 8)))[300, 300] for part in range(9)]
    spread = [int(shade.max()) - int(shade.min()) for shade in shades]
    assert spread[:6] == sorted(spread[:6])
    assert spread[0] == 0
    assert min(spread[5:]) > 40
    assert lightness(shades[-1]) > lightness(shades[4]) + 20
    above = np.asarray(overlay(film, a_map(10 * FULL_SCALE)))[300, 300]
    assert (above == shades[-1]).all()


def test_the_colours_themselves_grow_lighter_all_the_way():
    from pneumoscan.bundle.heatmap import _tables

    colours, opacity = _tables()
    assert (np.diff(lightness(np.reshape(colours, (256, 3))[::5])) > 1).all()
    assert opacity[0] == 0
    assert opacity == sorted(opacity)
    assert opacity[-1] < 0.75 * 255


def test_the_film_shows_through_the_strongest_colour():
    pixels = np.tile(np.repeat(np.array([60, 160], np.uint8), 20), (600, 15))
    drawn = lightness(np.asarray(overlay(read(pixels), a_map(FULL_SCALE))))
    assert drawn[:, 30].mean() - drawn[:, 10].mean() > 40


def test_smoothing_makes_no_evidence_of_its_own():
    film = a_film(600, 600)
    step = np.full((8, 8), -30.0, np.float32)
    step[:, 4:] = 3.0
    most = np.asarray(overlay(film, a_map(3.0)))[300, 300]
    drawn = np.asarray(overlay(film, Evidence(step)))[300]
    distance = np.abs(drawn.astype(int) - film.pixels[300, 1].astype(int)).max(1)
    assert distance.max() <= np.abs(most.astype(int) - film.pixels[300, 1]).max()


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((64, 64), (512, 512)), ((700, 600), (700, 600)), ((3200, 2400), (1600, 1200)), ((4000, 400), (1600, 160)),
        ((100, 200), (256, 512)), ((1600, 64), (1600, 64)),
    ],
)  # fmt: skip
def test_films_keep_their_shape(size, shown):
    film = a_film(*size)
    assert shown_size(film) == shown
    assert overlay(film, a_map(1.0)).size == shown
    sheet = draw(film, a_map(1.0), a_row())
    assert sheet.width >= shown[0]
    assert sheet.height >= shown[1]
    assert max(sheet.size) < 3500


def test_the_sheet_has_the_plain_film_and_the_coloured_one(draw_film):
    film = read(draw_film(size=(600, 700)))
    evidence = a_map(at=(4, 4))
    sheet = np.asarray(draw(film, evidence, a_row()))
    plain = np.repeat(film.pixels[:, :, None], 3, axis=2)
    coloured = np.asarray(overlay(film, evidence))
    for picture in (plain, coloured):
        rows = [y for y in range(250) if (sheet[y : y + 600] == picture[0, 0]).any()]
        assert any(
            (sheet[y : y + 600, x : x + 700] == picture).all()
            for y in rows
            for x in np.flatnonzero((sheet[y, : sheet.shape[1] - 699] == picture[0, 0]).all(1))
        )


def text_of(monkeypatch, film, row, **options):
    """What is written on the sheet."""
    from PIL import ImageDraw

    written = []
    plain = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda pen, at, text, **rest: (written.append(text), plain(pen, at, text, **rest)),
    )
    draw(film, a_map(at=(2, 2)), row, **options)
    return "\n".join(written)


def test_the_sheet_says_what_the_row_says(monkeypatch):
    row = a_row(warnings=("low_contrast", "unusual_shape"))
    text = text_of(monkeypatch, a_film(), row, operating_point="balanced")
    for part in (
        "film.png", "140 by 120 pixels", "shown at 512 by 439", "PNEUMONIA", "probability 0.7500", "threshold 0.5000",
        "balanced", "low_contrast, unusual_shape", "tiny@0123456789ab", "mean over the film +0.19", "highest +12.00",
        "Research use only. Not a medical device.", "12 and more",
    ):  # fmt: skip
        assert part in text.replace("\n", " "), part
    monkeypatch.undo()
    text = text_of(monkeypatch, a_film(), a_row())
    assert "given by hand" in text
    assert "warnings" not in text


@pytest.mark.parametrize("name", ["a" * 250 + ".png", "\udce9\n\x1b[0m.png", "肺炎_лёгкие.jpeg", "é ü.png"])
def test_every_name_can_be_drawn(name):
    assert draw(a_film(), a_map(1.0), a_row(path=f"ward/{name}")).width < 1200
    assert printable(name).isprintable()


def test_what_the_font_has_not_is_an_escape():
    assert printable("IM-0115 (1).png…") == "IM-0115 (1).png…"
    assert printable("肺.png\n") == "\\u80ba.png\\n"


def test_the_scale_is_the_models_if_it_tells_one(make_bundle):
    plain, told = load_bundle(make_bundle("a")), load_bundle(make_bundle("b", training={"map_full_scale": 5}))
    assert evidence_of(plain, np.ones((2, 2))).full_scale == FULL_SCALE
    assert evidence_of(told, np.ones((2, 2))).full_scale == 5
    assert evidence_of(told, np.ones((2, 2))).values == pytest.approx(1 / plain.spec.temperature)


def test_activation_maps_of_the_classifier(bundle_folder, draw_film):
    model = PneumoniaClassifier.from_pretrained(bundle_folder)
    films = [draw_film(), draw_film(np.random.default_rng(1))]
    maps = model.activation_maps(films)
    assert (maps.shape, maps.dtype) == ((2, 4, 4), np.float32)
    assert (maps[1] == map_of_film(model.bundle, read(films[1]))).all()
    # The map of the tiny network has everything but the shift in it.
    logit = np.log(1 / model.predict_proba(films)[:, 0] - 1) * model.bundle.spec.temperature
    assert maps.mean((1, 2)) - 5.0 == pytest.approx(logit, abs=1e-4)
    assert model.activation_maps([]).shape == (0, 0, 0)


def test_a_model_without_a_map_is_refused(make_bundle, make_onnx, tmp_path, draw_film):
    import onnx

    graph = onnx.load_from_string(make_onnx())
    del graph.graph.output[2]
    bundle = load_bundle(
        make_bundle("plain", onnx=graph.SerializeToString(), outputs=("probability", "logit"))
    )
    with pytest.raises(UsageError, match="activation_map"):
        heatmaps_of(bundle)
    assert not (tmp_path / "maps").exists()
    with pytest.raises(UsageError, match="activation_map"):
        PneumoniaClassifier(bundle).activation_maps(draw_film())


# The folder


@pytest.fixture
def bundle(bundle_folder):
    return load_bundle(bundle_folder)


@pytest.fixture
def write_film(tmp_path, draw_film):
    def write(name, seed=0):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_film(np.random.default_rng(seed), (60, 70))).save(path, "PNG")
        return str(path)

    return write


def drawn(folder, bundle, films, **options):
    """Draw the films as `predict` does and return the names of the folder's files."""
    pictures = PictureFolder(folder, films, heatmaps_of(bundle, **options))
    for film in films:
        pictures.add(film, predict_one(bundle, film, 0.5))
    return sorted(path.name for path in folder.iterdir())


def test_a_picture_is_named_after_its_film(tmp_path, bundle, write_film):
    films = [write_film("a.png"), write_film("IM-0001-0001.jpeg", 1)]
    assert drawn(tmp_path / "maps", bundle, films) == ["IM-0001-0001.png", "a.png"]
    with Image.open(tmp_path / "maps" / "a.png") as picture:
        assert picture.format == "PNG"
        assert picture.mode == "RGB"
    assert is_drawn(tmp_path / "maps" / "a.png")
    assert not any(is_drawn(film) for film in [*films, tmp_path, tmp_path / "gone"])
    assert str(tmp_path).encode() not in (tmp_path / "maps" / "a.png").read_bytes()


def test_films_of_one_name_get_a_picture_each(tmp_path, bundle, write_film):
    films = [
        write_film("x/1.png"),
        write_film("y/1.png", 1),
        write_film("y/1.jpeg", 2),
        write_film("z/1.PNG", 3),
    ]
    names = drawn(tmp_path / "maps", bundle, films)
    assert len(names) == 4
    assert names.count("1.png") == 1
    before = {name: (tmp_path / "maps" / name).read_bytes() for name in names}
    assert len(set(before.values())) == 4
    # In another order and one by one: the same film keeps its picture.
    for film in reversed(films):
        assert drawn(tmp_path / "maps", bundle, [film]) == names
    assert {name: (tmp_path / "maps" / name).read_bytes() for name in names} == before


def test_names_that_differ_in_case_only_are_told_apart(tmp_path, bundle, write_film):
    names = drawn(tmp_path / "maps", bundle, [write_film("a/Film.png"), write_film("a/film.png", 1)])
    assert len({name.casefold() for name in names}) == 2


def test_other_files_are_not_touched(tmp_path, bundle, write_film):
    films = [write_film("films/1.png"), write_film("films/2.png", 1)]
    before = [(tmp_path / "films" / f"{number}.png").read_bytes() for number in (1, 2)]
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "1.png").write_text("notes")
    os.mkfifo(tmp_path / "maps" / "2.png")
    assert len(drawn(tmp_path / "maps", bundle, films)) == 4
    assert (tmp_path / "maps" / "1.png").read_text() == "notes"
    # Even among the films themselves.
    assert len(drawn(tmp_path / "films", bundle, films)) == 4
    assert [(tmp_path / "films" / f"{number}.png").read_bytes() for number in (1, 2)] == before


@pytest.mark.parametrize(
    "name",
    ["..png", "...", "-rf.png", ".hidden.png", "a\\..\\b.png", "line\nbreak.png", "\udce9.png", "né" * 60 + ".png", "CON:.png", " .png"],
)  # fmt: skip
def test_every_film_gets_a_safe_name_in_the_folder(tmp_path, bundle, write_film, name):
    (written,) = drawn(tmp_path / "maps", bundle, [write_film(f"films/{name}")])
    assert written.endswith(".png")
    assert len(written.encode()) < 200
    assert written.isprintable()
    assert not set(written) & set('<>:"/\\|?*')
    assert not written.startswith(".")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "films", "maps"]


def test_refused_films_have_no_picture_and_lost_ones_are_told(tmp_path, bundle, write_film):
    film = write_film("a.png")
    row = predict_one(bundle, film, 0.5)
    pictures = PictureFolder(tmp_path / "maps", [film, "gone.png"], heatmaps_of(bundle))
    pictures.add("gone.png", predict_one(bundle, "gone.png", 0.5))
    assert pictures.missed == []
    Path(film).unlink()
    pictures.add(film, row)
    assert pictures.missed == [film]
    assert list((tmp_path / "maps").iterdir()) == []


def test_many_threads_draw_the_same_pictures(tmp_path, bundle, write_film):
    films = [write_film(f"{number}.png", number) for number in range(6)]
    drawn(tmp_path / "one", bundle, films)
    pictures = PictureFolder(tmp_path / "many", films, heatmaps_of(bundle))
    threads = [
        threading.Thread(target=lambda film=film: pictures.add(film, predict_one(bundle, film, 0.5)))
        for film in films * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.name: path.read_bytes() for path in (tmp_path / "many").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()
    }


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path, bundle):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritableError):
        PictureFolder(tmp_path / "file", [], heatmaps_of(bundle))
