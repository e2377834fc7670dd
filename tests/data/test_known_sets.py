"""Published sets in their publishers' form: small folders of synthetic films, told by their tables."""

import shutil
from collections import Counter
from pathlib import Path

import dicom_films
import numpy as np
import pytest
from PIL import Image
from stored import assert_as_stored, digest, table_of
from synthetic_films import draw_film

from pneumoscan.data import load_manifest, load_sites, open_cache
from pneumoscan.errors import LayoutError, UsageError

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
NIH_ROWS = (
    ("00000001_000.png", "Pneumonia", "1", "058Y", "PA"),
    ("00000001_001.png", "No Finding", "1", "059Y", "AP"),
    ("00000002_000.png", "Consolidation|Pneumonia", "2", "81", "AP"),
    ("00000003_000.png", "Consolidation", "3", "007M", "PA"),
    ("00000004_000.png", "Effusion|Mass", "4", "411", "PA"),
    ("00000005_000.png", "No Finding", "5", "30", "PA"),
    ("00000006_000.png", "No Finding", "6", "31", "PA"),
)
CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


def _png(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_film(np.random.default_rng(seed), (64, 70))).save(path)


def _nih(folder: Path, *, parts: bool = False, name: str = "Data_Entry_2017.csv") -> Path:
    lines = [NIH_HEADER]
    for number, (film, findings, patient, age, view) in enumerate(NIH_ROWS):
        lines.append(f"{film},{findings},0,{patient},{age},M,{view},2682,2749,0.143,0.143,")
        place = f"images_{1 + 11 * (number % 2):03d}/images" if parts else "images"
        if number < 6:
            _png(folder / place / film, number)
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def _split(manifest):
    return {film.path.rsplit("/", 1)[-1]: film.split for film in manifest.films}


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("name", ["Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv"])
def test_nih(tmp_path, parts, name):
    manifest = load_manifest(_nih(tmp_path / "cxr", parts=parts, name=name))
    assert (manifest.layout, manifest.site_names) == ("nih-chestxray14", ("nih-chestxray14",))
    films = {film.path.rsplit("/", 1)[1]: film for film in manifest.films}
    assert {name: film.label for name, film in films.items()} == {
        "00000001_000.png": 1, "00000001_001.png": 0, "00000002_000.png": 1, "00000005_000.png": 0,
    }  # fmt: skip
    first = films["00000001_000.png"]
    assert (first.patient_id, first.view, first.age, first.split) == ("1", "PA", 58.0, "train")
    assert films["00000002_000.png"].age == 81.0
    assert manifest.notes == (
        "1 film of the table without a file left out.",
        "2 films with other findings than Pneumonia left out.",
    )
    assert not open_cache(manifest, size=16, folder=tmp_path / "cache", workers=1).refused


def test_nih_with_its_test_list(tmp_path):
    _nih(tmp_path)
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (tmp_path / "test_list.txt").write_text("00000002_000.png\n00000005_000.png\n")
    assert _split(load_manifest(tmp_path)) == {
        "00000001_000.png": "train", "00000001_001.png": "train",
        "00000002_000.png": "test", "00000005_000.png": "test",
    }  # fmt: skip


def test_findings_of_ones_choice(tmp_path):
    _nih(tmp_path / "cxr")
    named = load_sites([f"adults={tmp_path / 'cxr'}#consolidation, Mass"])
    assert named.site_names == ("adults",)
    positive = [film.path for film in named.films if film.label == 1]
    assert positive == [f"images/0000000{number}_000.png" for number in (2, 3, 4)]
    with pytest.raises(UsageError, match="no finding 'Cough'"):
        load_sites([f"{tmp_path / 'cxr'}#Cough"])
    _png(tmp_path / "plain/NORMAL/a.png")
    with pytest.raises(UsageError, match="no findings to choose from"):
        load_sites(f"{tmp_path / 'plain'}#Pneumonia")


def test_a_folder_with_a_hash_in_its_name(tmp_path):
    _nih(tmp_path / "cxr#1")
    assert load_sites(f"x={tmp_path / 'cxr#1'}").site_names == ("x",)


@pytest.mark.parametrize("broken", ["films", "columns"])
def test_nih_that_is_not_whole(tmp_path, broken):
    _nih(tmp_path)
    if broken == "films":
        shutil.rmtree(tmp_path / "images")
    else:
        (tmp_path / "Data_Entry_2017.csv").write_text("Image Index,Patient ID\n00000001_000.png,1\n")
    with pytest.raises(LayoutError, match="has no films in" if broken == "films" else "'finding labels'"):
        load_manifest(tmp_path)


