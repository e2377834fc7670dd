"""Folders, tables and arrays as they come: untidy, nested twice, with a word in the wrong cell."""

import io
import os
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from stored import assert_as_stored, digest, table_of

from pneumoscan.data import load_manifest
from pneumoscan.data.layouts import load_sites
from pneumoscan.data.layouts.folder import facts_of
from pneumoscan.errors import DataDamagedError, LayoutError


def _touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


def _paths(manifest):
    return [film.path for film in manifest.films]


@pytest.mark.parametrize(
    ("path", "patient", "cause"),
    [
        ("train/PNEUMONIA/person1946_bacteria_4874.jpeg", "person1946", "bacteria"),
        ("person124_virus_249.jpeg", "person124", "virus"),
        ("person63_virus_123_1.jpeg", "person63", "virus"),
        ("IM-0115-0001.jpeg", "IM-0115", None),
        ("IM-0429-0001-0002.jpeg", "IM-0429", None),
        ("NORMAL2-IM-1427-0001.jpeg", "NORMAL2-IM-1427", None),
        ("BACTERIA-1008087-0001.jpeg", "1008087", "bacteria"),
        ("VIRUS-1008087-0002.jpeg", "1008087", "virus"),
        ("NORMAL-1003233-0001.jpeg", "1003233", None),
        ("x/holiday.jpeg", "holiday", None),
        ("person_bacteria.jpeg", "person_bacteria", None),
    ],
)
def test_names_tell_patient_and_cause(path, patient, cause):
    assert facts_of(path) == (patient, cause)


def test_folder_of_films(film_folder):
    manifest = load_manifest(film_folder)
    assert manifest.layout == "folder"
    assert Counter((film.split, film.label) for film in manifest.films) == {
        ("train", 0): 18, ("train", 1): 18, ("val", 0): 3, ("val", 1): 3, ("test", 0): 9, ("test", 1): 9,
    }  # fmt: skip
    order = [(("train", "val", "test").index(film.split), film.label, film.path) for film in manifest.films]
    assert order == sorted(order)
    assert manifest.notes == ()
    assert {film.cause for film in manifest.films if film.label == 0} == {None}
    assert {film.cause for film in manifest.films if film.label == 1} == {"bacteria", "virus"}
    assert manifest.read(manifest.films[0]).height == 120


@pytest.mark.parametrize("nest", ["chest_xray", "chest_xray/chest_xray", "a/b/chest_xray"])
def test_folder_further_down(tmp_path, nest):
    _touch(tmp_path, f"{nest}/train/NORMAL/a.jpeg", f"{nest}/train/PNEUMONIA/b.jpeg")
    manifest = load_manifest(tmp_path)
    assert manifest.root == tmp_path / nest
    assert _paths(manifest) == ["train/NORMAL/a.jpeg", "train/PNEUMONIA/b.jpeg"]


def test_the_archives_second_copy_is_not_counted(tmp_path):
    for nest in ("chest_xray", "chest_xray/chest_xray", "chest_xray/__MACOSX/chest_xray"):
        _touch(tmp_path, f"{nest}/train/NORMAL/a.jpeg", f"{nest}/train/PNEUMONIA/b.jpeg")
    _touch(tmp_path, "chest_xray/.DS_Store", "chest_xray/train/.DS_Store")
    manifest = load_manifest(tmp_path)
    assert manifest.root == tmp_path / "chest_xray"
    assert len(manifest) == 2
    assert any("chest_xray" in note for note in manifest.notes)


def test_a_whole_set_further_down_wins_over_half_a_one(tmp_path):
    _touch(tmp_path, "train/NORMAL/x.jpeg", "set/train/NORMAL/a.jpeg", "set/train/PNEUMONIA/b.jpeg")
    assert load_manifest(tmp_path).root == tmp_path / "set"


def test_two_sets_side_by_side_are_refused(tmp_path):
    for name in ("one", "two"):
        _touch(tmp_path, f"{name}/train/NORMAL/a.jpeg", f"{name}/train/PNEUMONIA/b.jpeg")
    with pytest.raises(LayoutError, match="several data sets: one, two"):
        load_manifest(tmp_path)


