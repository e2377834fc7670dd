"""The phantom: does a film look the same everywhere, does its label hide in the lungs only, is a set whole."""

import shutil
import subprocess
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from stored import assert_as_stored, digest

from pneumoscan.errors import MissingDependencyError, UsageError
from pneumoscan.imaging import read
from pneumoscan.phantom import (
    PhantomFilm,
    PlannedFilm,
    cause_of,
    draw_film,
    film_size,
    plan_phantom_set,
    write_new_films,
    write_phantom_set,
)

SMALL = {"patients": 24, "seed": 3, "side": 64, "workers": 1}


def test_the_same_arguments_draw_the_same_film() -> None:
    first = draw_film(7, 1, label=1, size=(96, 110), seed=2)
    assert first.dtype == np.uint8
    assert first.shape == (96, 110)
    np.testing.assert_array_equal(first, draw_film(7, 1, label=1, size=(96, 110), seed=2))


@pytest.mark.parametrize(
    ("patient_seed", "film_number", "label", "seed"), [(8, 1, 1, 2), (7, 2, 1, 2), (7, 1, 0, 2), (7, 1, 1, 3)]
)
def test_every_argument_changes_the_film(patient_seed: int, film_number: int, label: int, seed: int) -> None:
    first = draw_film(7, 1, label=1, size=(96, 110), seed=2)
    other = draw_film(patient_seed, film_number, label=label, size=(96, 110), seed=seed)
    assert np.abs(first.astype(int) - other).max() > 20


def test_a_film_has_its_own_size_near_the_side_that_is_asked_for() -> None:
    sizes = [film_size(patient, 0, side=200) for patient in range(40)]
    assert draw_film(3, 0, label=0).shape == film_size(3, 0)
    assert all(165 <= max(size) <= 235 for size in sizes)
    aspects = [width / height for height, width in sizes]
    assert min(aspects) < 1.1
    assert max(aspects) > 1.3


def test_disease_changes_the_lungs_and_not_the_border() -> None:
    inner, frame = [], []
    for patient in range(24):
        healthy = draw_film(patient, 0, label=0, size=(120, 130)).astype(int)
        sick = draw_film(patient, 0, label=1, size=(120, 130)).astype(int)
        change = np.abs(sick - healthy)
        inner.append(np.percentile(change[20:-20, 20:-20], 98))
        change[8:-8, 8:-8] = 0
        frame.append(change.max())
    assert min(inner) > 12, "a pneumonia that nobody can see"
    assert np.median(inner) > 30
    assert np.median(frame) <= 3


def test_both_causes_are_drawn() -> None:
    causes = [cause_of(patient) for patient in range(200)]
    assert 0.5 < causes.count("bacteria") / 200 < 0.8
    assert set(causes) == {"bacteria", "virus"}


def _thumbnail_and_frame(plan: PlannedFilm) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    image = Image.fromarray(plan.draw().pixels).resize((200, 200), Image.Resampling.BILINEAR)
    frame = np.ones((200, 200), bool)  # every fourth of its pixels is enough, and quicker
    frame[12:-12, 12:-12] = False
    thumbnail = np.asarray(image.resize((20, 20), Image.Resampling.BOX), dtype=float)
    return thumbnail.ravel(), np.asarray(image, dtype=float)[frame][::4]


def _logistic_auc(features: npt.NDArray[np.float64], y_true: list[int], patients: list[int]) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with threadpool_limits(1):
        y_prob = cross_val_predict(
            model, features, y_true, groups=patients, cv=GroupKFold(5), method="predict_proba"
        )
    return float(roc_auc_score(y_true, y_prob[:, 1]))


def test_label_is_told_neither_by_brightness_nor_by_the_border() -> None:
    plan = [
        film for film in plan_phantom_set(patients=240, seed=11, side=90) if not film.path.startswith("val")
    ][:430]
    thumbnails, frames = zip(*map(_thumbnail_and_frame, plan), strict=True)
    y_true, patients = [film.label for film in plan], [film.patient_seed for film in plan]
    assert _logistic_auc(np.array(thumbnails), y_true, patients) < 0.75
    assert _logistic_auc(np.array(frames), y_true, patients) < 0.75
    means = [float(thumbnail.mean()) for thumbnail in thumbnails]
    assert 0.3 < _logistic_auc(np.array(means)[:, None], y_true, patients) < 0.65


