"""The inspection finds what was planted, and nothing else."""

import io
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stored import assert_as_stored, digest

from pneumoscan import audit as audit_package
from pneumoscan.audit import inspect, summary_lines, write_inspection
from pneumoscan.audit.duplicates import MIN_CORRELATION, unit_detail
from pneumoscan.audit.inspection import diverging
from pneumoscan.audit.scan import scan
from pneumoscan.audit.shortcuts import shortcuts_of
from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.manifest import SPLITS, FilmRecord, Manifest
from pneumoscan.errors import MissingDependencyError, NothingUsableError


def _picture(seed: int, size: tuple[int, int] = (96, 112)) -> np.ndarray:
    """Smooth blobs of many sizes: as different from one another as films of different people."""
    rng = np.random.default_rng(seed)
    total = np.zeros(size)
    for cells in (4, 9, 20, 40):
        coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
        total += np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    low, high = total.min(), total.max()
    return (20 + 215 * (total - low) / (high - low)).astype(np.uint8)


def _save(root: Path, path: str, pixels: np.ndarray, quality: int = 95) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / path, format="JPEG", quality=quality)


def _manifest(root: Path, rows: Sequence[tuple[str, str]]) -> Manifest:
    """Make the table of (path, patient) rows whose paths are SPLIT/CLASS/NAME."""
    films = []
    for path, patient in rows:
        split, name = path.split("/")[:2]
        films.append(FilmRecord(path, CLASS_NAMES.index(name), split, patient))  # type: ignore[arg-type]
    films.sort(key=lambda film: (SPLITS.index(film.split), film.label, film.path))
    return Manifest(root, "folder", tuple(films))


@pytest.fixture
def distinct(tmp_path: Path) -> Manifest:
    """24 different films of 24 patients, two of them also numbered so in test."""
    rows = []
    for seed in range(24):
        split = "test" if seed >= 20 else "train"
        path = f"{split}/{CLASS_NAMES[seed % 2]}/film{seed:02d}.jpeg"
        _save(tmp_path, path, _picture(seed))
        rows.append((path, f"person{seed}"))
    return _manifest(tmp_path, rows)


def _with(manifest: Manifest, *rows: tuple[str, str]) -> Manifest:
    return _manifest(manifest.root, [(film.path, film.patient_id) for film in manifest.films] + list(rows))


def test_distinct_films_have_no_copies(distinct: Manifest) -> None:
    found = inspect(distinct)
    assert found.duplicates.groups == ()
    assert found.n_readable == found.n_films == 24
    assert [(s.split, s.n_films, s.films) for s in found.splits] == [
        ("train", 20, {"NORMAL": 10, "PNEUMONIA": 10}),
        ("test", 4, {"NORMAL": 2, "PNEUMONIA": 2}),
    ]


def test_planted_copies_are_found_and_nothing_else(distinct: Manifest) -> None:
    root = distinct.root
    (root / "test/NORMAL/copy.jpeg").write_bytes((root / "train/NORMAL/film00.jpeg").read_bytes())
    (root / "train/NORMAL/wrong.jpeg").write_bytes((root / "train/PNEUMONIA/film01.jpeg").read_bytes())
    _save(root, "train/NORMAL/again.jpeg", _picture(2), quality=35)
    pixels = np.asarray(Image.open(root / "train/PNEUMONIA/film03.jpeg"))
    Image.fromarray(pixels).save(root / "train/PNEUMONIA/lossless.jpeg", format="PNG")
    darker = (255 * (_picture(5) / 255) ** 1.3).astype(np.uint8)
    _save(root, "train/PNEUMONIA/smaller.jpeg", np.asarray(Image.fromarray(darker).resize((72, 64))))
    found = inspect(
        _with(
            distinct,
            ("test/NORMAL/copy.jpeg", "person0"),
            ("train/NORMAL/wrong.jpeg", "personX"),
            ("train/NORMAL/again.jpeg", "person2"),
            ("train/PNEUMONIA/lossless.jpeg", "person3"),
            ("train/PNEUMONIA/smaller.jpeg", "person5"),
        )
    )
    groups = {(g.kind, tuple(sorted(Path(f.path).stem for f in g.films))): g for g in found.duplicates.groups}
    assert set(groups) == {
        ("same_file", ("copy", "film00")),
        ("same_file", ("film01", "wrong")),
        ("same_pixels", ("film03", "lossless")),
        ("near_copy", ("again", "film02")),
        ("near_copy", ("film05", "smaller")),
    }
    across, wrong = groups["same_file", ("copy", "film00")], groups["same_file", ("film01", "wrong")]
    assert across.across_splits
    assert not across.contradictory
    assert across.same_patient
    assert wrong.contradictory
    assert not wrong.across_splits
    assert not wrong.same_patient
    assert found.duplicates.groups[0] == wrong
    assert found.duplicates.n_redundant == 3
    keys = [finding.key for finding in found.findings]
    assert {"contradictory_labels", "copies_across_splits", "copies_inside_split"} <= set(keys)


