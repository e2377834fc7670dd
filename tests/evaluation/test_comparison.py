"""Scores in files of several kinds, matched to the films, and the folder of a comparison."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pneumoscan.cli import app
from pneumoscan.errors import LayoutError, NothingUsableError, UsageError
from pneumoscan.evaluate.comparison import compare
from pneumoscan.evaluate.scores import read_scores

FILMS = [f"films/{name}.png" for name in "abcdefgh"]
TRUTH = [0, 0, 0, 0, 1, 1, 1, 1]
FIRST = [0.1, 0.2, 0.7, 0.3, 0.9, 0.4, 0.8, 0.6]
SECOND = [0.2, 0.1, 0.3, 0.4, 0.8, 0.7, 0.9, 0.3]


@pytest.fixture(autouse=True)
def quick_graph(monkeypatch):
    monkeypatch.setattr("pneumoscan.evaluate.comparison.save_figure", lambda *_: b"<svg/>")


def table(path, rows, header=("path", "y_true", "patient_id", "probability")):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def two(tmp_path):
    """Two files as `evaluate` writes them, the first beside its metrics."""
    first = table(tmp_path / "one/predictions.csv", zip(FILMS, TRUTH, "abcdefgh", FIRST, strict=True))
    (tmp_path / "one/metrics.json").write_text(
        json.dumps({"threshold": 0.65, "threshold_source": "balanced"})
    )
    return first, table(tmp_path / "two/predictions.csv", zip(FILMS, TRUTH, "abcdefgh", SECOND, strict=True))


@pytest.fixture
def films(tmp_path):
    """The films of `FILMS` in a table, labelled, of the split test."""
    folder = tmp_path / "set"
    (folder / "films").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for path in FILMS:
        Image.fromarray(rng.integers(0, 255, (200, 200), dtype=np.uint8)).save(folder / path)
    rows = [(path, label, "test") for path, label in zip(FILMS, TRUTH, strict=True)]
    return table(folder / "films.csv", rows, ("path", "label", "split"))


def test_two_files_of_evaluate_need_no_films(two, tmp_path):
    found = compare(*two, out=tmp_path / "out")
    told = json.loads((tmp_path / "out/comparison.json").read_text())
    assert told == json.loads(json.dumps(found.to_json()))
    assert (told["a"]["name"], told["b"]["name"]) == ("one", "two")
    assert (told["threshold_a"], told["threshold_b"]) == (0.65, 0.5)
    assert told["rates"]["sensitivity"]["a"] == 0.5
    assert told["rates"]["sensitivity"]["b"] == 0.75
    with (tmp_path / "out/films.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert (rows["films/f.png"]["label_a"], rows["films/f.png"]["label_b"]) == ("NORMAL", "PNEUMONIA")
    assert (rows["films/f.png"]["right"], rows["films/h.png"]["right"]) == ("b", "neither")
    page = (tmp_path / "out/report.html").read_text()
    assert "No detectable difference" in page
    assert "give the films with --data" in page


def test_any_csv_with_path_and_score_is_matched_to_the_films(films, tmp_path):
    one = table(
        tmp_path / "one.csv",
        [(f"/data/set/{path}", prob) for path, prob in zip(FILMS, FIRST, strict=True)],
        ("Image", "My Score"),
    )
    # The second file has no column of this name, but a known one.
    two = table(tmp_path / "two.csv", zip(FILMS, SECOND, strict=True), ("filename", "prob"))
    found = compare(one, two, films, out=tmp_path / "out", score="my score")
    assert found.paired.n == 8
    assert found.y_prob.tolist() == [FIRST, SECOND]
    assert "Only 8 films: a small difference cannot be detected." in found.cautions
    assert any("last parts of their paths" in text for text in found.cautions)
    assert (tmp_path / "out/report.html").read_text().count("data:image/jpeg") == 3


def test_published_predictions_of_medmnist_are_numbered_films(tmp_path):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 30)
    np.savez(
        tmp_path / "pneumoniamnist.npz",
        test_images=rng.integers(0, 255, (30, 28, 28), dtype=np.uint8),
        test_labels=truth[:, None].astype(np.uint8),
    )
    scores = np.clip(truth * 0.5 + rng.random(30) * 0.5, 0, 1)
    one = tmp_path / "pneumoniamnist_test_[AUC]0.991_[ACC]0.946@autokeras_1.csv"
    one.write_text("".join(f"{number},{1 - prob},{prob}\n" for number, prob in enumerate(scores)))
    two = tmp_path / "pneumoniamnist_test_[AUC]0.956_[ACC]0.864@resnet18_28_1.csv"
    two.write_text("".join(f"{number},{prob}\n" for number, prob in enumerate(rng.random(30))))
    found = compare(one, two, tmp_path / "pneumoniamnist.npz", out=tmp_path / "out")
    assert (found.paired.n, found.paired.n_positive) == (30, truth.sum())
    assert found.paired.area.roc_auc_a == 1.0
    assert found.y_prob[0][list(found.paths).index("pneumoniamnist.npz#test/7")] == scores[7]
    with pytest.raises(UsageError, match="true labels"):
        compare(one, two, out=tmp_path / "out")


def test_different_films_are_an_error_or_left_out_on_demand(two, films, tmp_path):
    short = table(tmp_path / "short.csv", zip(FILMS[:6], FIRST[:6], strict=True), ("path", "score"))
    with pytest.raises(UsageError, match=r"2 of 8 films have no score in .*short.csv, such as films/g.png"):
        compare(short, two[1], films, out=tmp_path / "out")
    found = compare(short, two[1], films, out=tmp_path / "out", common=True)
    assert found.paired.n == 6
    assert any("2 of 8 films have no score" in text for text in found.cautions)
    other = table(tmp_path / "other.csv", [("x.png", 0.5)], ("path", "score"))
    with pytest.raises(NothingUsableError, match=r"'x\.png'"):
        compare(other, two[1], films, out=tmp_path / "out", common=True)


def test_missing_scores_count_as_missing_films(two, tmp_path):
    rows = [("path", "status", "probability", "label"), (FILMS[0], "ok", "", "NOT_A_CHEST_FILM")]
    one = table(
        tmp_path / "rows.csv",
        [rows[1], *((path, "ok", prob, "") for path, prob in zip(FILMS[1:], FIRST[1:], strict=True))],
        rows[0],
    )
    with pytest.raises(UsageError, match="1 film has no score"):
        compare(one, two[1], out=tmp_path / "out")
    found = compare(one, two[1], out=tmp_path / "out", common=True)
    assert FILMS[0] not in found.paths


def test_logits_are_an_error_unless_they_are_said_to_be(two, tmp_path):
    logits = table(
        tmp_path / "logits.csv",
        [(path, np.log(p / (1 - p))) for path, p in zip(FILMS, FIRST, strict=True)],
        ("path", "score"),
    )
    with pytest.raises(UsageError, match=r"outside of 0 to 1 .*of 8"):
        compare(logits, two[1], out=tmp_path / "out")
    found = compare(logits, two[1], out=tmp_path / "out", logits=True)
    assert found.y_prob[0] == pytest.approx(FIRST)
    assert any("sigmoid" in text for text in found.cautions)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("path,score\na.png,0.5\na.png,0.6\n", ["line 3", "listed twice"]),
        ("path,score\n,0.5\n", ["line 2", "no path"]),
        ("path,score\na.png,high\n", ["line 2", "'high'"]),
        ("path,value\na.png,0.5\n", ["no column of a score", "path, value"]),
        ("name,score\na.png,0.5\n", ["no column of a path"]),
        ("path,score,y_true\na.png,0.5,2\n", ["line 2", "y_true"]),
        ("path,score\na.png,\n", ["no film with a score"]),
        ("", ["no column"]),
        ("0,0.5\n0,0.6\n", ["line 2", "film 0"]),
        ("0,0.5\n1.5,0.6\n", ["line 2", "not a number of a film"]),
        ("0,0.2,0.3,0.5\n", ["line 1"]),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, text, names):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(LayoutError) as problem:
        read_scores(tmp_path / "scores.csv")
    for name in ("scores.csv", *names):
        assert name in str(problem.value)
    with pytest.raises(LayoutError, match="cannot be read"):
        read_scores(tmp_path / "none.csv")


def test_labels_that_disagree_are_an_error(two, tmp_path):
    other = table(tmp_path / "other.csv", zip(FILMS, [1, *TRUTH[1:]], "abcdefgh", SECOND, strict=True))
    with pytest.raises(UsageError, match=r"films/a\.png is NORMAL in"):
        compare(two[0], other, out=tmp_path / "out")


def test_the_command_prints_the_verdict(two, tmp_path):
    done = CliRunner().invoke(app, ["compare", *map(str, two), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "No detectable difference in how one and two rank the films" in done.output
    assert "threshold 0.65 (that of the evaluation: balanced)" in done.output


def test_a_model_needs_films(two, tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/model.json").write_text("{}")
    with pytest.raises(UsageError, match="needs films"):
        compare(tmp_path / "bundle", two[0], out=tmp_path / "out")