def test_what_is_passed_over_is_told(tmp_path):
    folder = tmp_path / "train" / "normal"
    _touch(folder, "a.JPG", "b", "c.0001", "d.dcm", "._a.JPG", ".DS_Store", "notes.txt", "deeper/x.jpeg")
    _touch(
        tmp_path, "Train2/NORMAL/x.jpeg", "train/COVID/x.jpeg", "train/Pneumonia/p.png", "val/NORMAL/.keep"
    )
    manifest = load_manifest(tmp_path)
    assert _paths(manifest) == [f"train/normal/{n}" for n in ("a.JPG", "b", "c.0001", "d.dcm")] + [
        "train/Pneumonia/p.png"
    ]
    told = " ".join(manifest.notes)
    for words in (
        "2 hidden files",
        "1 files ending in .txt",
        "1 folders inside",
        "train/COVID",
        "val/NORMAL has no films",
    ):
        assert words in told


def test_folders_beside_the_set_are_told(tmp_path):
    _touch(tmp_path, "set/train/NORMAL/a.png", "set/train/PNEUMONIA/b.png", "more/c.png", ".hidden/d.png")
    (note,) = load_manifest(tmp_path).notes
    assert "more" in note
    assert "hidden" not in note
    _touch(tmp_path, *(f"set/part {number}/x.png" for number in range(20)))
    assert "and 12 more" in " ".join(load_manifest(tmp_path).notes)


@pytest.mark.parametrize(("name", "split"), [("mine", "train"), ("test", "test"), ("VAL", "val")])
def test_class_folders_alone_are_one_split(tmp_path, name, split):
    _touch(tmp_path / name, "NORMAL/a.jpeg", "PNEUMONIA/b.jpeg")
    manifest = load_manifest(tmp_path / name)
    assert {film.split for film in manifest.films} == {split}
    assert f"all films count as {split}" in manifest.notes[0]