def test_near_copies_chain_into_one_group_with_their_identical_films(distinct: Manifest) -> None:
    root = distinct.root
    _save(root, "train/NORMAL/q40.jpeg", _picture(4), quality=40)
    _save(root, "test/NORMAL/q60.jpeg", _picture(4), quality=60)
    (root / "train/NORMAL/q40b.jpeg").write_bytes((root / "train/NORMAL/q40.jpeg").read_bytes())
    rows = [(f"{s}/NORMAL/{n}.jpeg", "p") for s, n in (("train", "q40"), ("test", "q60"), ("train", "q40b"))]
    groups = inspect(_with(distinct, *rows)).duplicates.groups
    assert [(g.kind, len(g.films)) for g in groups] == [("near_copy", 4), ("same_file", 2)]
    assert groups[0].across_splits
    assert MIN_CORRELATION <= groups[0].correlation < 1


def test_unit_detail_ignores_brightness_and_contrast_and_survives_flat_thumbnails() -> None:
    thumbnail = _picture(0, (64, 64)) // 2
    detail = unit_detail(np.stack([thumbnail, thumbnail + 90, np.full((64, 64), 7, np.uint8)]))
    assert detail.shape == (3, 4096)
    assert detail[0] @ detail[1] == pytest.approx(1, abs=1e-4)
    assert np.abs(detail[2]).max() == 0


def test_patients_in_more_than_one_split(distinct: Manifest) -> None:
    _save(distinct.root, "test/PNEUMONIA/more.jpeg", _picture(90))
    found = inspect(_with(distinct, ("test/PNEUMONIA/more.jpeg", "person1")))
    assert [(p.patient_id, p.films) for p in found.patients.across_splits] == [
        ("person1", {"train": 1, "test": 1})
    ]
    finding = next(f for f in found.findings if f.key == "patients_across_splits")
    assert "does not prove" in finding.text
    assert not inspect(distinct).patients.across_splits


def _shortcut_films(root: Path, *, leak: bool) -> Manifest:
    """Write 120 patients' films of noise; with a leak the frame of PNEUMONIA is a little brighter."""
    rng = np.random.default_rng(3)
    rows = []
    for patient in range(120):
        label = patient % 2
        pixels = rng.normal(110, 25, (72, 80)) + rng.normal(0, 8)
        if leak and label:
            pixels[:6] += 30
        path = f"train/{CLASS_NAMES[label]}/p{patient}.png"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / path)
        rows.append((path, f"p{patient}"))
    return _manifest(root, rows)


def test_a_leaking_border_is_found(tmp_path: Path) -> None:
    found = inspect(_shortcut_films(tmp_path, leak=True))
    border = found.shortcuts.probe("border")
    assert border is not None
    assert border.roc_auc > 0.9
    assert len(border.fold_aucs) == found.shortcuts.n_folds == 5
    assert (found.shortcuts.n_films, found.shortcuts.n_patients) == (120, 120)
    assert found.findings[0].severity == "high"
    assert "shortcut_border" in [finding.key for finding in found.findings]