def test_patients_are_in_one_split_each_and_shares_are_those_of_the_real_set() -> None:
    plan = plan_phantom_set()
    paths = [film.path for film in plan]
    assert len(set(paths)) == len(paths)
    by_split = {split: [f for f in plan if f.path.startswith(split)] for split in ("train", "val", "test")}
    chests = [{film.patient_seed for film in films} for films in by_split.values()]
    names = [{film.patient_id for film in films} for films in by_split.values()]
    for sets in (chests, names):
        assert len(set.union(*sets)) == sum(len(members) for members in sets)
    share = {split: np.mean([film.label for film in films]) for split, films in by_split.items()}
    assert 800 <= len(plan) <= 950
    assert len(by_split["val"]) == 16
    assert 0.6 <= share["train"] <= 0.75
    assert share["val"] == 0.5
    assert 0.55 <= share["test"] <= 0.7


def test_names_tell_class_patient_and_cause() -> None:
    for film in plan_phantom_set(patients=60):
        folder, name = film.path.split("/")[1:]
        assert folder == ("PNEUMONIA" if film.label else "NORMAL")
        assert name.startswith(film.patient_id)
        assert film.cause == (cause_of(film.patient_seed) if film.label else None)
        assert film.cause is None or f"_{film.cause}_" in name