def test_links_to_films_are_films_and_loops_end(tmp_path):
    _touch(tmp_path, "real/a.jpeg", "set/train/PNEUMONIA/b.jpeg")
    (tmp_path / "set/train/NORMAL").mkdir()
    (tmp_path / "set/train/NORMAL/linked.jpeg").symlink_to(tmp_path / "real/a.jpeg")
    (tmp_path / "set/train/NORMAL/broken.jpeg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "set/loop").symlink_to(tmp_path / "set")
    (tmp_path / "set/train/NORMAL/loop.jpeg").symlink_to(tmp_path / "set")
    manifest = load_manifest(tmp_path / "set")
    assert _paths(manifest) == [
        "train/NORMAL/broken.jpeg",
        "train/NORMAL/linked.jpeg",
        "train/PNEUMONIA/b.jpeg",
    ]


def test_a_loop_of_links_without_films_ends(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").symlink_to(tmp_path)
    with pytest.raises(LayoutError):
        load_manifest(tmp_path)


@pytest.mark.parametrize("name", ["nothing", "empty", "film.jpeg", "empty_classes"])
def test_nothing_usable_shows_the_layouts(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty_classes/train/NORMAL").mkdir(parents=True)
    _touch(tmp_path, "film.jpeg")
    with pytest.raises(LayoutError, match="path,label") as caught:
        load_manifest(tmp_path / name)
    assert str(tmp_path / name) in caught.value.message


def test_films_without_labels_where_none_are_needed(tmp_path):
    _touch(tmp_path, "a.jpeg", "b.png", "notes.txt")
    with pytest.raises(LayoutError):
        load_manifest(tmp_path)
    manifest = load_manifest(tmp_path, labels_required=False)
    assert [(film.path, film.label, film.split) for film in manifest.films] == [
        ("a.jpeg", -1, "test"), ("b.png", -1, "test"),
    ]  # fmt: skip


def _csv(tmp_path: Path, text: str | bytes, name: str = "set.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_csv_with_every_column(tmp_path):
    text = "path,label,patient_id,split\nb/x.jpeg,PNEUMONIA,p1,test\na.jpeg,normal,p2,\n./c.jpeg,1,,val\n"
    manifest = load_manifest(_csv(tmp_path, text))
    assert [(f.path, f.label, f.patient_id, f.split) for f in manifest.films] == [
        ("a.jpeg", 0, "p2", "train"), ("c.jpeg", 1, "c", "val"), ("b/x.jpeg", 1, "p1", "test"),
    ]  # fmt: skip
    assert manifest.root == tmp_path
    assert manifest.source(manifest.films[0]) == tmp_path / "a.jpeg"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(
    ("first", "delimiter"), [("", ";"), ("sep=;\r\n", ";"), ('"SEP=;"\n', ";"), ("sep=\t\n", "\t")]
)
def test_csv_of_windows(tmp_path, encoding, first, delimiter):
    rows = [["path", "label", "site"], ["ä\\b.png", "1", "x, y"], ["c.png", "0", ""]]
    text = first + "".join(delimiter.join(row) + "\r\n" for row in rows)
    folder = _touch(tmp_path, "NORMAL/own.png", "PNEUMONIA/own.png")
    manifest = load_manifest(_csv(folder, text.encode(encoding), "films.csv").parent)
    assert [(film.path, film.label, film.site) for film in manifest.films] == [
        ("c.png", 0, ""),
        ("ä/b.png", 1, "x, y"),
    ]
    wrong = text.replace("c.png", "")
    with pytest.raises(LayoutError, match=f"line {4 if first else 3}, column path"):
        load_manifest(_csv(tmp_path, wrong.encode(encoding)))


@pytest.mark.skipif(os.sep != "/", reason="There a backslash is a separator anyway.")
def test_backslashes_of_a_table(tmp_path):
    _touch(tmp_path, "a\\b.png")
    assert _paths(load_manifest(_csv(tmp_path, "path,label\na\\b.png,0\n"))) == ["a\\b.png"]
    for path in ("C:\\films\\a.png", "\\\\server\\films\\a.png"):
        with pytest.raises(LayoutError, match="line 2, column path"):
            load_manifest(_csv(tmp_path, f"path,label\n{path},0\n"))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_spreadsheets(tmp_path, delimiter):
    text = "\ufeffPath,Label,Ward\r\nperson7_virus_1.jpeg,1,3\r\n\r\nIM-0001-0001.jpeg,0,4\r\n".replace(
        ",", delimiter
    )
    manifest = load_manifest(_csv(tmp_path, text))
    assert [(f.patient_id, f.cause) for f in manifest.films] == [("IM-0001", None), ("person7", "virus")]
    assert "ward" in manifest.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\na.jpeg,0\nb.jpeg,maybe\n", r"line 3, column label: 'maybe'"),
        ("path,label\na.jpeg,\n", r"line 2, column label: ''"),
        ("path,label,split\na.jpeg,1,dev\n", r"line 2, column split: 'dev'"),
        ("path,label\n,1\n", r"line 2, column path"),
        ("path,label\na.jpeg,1\nb.jpeg,0\n./a.jpeg,1\n", r"line 4, column path: 'a.jpeg' is also in line 2"),
        ("file,label\na.jpeg,1\n", r"line 1 has no column 'path'"),
        ("path\na.jpeg\n", r"line 1 has no column 'label'"),
        ("path,label,label\na.jpeg,1,0\n", r"'label' twice"),
        ("path,label\na,b.jpeg,1\n", r"line 2: 3 cells"),
        ('path,label\n"a.jpeg,1\n', r"line 2"),
        ("", "line 1 has no column"),
        (b"path,label\n\xff\xfe.jpeg,1\n", "not UTF-8"),
        ("path,label\n", "no films"),
    ],
)
def test_csv_errors_name_line_and_column(tmp_path, text, words):
    with pytest.raises(LayoutError, match=words):
        load_manifest(_csv(tmp_path, text))


def test_csv_of_readings_with_masks_and_boxes(tmp_path):
    table = tmp_path / "films.csv"
    table.write_text(
        "path,mask,aerated,reading,patient_id,view,sex\n"
        "a.png,m/a.png,,OPACITY,1,AP,F\nb.png,,n/b.png,ABNORMAL,2,PA,male\nc.png,,,NORMAL,3,,x\nc.png,,,NORMAL,3,,x\n"
    )
    (tmp_path / "boxes.csv").write_text(
        "path,x,y,width,height\na.png,1.5,2,30,40\n./a.png,50,2,30,40\nz.png,1,1,1,1\n"
    )
    manifest = load_manifest(table)
    a, b, c = sorted(manifest.films, key=lambda film: film.path)
    assert [film.label for film in (a, b, c)] == [1, 0, 0]
    assert [film.reading for film in (a, b, c)] == ["OPACITY", "ABNORMAL", "NORMAL"]
    assert (a.mask, b.aerated, a.sex, b.sex, c.sex) == ("m/a.png", "n/b.png", "F", "M", None)
    assert a.boxes == ((1.5, 2.0, 30.0, 40.0), (50.0, 2.0, 30.0, 40.0))
    assert manifest.beside(a, a.mask) == tmp_path / "m/a.png"
    notes = " ".join(manifest.notes)
    assert "1 repeated line" in notes
    assert "boxes of 1 film" in notes
    assert "1 cell of column sex" in notes


def test_the_column_of_the_labels_can_be_chosen(tmp_path):
    table = tmp_path / "films.csv"
    table.write_text("path,label,reading\na.png,1,NORMAL\nb.png,0,OPACITY\nc.png,1,\nd.png,1,ABNORMAL\n")
    by_label = load_sites(table)
    by_reading = load_sites(f"adults={table}#reading")
    by_two = load_sites(f"{table}#reading,OPACITY,NORMAL")
    assert {film.path: film.label for film in by_label.films} == {
        "a.png": 1,
        "b.png": 0,
        "c.png": 1,
        "d.png": 1,
    }
    assert {film.path: film.label for film in by_reading.films} == {"a.png": 0, "b.png": 1, "d.png": 0}
    assert {film.path: film.label for film in by_two.films} == {"a.png": 0, "b.png": 1}
    assert any("1 film" in note and "reading" in note for note in by_reading.notes)
    with pytest.raises(LayoutError, match="no column 'truth'"):
        load_sites(f"{table}#truth")
    table.write_text("path,label,reading\na.png,1,perhaps\n")
    with pytest.raises(LayoutError, match="line 2, column reading: 'perhaps'"):
        load_sites(f"{table}#reading")


@pytest.mark.parametrize(
    ("cells", "words"), [("a.png,1,2,x,4", "four numbers"), ("a.png,1,2,0,4", "without area")]
)
def test_boxes_that_are_none(tmp_path, cells, words):
    (tmp_path / "films.csv").write_text("path,label\na.png,1\n")
    (tmp_path / "boxes.csv").write_text(f"path,x,y,width,height\n{cells}\n")
    with pytest.raises(LayoutError, match=f"boxes.csv line 2: .*{words}"):
        load_manifest(tmp_path)


def test_csv_without_labels_where_none_are_needed(tmp_path):
    manifest = load_manifest(_csv(tmp_path, "path\na.jpeg\n"), labels_required=False)
    assert (manifest.films[0].label, manifest.films[0].split) == (-1, "test")


def test_folder_with_a_table(tmp_path):
    _csv(tmp_path, "path,label\na.jpeg,1\n", "films.csv")
    assert load_manifest(tmp_path).layout == "csv"
    _csv(tmp_path, "path,label\na.jpeg,1\n", "labels.csv")
    with pytest.raises(LayoutError, match="several tables"):
        load_manifest(tmp_path)


def _arrays(n=6, side=28, channels=()):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, side, side, *channels), dtype=np.uint8)
    return {
        f"{split}_{part}": value
        for split in ("train", "val", "test")
        for part, value in (("images", images), ("labels", (np.arange(n) % 2).reshape(n, 1)))
    }