def test_the_border_does_not_see_the_middle(tmp_path: Path) -> None:
    pixels = _picture(0, (200, 200))
    other = pixels.copy()
    other[12:-12, 12:-12] = 255 - other[12:-12, 12:-12]
    arrays = {"train": np.stack([pixels, other])}
    films = tuple(FilmRecord(f"set.npz#train/{i}", i, "train", f"p{i}") for i in range(2))
    seen = scan(Manifest(tmp_path / "set.npz", "npz", films, arrays=arrays))
    assert seen.border.shape == (2, 564)
    assert (seen.border[0] == seen.border[1]).all()
    assert not (seen.coarse[0] == seen.coarse[1]).all()


def test_a_border_without_a_leak_is_not(tmp_path: Path) -> None:
    found = inspect(_shortcut_films(tmp_path, leak=False))
    border, size = found.shortcuts.probe("border"), found.shortcuts.probe("image_size")
    assert border is not None
    assert size is not None
    assert border.roc_auc < 0.65
    assert size.constant
    assert size.roc_auc == 0.5
    assert "shortcut_border" not in [finding.key for finding in found.findings]


def _batches(root: Path, *, contiguous: bool) -> Manifest:
    """Write 80 numbered patients' films of noise with a view; the ill ones are the patients 20 to 59, or any."""
    ill = np.isin(
        np.arange(80), np.arange(20, 60) if contiguous else np.random.default_rng(5).permutation(80)[:40]
    )
    rng, films = np.random.default_rng(4), []
    for patient in range(80):
        label = int(ill[patient])
        path = f"train/{CLASS_NAMES[label]}/scan{patient}.png"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(60, 180, (72, 80), dtype=np.uint8)).save(root / path)
        view = "AP" if label and contiguous else "PA"
        films.append(FilmRecord(path, label, "train", f"{7000 + patient:08d}", view=view))  # type: ignore[arg-type]
    return Manifest(root, "csv", tuple(films))


def test_batches_of_patients_and_views_are_shortcuts(tmp_path: Path) -> None:
    leaking = shortcuts_of(_batches(tmp_path / "leak", contiguous=True))
    sound = shortcuts_of(_batches(tmp_path / "sound", contiguous=False))
    for name in ("patient_order", "view"):
        probe = leaking.probe(name)
        assert probe is not None
        assert probe.roc_auc > 0.9
    assert all(probe.roc_auc < 0.7 for probe in sound.probes)
    order = sound.probe("patient_order")
    assert order is not None
    assert order.roc_auc == pytest.approx(0.5, abs=0.2)


def test_patients_without_one_numbering_have_no_order(tmp_path: Path) -> None:
    films = _batches(tmp_path, contiguous=True)
    for name in ("person", ""):  # a numbering for each class; the names of the files
        renamed = [
            replace(film, patient_id=f"{name}{film.label}-{i}" if name else Path(film.path).stem)
            for i, film in enumerate(films.films)
        ]
        assert shortcuts_of(replace(films, films=tuple(renamed))).probe("patient_order") is None


def test_a_network_near_a_shortcut_is_told(tmp_path: Path) -> None:
    films = _batches(tmp_path, contiguous=True)
    for area, shown in ((0.999, False), (None, None)):
        areas = None if area is None else {"": (area, 80)}
        found = inspect(films, network="tiny", areas=areas)
        (only,) = found.comparisons
        assert only.shown is shown
        assert ("network_not_above_shortcut" in [each.key for each in found.findings]) == (shown is False)
    assert shortcuts_of(films).rival(0.4) is not None


def test_a_network_far_above_every_shortcut_is_shown(tmp_path: Path) -> None:
    found = inspect(_batches(tmp_path, contiguous=False), network="tiny", areas={"": (0.97, 80)})
    assert found.comparisons[0].shown
    assert found.comparisons[0].shortcut_auc + 0.05 == found.comparisons[0].needed_auc


def test_shortcuts_need_two_patients_a_class(tmp_path: Path) -> None:
    _save(tmp_path, "train/NORMAL/a.jpeg", _picture(1))
    _save(tmp_path, "train/PNEUMONIA/b.jpeg", _picture(2))
    found = inspect(_manifest(tmp_path, [("train/NORMAL/a.jpeg", "a"), ("train/PNEUMONIA/b.jpeg", "b")]))
    assert found.shortcuts.probes == ()
    assert "fewer than two patients" in "\n".join(summary_lines(found))