def test_a_table_of_ones_own_beside_a_published_one_is_meant(tmp_path):
    _nih(tmp_path)
    (tmp_path / "films.csv").write_text("path,label\nimages/00000003_000.png,1\n")
    assert load_manifest(tmp_path).layout == "csv"


def _rsna(folder: Path, *, classes: bool) -> Path:
    boxes = ["patientId,x,y,width,height,Target"]
    kinds = ["patientId,class"]
    for number, kind in enumerate(
        ("Normal", "Lung Opacity", "No Lung Opacity / Not Normal", "Normal", "Lung Opacity")
    ):
        for box in range(2 if kind == "Lung Opacity" else 1):
            boxes.append(f"f{number},{f'{10 + box},20,30,40,1' if kind == 'Lung Opacity' else ',,,,0'}")
            kinds.append(f"f{number},{kind}")
        if number < 4:
            path = folder / "stage_2_train_images" / f"f{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(dicom_films.film(dicom_films.picture()))
    (folder / "stage_2_train_labels.csv").write_text("\n".join(boxes) + "\n")
    if classes:
        (folder / "stage_2_detailed_class_info.csv").write_text("\n".join(kinds) + "\n")
    return folder


@pytest.mark.parametrize("classes", [True, False])
def test_rsna(tmp_path, classes):
    manifest = load_manifest(_rsna(tmp_path / "rsna", classes=classes))
    assert (manifest.layout, manifest.site_names) == ("rsna-pneumonia", ("rsna-pneumonia",))
    labels = {film.patient_id: film.label for film in manifest.films}
    assert labels == {"f0": 0, "f1": 1, "f3": 0} | ({} if classes else {"f2": 0})
    assert {film.split for film in manifest.films} == {"train"}
    notes = " ".join(manifest.notes)
    assert ("not normal" in notes) == classes
    assert "1 film of the table without a file" in notes
    assert "part of NIH ChestX-ray14" in notes
    assert manifest.read(manifest.films[0]).height == 120
    boxes = {film.patient_id: film.boxes for film in manifest.films}
    assert boxes["f1"] == ((10, 20, 30, 40), (11, 20, 30, 40))
    assert boxes["f0"] == ()
    with pytest.raises(UsageError, match="no finding 'Pneumonia'"):
        load_sites(f"{tmp_path / 'rsna'}#Pneumonia")
    if not classes:
        with pytest.raises(UsageError, match="holds the readings"):
            load_sites(f"{tmp_path / 'rsna'}#reading")
        return
    read = load_sites(f"{tmp_path / 'rsna'}#reading")
    assert {film.patient_id: (film.reading, film.label) for film in read.films} == {
        "f0": ("NORMAL", 0), "f1": ("OPACITY", 1), "f2": ("ABNORMAL", 0), "f3": ("NORMAL", 0)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("stage_2_detailed_class_info.csv", "patientId,class\nf0,Perhaps\n", "column class: 'perhaps'"),
        ("stage_2_detailed_class_info.csv", "patientId,kind\nf0,Normal\n", "no column 'class'"),
        ("stage_2_train_labels.csv", "patientId,Target\nf0,2\n", "column Target: '2'"),
    ],
)
def test_rsna_with_other_tables(tmp_path, name, text, words):
    _rsna(tmp_path, classes=False)
    (tmp_path / name).write_text(text)
    with pytest.raises(LayoutError, match=words):
        load_manifest(tmp_path)
    shutil.rmtree(tmp_path / "stage_2_train_images")
    _rsna(tmp_path / "again", classes=False)
    shutil.rmtree(tmp_path / "again/stage_2_train_images")
    with pytest.raises(LayoutError, match="no films in stage_2_train_images"):
        load_manifest(tmp_path / "again")


def _chexpert_line(path, view="Frontal", side="AP", **marks):
    names = CHEXPERT_HEADER.split(",")[5:]
    cells = [marks.get(name.replace(" ", "_"), "") for name in names]
    return ",".join([path, "Female", "68", view, side if view == "Frontal" else "", *cells])