@pytest.mark.parametrize(("side", "channels"), [(28, ()), (64, (3,)), (224, ())])
def test_npz(tmp_path, side, channels):
    arrays = _arrays(side=side, channels=channels)
    np.savez_compressed(tmp_path / "pneumoniamnist.npz", **arrays)
    manifest = load_manifest(tmp_path / "pneumoniamnist.npz")
    assert len(manifest) == 18
    assert len(set(manifest.patient_ids)) == 18
    film = manifest.of_split("val").films[4]
    assert (film.path, film.label) == ("pneumoniamnist.npz#val/3", 1)
    assert manifest.read(film).height == side
    if not channels:
        np.testing.assert_array_equal(manifest.read(film).pixels, arrays["val_images"][3])
    assert "patient" in manifest.notes[0]


def test_npz_with_one_split_and_flat_labels(tmp_path):
    np.savez(tmp_path / "x.npz", test_images=np.zeros((2, 28, 28), np.uint8), test_labels=np.array([0, 1]))
    assert [film.split for film in load_manifest(tmp_path / "x.npz").films] == ["test", "test"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_images": np.zeros((6, 28, 28), np.float32)}, "train_images is float32"),
        ({"train_images": np.zeros((6, 28, 28, 4), np.uint8)}, "train_images is uint8"),
        ({"train_images": np.zeros((6, 20, 28), np.uint8)}, "28×20"),
        ({"val_labels": np.full((6, 1), 2)}, "other values"),
        ({"val_labels": np.zeros((5, 1), int)}, "val_labels is int64"),
        ({"val_labels": np.zeros((6, 1))}, "val_labels is float64"),
    ],
)
def test_npz_of_another_kind(tmp_path, change, words):
    np.savez(tmp_path / "x.npz", **(_arrays() | change))
    with pytest.raises(LayoutError, match=words):
        load_manifest(tmp_path / "x.npz")


