"""Films of several places: one table, names that never meet, a hold-out with a share of each."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_films import draw_film

from pneumoscan.data import FilmRecord, Manifest, combine, hold_out, load_manifest, load_sites, open_cache
from pneumoscan.data.layouts import absolute, as_words, called
from pneumoscan.errors import LayoutError, UsageError


def _table(folder: Path, text: str, name: str = "films.csv") -> Path:
    """A table and a synthetic film at every path it names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    for number, line in enumerate(text.splitlines()[1:]):
        path = folder / line.split(",")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_film(np.random.default_rng(number), (64, 70))).save(path)
    return folder


@pytest.fixture
def adults(tmp_path):
    return _table(
        tmp_path / "adults",
        "path,label,patient_id,split,site,view,age\n"
        "a.png,0,1,train,,PA,58\nb.png,1,2,train,North Ward,ap,061Y\nc.png,1,3,test,,,\n",
    )


@pytest.fixture
def arrays(tmp_path):
    films = np.random.default_rng(0).integers(0, 255, (4, 28, 28), np.uint8)
    np.savez(tmp_path / "small.npz", train_images=films, train_labels=np.array([0, 1, 0, 1]))
    return tmp_path / "small.npz"


def test_one_source_without_a_name_is_read_as_ever(film_folder):
    for sources in (film_folder, str(film_folder), [film_folder]):
        assert load_sites(sources) == load_manifest(film_folder)
    assert load_manifest(film_folder).site_names == ("",)


def test_a_name_for_one_source_changes_the_site_alone(film_folder, tmp_path):
    plain, named = load_manifest(film_folder), load_sites([f"children={film_folder}"])
    assert set(named.sites) == {"children"}
    assert named.root == plain.root
    assert [film.path for film in named.films] == [film.path for film in plain.films]
    np.testing.assert_array_equal(named.patient_ids, plain.patient_ids)
    assert hold_out(named.of_split("train")) == hold_out(plain.of_split("train"))
    opened = [open_cache(films, size=16, folder=tmp_path / "cache", workers=1) for films in (plain, named)]
    assert opened[0].data_sha256 == opened[1].data_sha256
    assert len(list((tmp_path / "cache").glob("*.u8"))) == 1


def test_several_places_in_one_table(film_folder, adults, arrays):
    manifest = load_sites([f"children={film_folder}", f"adults={adults}", str(arrays)])
    assert manifest.layout == "sites"
    assert manifest.site_names == ("North Ward", "adults", "children", "small")
    assert Counter(manifest.sites) == {"children": 60, "adults": 2, "North Ward": 1, "small": 4}
    by_path = {film.path: film for film in manifest.films}
    assert len(by_path) == len(manifest) == 67
    assert by_path["adults/b.png"] == FilmRecord(
        "adults/b.png", 1, "train", "adults/2", None, "North Ward", "AP", 61.0
    )
    assert by_path["adults/c.png"].view is None
    assert by_path["adults/c.png"].age is None
    order = [(("train", "val", "test").index(film.split), film.label, film.path) for film in manifest.films]
    assert order == sorted(order)
    assert any(note.startswith("small: ") for note in manifest.notes)


def test_every_film_of_several_places_can_be_opened(film_folder, adults, arrays, tmp_path):
    manifest = load_sites([f"children={film_folder}", f"adults={adults}", f"small={arrays}"])
    assert manifest.source(manifest.of_site("North Ward").films[0]) == adults / "b.png"
    for part, root in (("adults", adults), ("children", film_folder)):
        film = next(film for film in manifest.films if film.path.startswith(part))
        assert manifest.bytes_of(film) == (root / film.path.removeprefix(f"{part}/")).read_bytes()
        assert manifest.read(film).height >= 64
    small = manifest.of_site("small").of_split("train")
    assert manifest.read(small.films[3]).height == 28
    plain = load_manifest(arrays)
    assert [manifest.bytes_of(film) for film in small.films] == [plain.bytes_of(film) for film in plain.films]
    assert len(manifest.of_split("test").take([0, 2])) == 2
    opened = open_cache(manifest, size=16, folder=tmp_path / "cache", workers=2)
    assert not opened.refused
    assert len(opened.index) == len(manifest)
    first = manifest.films[0]
    assert opened.content_sha256[first.path] == hashlib.sha256(manifest.bytes_of(first)).hexdigest()


def test_films_of_nobody_in_one_place_are_told_of_all(film_folder, adults):
    sources = [f"children={film_folder}", f"adults={adults}"]
    assert not load_sites(sources).synthetic
    (adults / "SYNTHETIC.txt").write_text("drawn")
    assert load_sites(sources).synthetic


def test_patients_of_two_places_never_meet(tmp_path):
    text = "path,label,patient_id\na.png,0,7\nb.png,1,7\n"
    manifest = load_sites([_table(tmp_path / "one", text), _table(tmp_path / "two", text)])
    assert set(manifest.patient_ids) == {"one/7", "two/7"}


def test_a_path_that_exists_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _table(tmp_path / "a=b", "path,label\nx.png,0\n")
    assert load_sites(["a=b"]).site_names == ("",)
    (tmp_path / "a=b").rename(tmp_path / "b")
    assert load_sites(["a=b"]).site_names == ("a",)


@pytest.mark.parametrize("source", ["a b=films", "=films", "films"])
def test_what_is_no_name_is_a_path(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LayoutError, match="nothing at"):
        load_sites([source])


