"""The hold-out: no patient and no copy on both sides, the table's proportions, the same from the same seed."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from stored import assert_as_stored, digest

from pneumoscan.data import (
    FilmRecord,
    HoldOut,
    Manifest,
    hold_out,
    load_manifest,
    read_split_csv,
    write_split_csv,
)
from pneumoscan.errors import ConfigError, DataDamagedError, NothingUsableError


def _table(rows) -> Manifest:
    return Manifest(root=Path("/films"), layout="csv", films=tuple(rows))


def _many(n_patients=300, seed=0) -> Manifest:
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(n_patients):
        label = int(patient % 4 > 0)
        cause = (None, "bacteria", "bacteria", "virus")[patient % 4]
        rows += [
            FilmRecord(f"p{patient}/{film}.jpeg", label, "train", f"p{patient}", cause)
            for film in range(int(rng.geometric(0.5)))
        ]
    return _table(rows)


def _shares(manifest, indices):
    counts = Counter((manifest.films[i].label, manifest.films[i].cause) for i in indices)
    return {key: count / len(indices) for key, count in counts.items()}


def _assert_sound(manifest: Manifest, hold: HoldOut, fraction: float, points: float) -> None:
    assert sorted((*hold.train, *hold.val)) == list(range(len(manifest)))
    patients = manifest.patient_ids
    assert not set(patients[list(hold.train)]) & set(patients[list(hold.val)])
    assert abs(len(hold.val) / len(manifest) - fraction) < points
    whole, held = _shares(manifest, range(len(manifest))), _shares(manifest, hold.val)
    for stratum, share in whole.items():
        assert abs(held.get(stratum, 0) - share) < points


@pytest.mark.parametrize("fraction", [0.1, 0.15, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_parts_share_no_patient_and_keep_proportions(fraction, seed):
    manifest = _many()
    _assert_sound(manifest, hold_out(manifest, fraction=fraction, seed=seed), fraction, 0.02)


def test_another_seed_draws_others_and_the_same_the_same():
    manifest = _many()
    assert hold_out(manifest, seed=3) == hold_out(manifest, seed=3)
    assert hold_out(manifest, seed=3).val != hold_out(manifest, seed=4).val


def test_the_order_of_the_rows_does_not_matter():
    manifest = _many()
    mixed = manifest.take(np.random.default_rng(5).permutation(len(manifest)))
    paths = {manifest.films[i].path for i in hold_out(manifest, seed=2).val}
    assert {mixed.films[i].path for i in hold_out(mixed, seed=2).val} == paths


def test_patients_with_many_films_are_drawn_as_often_as_others():
    rows = [
        FilmRecord(f"{p}/{k}", p % 2, "train", f"p{p}")
        for p in range(100)
        for k in range(1 + 4 * (p % 10 < 2))
    ]
    manifest = _table(rows)
    drawn = [{manifest.films[i].patient_id for i in hold_out(manifest, seed=seed).val} for seed in range(60)]
    large = sum(int(p[1:]) % 10 < 2 for patients in drawn for p in patients) / sum(map(len, drawn))
    assert 0.12 < large < 0.28


def test_copies_stay_together_over_several_steps():
    rows = [FilmRecord(f"{i}.jpeg", i % 2, "train", f"p{i}") for i in range(40)]
    rows += [FilmRecord("again.jpeg", 0, "train", "p0")]
    # 0 — 2 by hash a, 2's patient is its own, 4 — again (patient p0) by hash b: 0, 2, 4, again are one group
    duplicates = {"0.jpeg": "a", "2.jpeg": "a", "4.jpeg": "b", "again.jpeg": "b", "gone.jpeg": "a"}
    for seed in range(20):
        hold = hold_out(_table(rows), fraction=0.3, seed=seed, duplicates=duplicates)
        assert len({index in hold.val for index in (0, 2, 4, 40)}) == 1


def test_small_tables_still_get_both_classes_in_both_parts():
    rows = [FilmRecord(f"{i}.jpeg", i % 2, "train", f"p{i}") for i in range(4)]
    for fraction in (0.01, 0.15, 0.99):
        hold = hold_out(_table(rows), fraction=fraction)
        for part in (hold.train, hold.val):
            assert {rows[i].label for i in part} == {0, 1}


def test_too_few_patients():
    rows = [FilmRecord(f"{i}.jpeg", 1, "train", f"p{i}") for i in range(9)]
    with pytest.raises(NothingUsableError, match="NORMAL has 0 patients"):
        hold_out(_table(rows))
    rows += [FilmRecord(f"n{i}.jpeg", 0, "train", "same") for i in range(9)]
    with pytest.raises(NothingUsableError, match="NORMAL has 1 patient,"):
        hold_out(_table(rows))


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_illegal_fractions(fraction):
    with pytest.raises(ConfigError):
        hold_out(_many(20), fraction=fraction)


def test_a_split_survives_its_file(tmp_path):
    manifest = _many(40)
    hold = hold_out(manifest, seed=9)
    write_split_csv(tmp_path / "split.csv", manifest, hold)
    assert (tmp_path / "split.csv").read_text().startswith("path,label,patient_id,part\n")
    again = read_split_csv(tmp_path / "split.csv", manifest)
    assert (again.train, again.val) == (hold.train, hold.val)
    assert again.seed == -1


def test_names_that_need_quotes_or_are_no_utf8(tmp_path):
    names = ['a,"b".jpeg', "line\nbreak.jpeg", "caf\udce9.jpeg", "ü.jpeg"]
    manifest = _table([FilmRecord(name, i % 2, "train", name) for i, name in enumerate(names)])
    hold = hold_out(manifest)
    write_split_csv(tmp_path / "split.csv", manifest, hold)
    assert read_split_csv(tmp_path / "split.csv", manifest).val == hold.val


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("p0/0.jpeg,0", "other.jpeg,0", "not among the films"),
        ("p0/0.jpeg,0", "p0/0.jpeg,1", "another label"),
        ("p0/0.jpeg,0,p0", "p0/0.jpeg,0,p9", "another label or patient"),
        (",train\n", ",test\n", "part is 'test'"),
        (",train\n", "\n", "3 cells"),
        ("path,label", "path,class", "the columns are not"),
    ],
)
def test_a_split_of_other_films_is_refused(tmp_path, old, new, words):
    manifest = _many(40)
    path = tmp_path / "split.csv"
    write_split_csv(path, manifest, hold_out(manifest))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataDamagedError, match=words):
        read_split_csv(path, manifest)


def test_a_split_with_a_patient_on_both_sides_is_refused(tmp_path):
    manifest = _table([FilmRecord(f"{i}.jpeg", i % 2, "train", f"p{i // 4}") for i in range(8)])
    write_split_csv(tmp_path / "s.csv", manifest, HoldOut((0, 1, 2, 4), (3, 5, 6, 7), 0, 0.5))
    with pytest.raises(DataDamagedError, match="patient 'p0' is in both parts"):
        read_split_csv(tmp_path / "s.csv", manifest)


def test_a_split_that_is_missing_cut_or_empty(tmp_path):
    manifest = _many(40)
    with pytest.raises(DataDamagedError, match="cannot be read"):
        read_split_csv(tmp_path / "none.csv", manifest)
    (tmp_path / "cut.csv").write_text("path,label,patient_id,part\n")
    with pytest.raises(DataDamagedError, match="a part is empty"):
        read_split_csv(tmp_path / "cut.csv", manifest)


@pytest.mark.real_films
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_real_names(real_films, seed):
    manifest = load_manifest(real_films).of_split("train")
    _assert_sound(manifest, hold_out(manifest, seed=seed), 0.15, 0.01)


def test_the_hold_out_is_the_stored_one(tmp_path):
    manifest, found = _many(), {}
    for seed, fraction, copies in ((0, 0.15, {}), (3, 0.3, {"p1/0.jpeg": "same", "p9/0.jpeg": "same"})):
        hold = hold_out(manifest, fraction=fraction, seed=seed, duplicates=copies)
        write_split_csv(tmp_path / "split.csv", manifest, hold)
        found[f"seed {seed}"] = [len(hold.val), digest((tmp_path / "split.csv").read_bytes())]
    assert_as_stored("hold-outs", found, everywhere=True)