def test_a_set_is_written_whole_and_says_that_it_is_synthetic(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    count = write_phantom_set(
        tmp_path / "set", progress=lambda done, total: seen.append((done, total)), **SMALL
    )
    files = sorted((tmp_path / "set").rglob("*.jpeg"))
    assert count == len(files)
    assert seen[-1] == (count, count)
    assert "SYNTHETIC" in (tmp_path / "set" / "SYNTHETIC.txt").read_text()
    for file in files:
        read(file)
        with Image.open(file) as image:
            assert image.info["comment"] == b"pneumoscan phantom: synthetic, not a patient"
            assert image.getexif()[270] == "pneumoscan phantom: synthetic, not a patient"
    # Its traps: copies, and films in colour.
    files = list((tmp_path / "set" / "train").rglob("*.jpeg"))
    modes = [read(file).mode for file in files]
    assert len(files) - len({file.read_bytes() for file in files}) == 3
    assert modes.count("RGB") in range(3, 7)


def test_the_words_that_name_a_film_synthetic_are_the_same_in_both_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import pneumoscan.phantom.rendering as drawing

    written = [draw_film(4, 0, label=label, size=(200, 220)).astype(int) for label in (0, 1)]
    monkeypatch.setattr(drawing, "_write_note", lambda *_: None)
    bare = [draw_film(4, 0, label=label, size=(200, 220)).astype(int) for label in (0, 1)]
    places = [np.abs(a - b) > 40 for a, b in zip(written, bare, strict=True)]
    assert places[0].sum() > 100
    assert (places[0] != places[1]).mean() < 0.001


def test_a_killed_run_is_completed_and_whole_films_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_phantom_set(folder, **SMALL)
    wanted = {file: file.read_bytes() for file in folder.rglob("*.jpeg")}
    kept, torn, lost = sorted(wanted)[:3]
    torn.write_bytes(wanted[torn][:100])
    lost.unlink()
    before = kept.stat().st_mtime_ns
    write_phantom_set(folder, **SMALL)
    assert {file: file.read_bytes() for file in folder.rglob("*.jpeg")} == wanted
    assert kept.stat().st_mtime_ns == before


def test_a_run_that_ends_in_the_middle_leaves_only_whole_films(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        if done > total // 3:
            raise Killed

    folder = tmp_path / "set"
    with pytest.raises(Killed):
        write_phantom_set(folder, progress=stop, **SMALL)
    for file in folder.rglob("*.jpeg"):
        read(file)
    assert 0 < len(list(folder.rglob("*.jpeg"))) < write_phantom_set(folder, **SMALL)


def test_processes_write_what_one_process_writes(tmp_path: Path) -> None:
    write_phantom_set(tmp_path / "one", **SMALL)
    write_phantom_set(tmp_path / "two", **{**SMALL, "workers": 2})
    one, two = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two


def test_other_folders_are_never_mixed_with_a_set(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty"):
        write_phantom_set(tmp_path / "mine", **SMALL)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    write_new_films(tmp_path / "new", count=1, side=64)
    with pytest.raises(UsageError, match="another synthetic set"):
        write_phantom_set(tmp_path / "new", **SMALL)


@pytest.mark.parametrize("wrong", [{"patients": 5}, {"side": 20}])
def test_a_set_that_is_too_small_is_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="too small"):
        write_phantom_set(tmp_path / "set", **{**SMALL, **wrong})
    assert not (tmp_path / "set").exists()


def test_new_films_are_of_nobody_in_the_set(tmp_path: Path) -> None:
    paths = write_new_films(tmp_path / "new", count=3, side=96)
    assert [path.name for path in paths] == ["film-01.jpeg", "film-02.jpeg", "film-03.jpeg"]
    assert write_new_films(tmp_path / "new", count=3, side=96) == paths
    assert all(max(read(path).pixels.shape) <= 112 for path in paths)


def test_a_planned_film_is_drawn_with_its_facts() -> None:
    planned = next(film for film in plan_phantom_set(patients=24, side=64) if film.label)
    film = planned.draw()
    assert isinstance(film, PhantomFilm)
    assert (film.label, film.cause, film.path) == (1, planned.cause, planned.path)


def test_dicom_films_are_those_of_the_set_and_say_that_they_are_synthetic(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom", reason="the extra `node` is not installed")
    day = date(2026, 3, 4)
    count = write_phantom_set(tmp_path / "a", patients=24, side=64, workers=1, study_date=day)
    paths = sorted((tmp_path / "a").rglob("*.dcm"))
    assert len(paths) == count
    assert not list((tmp_path / "a").rglob("*.jpeg"))
    films = [pydicom.dcmread(path) for path in paths]
    assert {film.StudyDate for film in films} == {"20260304"}
    assert {film.Modality for film in films} == {"CR"}
    assert all("synthetic" in film.ImageComments for film in films)
    for uid in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "AccessionNumber"):
        assert len({film[uid].value for film in films}) == count
    plan = {film.path: film for film in plan_phantom_set(patients=24, side=64)}
    for path in paths[:3]:
        planned = plan[path.relative_to(tmp_path / "a").with_suffix(".jpeg").as_posix()]
        assert (read(path).pixels == planned.draw().pixels).all()
    # The same set again is the same; a part that is missing is made.
    before = [path.read_bytes() for path in paths]
    paths[0].unlink()
    write_phantom_set(tmp_path / "a", patients=24, side=64, workers=1, study_date=day)
    assert [path.read_bytes() for path in paths] == before
    with pytest.raises(UsageError):
        write_phantom_set(tmp_path / "a", patients=24, side=64, workers=1)


def test_dicom_films_without_pydicom_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pneumoscan.errors.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="pydicom"):
        write_phantom_set(tmp_path / "a", patients=24, side=64, workers=1, study_date=date(2026, 3, 4))
    assert not (tmp_path / "a").exists()


def test_a_dicom_film_is_a_valid_computed_radiograph(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="the extra `node` is not installed")
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy is not installed")
    from pneumoscan.phantom.rendering import encode_dicom

    pixels = np.arange(64 * 65, dtype=np.uint32).reshape(64, 65).astype(np.uint8)
    film = tmp_path / "film.dcm"
    film.write_bytes(
        encode_dicom(
            pixels, identity="1", patient_id="IM-1", study_date=date(2026, 3, 4), comment="synthetic"
        )
    )
    done = subprocess.run([validator, film], capture_output=True, text=True, check=False)
    assert "Error" not in done.stderr + done.stdout


def test_films_and_sets_are_the_stored_ones(tmp_path) -> None:
    write_phantom_set(tmp_path / "set", **SMALL)
    write_phantom_set(tmp_path / "dicom", **SMALL, study_date=date(2020, 2, 3))
    write_new_films(tmp_path / "new", count=4, side=64)
    films = {
        name: digest(
            [
                [str(path.relative_to(tmp_path)), digest(path.read_bytes())]
                for path in sorted((tmp_path / name).rglob("*.*"))
            ]
        )
        for name in ("set", "dicom", "new")
    }
    drawn = [draw_film(patient, 1, label=patient % 2, size=(150, 160)).tobytes() for patient in range(4)]
    assert_as_stored("phantom", films | {"drawn": [digest(film) for film in drawn]})