def test_a_place_without_a_name_is_called_by_its_folder_or_file(tmp_path):
    _table(tmp_path / "chest xray (1)", "path,label\nx.png,0\n")
    _table(tmp_path, "path,label\nx.png,0\n", "ward.7.csv")
    manifest = load_sites([tmp_path / "chest xray (1)", tmp_path / "ward.7.csv"])
    assert manifest.site_names == ("chest-xray-1", "ward-7")


def test_two_places_of_one_name_are_refused(tmp_path):
    for folder in ("a/films", "b/films"):
        _table(tmp_path / folder, "path,label\nx.png,0\n")
    with pytest.raises(UsageError, match="both have the name 'films'"):
        load_sites([tmp_path / "a/films", tmp_path / "b/films"])
    assert load_sites([tmp_path / "a/films", f"b={tmp_path / 'b/films'}"]).site_names == ("b", "films")


@pytest.mark.parametrize("names", [[], [""], ["a/b"]])
def test_what_cannot_be_joined(names, arrays):
    with pytest.raises(UsageError):
        combine({name: load_manifest(arrays) for name in names})
    with pytest.raises(UsageError):
        load_sites([])


def _drawn(sites: dict[str, int], split: str = "train") -> Manifest:
    films = tuple(
        FilmRecord(f"{site}/{number}", number % 2, split, f"{site}/{number // 2 * 2 + number % 2}", site=site)
        for site, count in sites.items()
        for number in range(count)
    )
    return Manifest(Path("/films"), "sites", films)


@pytest.mark.parametrize("seed", range(4))
def test_every_site_has_its_share_of_the_hold_out(seed):
    manifest = _drawn({"big": 400, "middle": 60, "tiny": 4})
    held = Counter(
        (manifest.films[i].site, manifest.films[i].label) for i in hold_out(manifest, seed=seed).val
    )
    assert held["big", 0] == held["big", 1] == 30
    assert held["middle", 0] in {4, 5}
    assert held["middle", 1] in {4, 5}
    assert held["tiny", 0] + held["tiny", 1] == 1


def test_a_site_of_one_patient_stays_on_one_side():
    manifest = _drawn({"big": 40, "one": 1})
    assert all(manifest.films[i].site == "big" for i in hold_out(manifest).val)


def test_a_named_site_draws_the_same_hold_out():
    plain = _drawn({"": 300})
    named = Manifest(
        plain.root,
        "csv",
        tuple(FilmRecord(f.path, f.label, f.split, f.patient_id, site="x") for f in plain.films),
    )
    assert hold_out(plain, fraction=0.2, seed=5) == hold_out(named, fraction=0.2, seed=5)


def test_a_table_wins_over_class_folders(tmp_path):
    rows = "".join(
        f"train/{name}/{k}.png,{label},p{k % 2},\n"
        for label, name in enumerate(("NORMAL", "PNEUMONIA"))
        for k in range(4)
    )
    root = _table(tmp_path / "set", "path,label,patient_id,split\n" + rows + "test/NORMAL/9.png,0,p9,\n")
    (root / "train/NORMAL/extra.png").write_bytes(b"x")
    manifest = load_manifest(root)
    assert manifest.layout == "csv"
    assert len(manifest) == 9
    assert set(manifest.patient_ids) == {"p0", "p1", "p9"}
    # The table tells no split, so the folders do: films of test must not slip into train.
    assert [film.path for film in manifest.of_split("test").films] == ["test/NORMAL/9.png"]
    assert "films.csv" in manifest.notes[-1]
    assert "1 film that" in manifest.notes[-1]


def test_a_table_beside_class_folders_further_down(tmp_path):
    root = _table(tmp_path / "zip" / "set", "path,label,patient_id\nNORMAL/a.png,0,p\nPNEUMONIA/b.png,1,q\n")
    manifest = load_manifest(tmp_path)
    assert manifest.root == root
    assert list(manifest.patient_ids) == ["p", "q"]
    assert "does not name" not in manifest.notes[-1]


def test_another_table_beside_class_folders_is_passed_over(film_folder):
    (film_folder / "labels.csv").write_text("image,finding\nx,y\n")
    manifest = load_manifest(film_folder)
    assert manifest.layout == "folder"
    assert "labels.csv passed over" in manifest.notes[-1]


@pytest.mark.parametrize(
    ("told", "years"),
    [("58", 58.0), ("58.5", 58.5), ("058Y", 58.0), ("6m", 0.5), ("", None), ("n/a", None), ("411", None)],
)
def test_ages(tmp_path, told, years):
    folder = _table(tmp_path, f"path,label,age\na.png,0,{told}\n")
    manifest = load_manifest(folder)
    assert manifest.films[0].age == years
    assert bool(manifest.notes) == (years is None and told != "")


def test_views(tmp_path):
    folder = _table(tmp_path, "path,label,view\na.png,0,pa\nb.png,0,AP\nc.png,1,LATERAL\nd.png,1,\n")
    manifest = load_manifest(folder)
    assert [film.view for film in manifest.films] == ["PA", "AP", None, None]
    assert manifest.notes == ("1 cell of column view not understood, left empty.",)


def test_sources_in_words_and_for_another_working_folder(film_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = ("one=films", "films", Path("x y.csv"))
    assert as_words(sources) == "one=films, films, x y.csv"
    assert as_words(film_folder) == str(film_folder)
    assert absolute(sources) == (f"one={tmp_path}/films", f"{tmp_path}/films", f"{tmp_path}/x y.csv")
    assert called(sources) == "one-films-x-y"