def test_one_class_alone_is_said(tmp_path: Path) -> None:
    _save(tmp_path, "train/NORMAL/a.jpeg", _picture(1))
    found = inspect(_manifest(tmp_path, [("train/NORMAL/a.jpeg", "a")]))
    assert found.shortcuts.split is None
    assert found.findings[0].key == "one_class_train"
    assert "PNEUMONIA" in found.findings[0].title
    write_inspection(tmp_path / "out", found, _manifest(tmp_path, [("train/NORMAL/a.jpeg", "a")]))


def test_bad_films_are_listed_and_stop_nothing(distinct: Manifest, tmp_path: Path) -> None:
    root = distinct.root
    whole = (root / "train/NORMAL/film00.jpeg").read_bytes()
    (root / "train/NORMAL/empty.jpeg").write_bytes(b"")
    (root / "train/NORMAL/text.jpeg").write_text("not a film")
    (root / "train/NORMAL/half.jpeg").write_bytes(whole[: len(whole) // 2])
    bad = {"empty": "film.empty", "text": "film.format", "half": "film.truncated", "gone": "film.not_found"}
    manifest = _with(distinct, *((f"train/NORMAL/{name}.jpeg", name) for name in bad))
    calls: list[tuple[int, int]] = []
    found = inspect(manifest, progress=lambda done, of: calls.append((done, of)), workers=2)
    assert {Path(film.path).stem: film.code for film in found.refused} == bad
    assert found.n_readable == 24
    assert calls == [(i, 28) for i in range(1, 29)]
    page = write_inspection(tmp_path / "out", found, manifest).read_text()
    assert "film.truncated" in page


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train/NORMAL").mkdir(parents=True)
    (tmp_path / "train/NORMAL/a.jpeg").write_bytes(b"")
    with pytest.raises(NothingUsableError, match="none of the 1 films"):
        inspect(_manifest(tmp_path, [("train/NORMAL/a.jpeg", "a")]))


def test_without_scikit_learn_the_extra_is_named(distinct: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingDependencyError, match=r"pneumoscan\[train\]"):
        inspect(distinct)


def test_json_is_whole_and_stable(distinct: Manifest, tmp_path: Path) -> None:
    found = inspect(distinct)
    page = write_inspection(tmp_path / "out", found, distinct)
    assert page == tmp_path / "out" / "inspect.html"
    assert sorted(path.name for path in page.parent.iterdir()) == ["inspect.html", "inspect.json"]
    told = json.loads((page.parent / "inspect.json").read_text())
    assert list(told) == [
        *("schema_version", "root", "layout", "class_names", "n_films", "n_readable", "n_refused", "seconds"),
        *("findings", "splits", "sizes", "patients", "refused", "duplicates", "shortcuts", "comparisons"),
        *("sites", "notes"),
    ]
    assert told["schema_version"] == 1
    assert told["splits"][0]["pneumonia_share"] == 0.5
    assert told["sizes"][0]["most_common"] == [["112x96", 24]]
    assert told["sizes"][0]["modes"] == {"L": 24}
    assert told["patients"]["histogram"]["1"] == 24


def test_hostile_names_are_escaped_and_the_page_fetches_nothing(distinct: Manifest, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>.jpeg"
    first = (distinct.root / "train/NORMAL/film00.jpeg").read_bytes()
    for split in ("train", "test"):
        (distinct.root / split / "NORMAL" / hostile).write_bytes(first)
    (distinct.root / "train/NORMAL/<b>bad&.jpeg").write_bytes(b"")
    rows = [(f"{split}/NORMAL/{hostile}", '"><script>x</script>') for split in ("train", "test")]
    manifest = _with(distinct, *rows, ("train/NORMAL/<b>bad&.jpeg", "bad"))
    page = write_inspection(tmp_path / "out", inspect(manifest), manifest).read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;.jpeg" in page
    assert "<img src=x" not in page
    assert "<script" not in page
    assert "<b>bad" not in page
    assert not re.search(r"https?:|url\((?!#)|@import|<link|<iframe", page)
    assert "Content-Security-Policy" in page
    images = re.findall(r"<img [^>]*>", page)
    assert images
    assert all('src="data:image/' in image and 'alt="' in image for image in images)


def test_pictures_of_the_page_open(distinct: Manifest, tmp_path: Path) -> None:
    import base64

    page = write_inspection(tmp_path / "out", inspect(distinct), distinct).read_text()
    pictures = re.findall(r"data:image/\w+;base64,([^\"]+)", page)
    # Two means and their difference, and all 24 films but the two over eight in each class of train.
    assert len(pictures) == 3 + 8 + 8 + 2 + 2
    for picture in pictures:
        Image.open(io.BytesIO(base64.b64decode(picture))).load()


def test_diverging_colours_are_white_at_zero_and_blue_below() -> None:
    colours = diverging(np.array([[-10.0, 0.0, 10.0]], dtype=np.float32), 10)
    assert colours.tolist() == [[[33, 102, 172], [247, 247, 247], [178, 24, 43]]]


def test_summary_fits_a_terminal(distinct: Manifest) -> None:
    lines = summary_lines(inspect(distinct))
    assert all(len(line) <= 100 and "\n" not in line for line in lines)
    assert any(re.match(r"train\s+20\s+10\s+10\s+50\.0%\s+20", line) for line in lines)
    assert not any(line.endswith("...") for line in lines)


def test_npz_films_have_no_files_but_are_inspected(tmp_path: Path) -> None:
    arrays = {"train": np.stack([_picture(seed, (28, 28)) for seed in (0, 1, 2, 3, 4, 5, 6, 0)])}
    films = tuple(FilmRecord(f"set.npz#train/{i}", i % 2, "train", f"p{i}") for i in range(8))
    found = inspect(Manifest(tmp_path / "set.npz", "npz", films, arrays=arrays))
    (group,) = found.duplicates.groups
    assert (group.kind, group.contradictory) == ("same_file", True)
    assert found.sizes[0].n_bytes.max == 0
    assert found.sizes[0].formats == {"array": 8}


def test_the_room_opens_without_scikit_learn() -> None:
    import subprocess

    code = "import sys, pneumoscan.audit; assert not {'sklearn', 'matplotlib', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert audit_package.__all__ == ["Inspection", "inspect", "summary_lines", "write_inspection"]


@pytest.mark.slow
@pytest.mark.real_films
def test_real_films_give_their_label_away(real_films: Path, tmp_path: Path) -> None:
    rows = []
    for path in sorted(real_films.glob("train/*/*.jpeg")):
        number = re.search(r"person\d+|IM-\d+", path.name)
        assert number is not None
        rows.append((path.relative_to(real_films).as_posix(), number.group()))
    manifest = _manifest(real_films, rows)
    found = inspect(manifest)
    border, thumbnail = found.shortcuts.probe("border"), found.shortcuts.probe("thumbnail")
    assert border is not None
    assert thumbnail is not None
    assert border.roc_auc == pytest.approx(0.94, abs=0.02)
    assert thumbnail.roc_auc == pytest.approx(0.98, abs=0.02)
    assert len(found.duplicates.of_kind("same_file")) == 24
    assert found.duplicates.n_redundant == 26
    assert found.duplicates.of_kind("near_copy") == ()
    assert write_inspection(tmp_path, found, manifest).stat().st_size < 3_000_000


def test_the_facts_of_an_inspection_are_the_stored_ones(distinct):
    root = distinct.root
    rows = [(film.path, film.patient_id) for film in distinct.films]
    for copy, of in (("train/NORMAL/copy.jpeg", 0), ("test/PNEUMONIA/other.jpeg", 1)):
        (root / copy).parent.mkdir(parents=True, exist_ok=True)
        (root / copy).write_bytes((root / rows[of][0]).read_bytes())
        rows.append((copy, "person99"))
    (root / "train/NORMAL/broken.jpeg").write_bytes(b"no film")
    rows.append(("train/NORMAL/broken.jpeg", "person98"))
    audit = inspect(_manifest(root, rows), network="net", areas={"": (0.7, 20)})
    facts = audit.to_json()
    del facts["root"], facts["seconds"]
    lines = [line.replace(str(root), "").replace(root.name, "") for line in summary_lines(audit)]
    assert_as_stored("inspection", {key: digest(value) for key, value in facts.items()} | {"summary": lines})