def _chexpert(folder: Path, outer: str = "CheXpert-v1.0-small", *, inside: bool = False) -> Path:
    """Write the set: its own folder is `folder`, or (`inside`) a folder below it."""

    def path(split, number, view="view1_frontal"):
        return f"{outer}/{split}/patient{number:05d}/study1/{view}.jpg"

    lines = [
        _chexpert_line(path("train", 1), Pneumonia="1.0"),
        _chexpert_line(path("train", 1, "view2_lateral"), "Lateral", Pneumonia="1.0"),
        _chexpert_line(path("train", 2), side="PA", No_Finding="1.0", Support_Devices="1.0"),
        _chexpert_line(path("train", 3), Pneumonia="-1.0"),
        _chexpert_line(path("train", 4), Edema="1.0", Pneumonia="0.0"),
        _chexpert_line(path("train", 5), Consolidation="1.0"),
        _chexpert_line(path("train", 6), No_Finding="1.0"),
    ]
    valid = [_chexpert_line(path("valid", 64541), No_Finding="1.0", Pneumonia="0.0")]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train.csv", lines), ("valid.csv", valid)):
        (folder / name).write_text("\n".join([CHEXPERT_HEADER, *rows]) + "\n")
        for number, row in enumerate(rows[:6]):
            place = row.split(",")[0]
            _png(folder / (place if inside else place.split("/", 1)[1]), number)
    return folder


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("outer", ["CheXpert-v1.0-small", "CheXpert-v1.0"])
def test_chexpert(tmp_path, outer, inside):
    manifest = load_manifest(_chexpert(tmp_path / "set", outer, inside=inside))
    assert (manifest.layout, manifest.site_names) == ("chexpert", ("chexpert",))
    base = f"{outer}/" if inside else ""
    assert [(f.path, f.label, f.split, f.patient_id, f.view, f.age) for f in manifest.films] == [
        (f"{base}train/patient00002/study1/view1_frontal.jpg", 0, "train", "patient00002", "PA", 68.0),
        (f"{base}train/patient00001/study1/view1_frontal.jpg", 1, "train", "patient00001", "AP", 68.0),
        (f"{base}valid/patient64541/study1/view1_frontal.jpg", 0, "val", "patient64541", "AP", 68.0),
    ]
    assert manifest.notes == (
        "1 film of another view than frontal left out.",
        "1 film of the tables without a file left out.",
        "1 film of uncertain Pneumonia left out.",
        "2 films with other findings than Pneumonia left out.",
    )
    assert not open_cache(manifest, size=16, folder=tmp_path / "cache", workers=1).refused


def test_chexpert_with_findings_of_ones_choice(tmp_path):
    manifest = load_sites(f"{_chexpert(tmp_path)}#Pneumonia,Consolidation")
    assert Counter(film.label for film in manifest.films) == {1: 2, 0: 2}


def test_chexpert_with_a_word_in_a_cell_or_without_films(tmp_path):
    _chexpert(tmp_path)
    table = tmp_path / "train.csv"
    table.write_text(table.read_text().replace("-1.0", "maybe"))
    with pytest.raises(LayoutError, match="column Pneumonia: 'maybe'"):
        load_manifest(tmp_path)
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(LayoutError, match="none of the first films"):
        load_manifest(tmp_path)


def test_a_train_csv_of_another_kind_is_none_of_theirs(tmp_path):
    _png(tmp_path / "train/NORMAL/a.png")
    (tmp_path / "train.csv").write_bytes(b"\x00\xff,Path\n")
    assert load_manifest(tmp_path).layout == "folder"


def test_published_sets_beside_each_other(tmp_path):
    manifest = load_sites(
        [_nih(tmp_path / "a"), _rsna(tmp_path / "b", classes=True), f"mine={_chexpert(tmp_path / 'c')}"]
    )
    assert manifest.site_names == ("mine", "nih-chestxray14", "rsna-pneumonia")
    assert {film.path.split("/")[0] for film in manifest.films} == set(manifest.site_names)
    assert set(load_sites(f"here={tmp_path / 'a'}").sites) == {"here"}


def test_the_tables_of_published_sets_are_the_stored_ones(tmp_path):
    sources = {
        "nih": load_manifest(_nih(tmp_path / "nih", parts=True)),
        "nih, findings": load_manifest(_nih(tmp_path / "nih2"), findings=("consolidation", "Mass")),
        "rsna": load_manifest(_rsna(tmp_path / "rsna", classes=False)),
        "rsna, readings": load_manifest(_rsna(tmp_path / "rsna2", classes=True), findings=("reading",)),
        "chexpert": load_manifest(_chexpert(tmp_path / "chexpert")),
    }
    sources["sites"] = load_sites(
        [f"b={tmp_path / 'rsna2'}", tmp_path / "nih", f"{tmp_path / 'chexpert'}#Edema"]
    )
    assert_as_stored(
        "published sets", {name: digest(table_of(each)) for name, each in sources.items()}, everywhere=True
    )