def test_npz_without_the_keys_names_those_it_has(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros(3))
    with pytest.raises(LayoutError, match="it has images"):
        load_manifest(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", train_images=np.zeros((1, 28, 28), np.uint8))
    with pytest.raises(LayoutError, match="train_labels once"):
        load_manifest(tmp_path / "x.npz")


def test_npz_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "x.npz", train_images=np.array([{}], dtype=object), train_labels=np.zeros(1, int))
    with pytest.raises(DataDamagedError, match="objects"):
        load_manifest(tmp_path / "x.npz")


@pytest.mark.parametrize(("rows", "words"), [(10**9, "another size"), (7, "another size")])
def test_npz_whose_header_lies(tmp_path, rows, words):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (rows, 28, 28)}
    )
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("train_images.npy", header.getvalue() + bytes(6 * 28 * 28))
        labels = io.BytesIO()
        np.save(labels, np.zeros(6, int))
        archive.writestr("train_labels.npy", labels.getvalue())
    with pytest.raises(DataDamagedError, match=words):
        load_manifest(tmp_path / "x.npz")


def test_npz_larger_than_the_cap(tmp_path, monkeypatch):
    monkeypatch.setattr("pneumoscan.data.layouts.npz.MAX_BYTES", 1000)
    np.savez(tmp_path / "x.npz", **_arrays())
    with pytest.raises(DataDamagedError, match="declares"):
        load_manifest(tmp_path / "x.npz")


def test_npz_damaged(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", **_arrays())
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[600] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(data)
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    for name in ("flipped.npz", "cut.npz"):
        with pytest.raises(DataDamagedError, match=name):
            load_manifest(tmp_path / name)


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    _touch(tmp_path, "train/NORMAL/a.jpeg", "train/PNEUMONIA/b.jpeg")
    real = os.scandir

    def scandir(folder):
        if Path(folder).name == "NORMAL":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(LayoutError, match="NORMAL cannot be listed"):
        load_manifest(tmp_path)


@pytest.mark.real_films
def test_the_real_films(real_films):
    manifest = load_manifest(real_films)
    counts = Counter((film.split, film.label) for film in manifest.films if film.split != "test")
    assert counts == {("train", 0): 1341, ("train", 1): 3875, ("val", 0): 8, ("val", 1): 8}
    assert all(film.cause for film in manifest.films if film.label == 1)


def test_the_tables_are_the_stored_ones(film_folder, tmp_path):
    _touch(tmp_path, *(f"set/train/{name}/{film}.jpeg" for name in ("NORMAL", "PNEUMONIA") for film in "ab"))
    _touch(tmp_path, "set/train/NORMAL/.DS_Store", "set/other/x.txt", "set/train/NORMAL/notes.txt")
    table = _csv(
        tmp_path,
        "path;label;patient_id;split;site;view;age;sex;extra\n"
        "a.png;1;p1;train; Ward  7;ap;058Y;f;x\nperson3_virus_9.png;NORMAL;;val;;lateral;400;;\nb\\c.png;PNEUMONIA;;;;PA;6M;M;\n",
    )
    (tmp_path / "boxes.csv").write_text(
        "path,x,y,width,height\na.png,1,2,3,4\na.png,5,6,7,8\nnone.png,1,1,1,1\n"
    )
    np.savez(tmp_path / "set.npz", **_arrays())
    readings = tmp_path / "readings"
    readings.mkdir()
    (readings / "films.csv").write_text("path,reading\na.png,OPACITY\nb.png,Lung Opacity\nc.png,ABNORMAL\n")
    sources = {
        "folder": load_manifest(film_folder),
        "small folder": load_manifest(tmp_path / "set"),
        "table": load_manifest(table),
        "readings": load_manifest(readings),
        "arrays": load_manifest(tmp_path / "set.npz"),
    }
    assert_as_stored(
        "layouts", {name: digest(table_of(each)) for name, each in sources.items()}, everywhere=True
    )
