"""The evaluation folder: its tables, its numbers, and a page that opens offline and trusts no name."""

import csv
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score

from pneumoscan.errors import FilmDamagedError, NotWritableError, UsageError
from pneumoscan.evaluate.films import EvaluatedSplit
from pneumoscan.evaluate.report import PUBLISHED, most_wrong, write_evaluation

HOSTILE = "test/NORMAL/<img src=https://evil.example onerror=alert(1)>\"'&$title\udcff.jpeg"


class Page(HTMLParser):
    """Collects tags, their attributes and the text; complains about tags that do not match."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def quick_graphs(monkeypatch):
    """Leave the drawing out where the test looks at something else."""
    names = ("precision_recall", "threshold", "confusion", "roc", "reliability")
    monkeypatch.setattr(
        "pneumoscan.evaluate.report._write_graphs", lambda *_: dict.fromkeys(names, b"<svg/>")
    )


@pytest.fixture
def evaluated(make_outcome, draw_film):
    y_true, y_prob = make_outcome(60, gap=0.8)
    worst = int(np.argmax(y_prob * (y_true == 0)))
    paths = [f"test/film{index}.jpeg" for index in range(60)]
    paths[worst] = HOSTILE
    return EvaluatedSplit(
        model="tiny <model>",
        split="test",
        y_true=y_true,
        y_prob=y_prob,
        paths=tuple(paths),
        patient_ids=tuple(f"p{index // 2}" for index in range(60)),
        threshold=0.45,
        threshold_source="best_f1: on held-out films",
        refused=(("test/<bad>.jpeg", "film.damaged", "It is <broken>."),),
        operating_points={"best_f1": {"threshold": 0.45, "source": "val <here>"}},
        cautions=("Take <care>.",),
        thumbnail=lambda index: draw_film(np.random.default_rng(index), (64, 80)),
        command="pneumoscan evaluate <x>",
        n_bootstrap=40,
    )


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_folder_holds_what_the_design_names(evaluated, tmp_path):
    metrics = write_evaluation(tmp_path / "out", evaluated)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "metrics.json", "thresholds.csv", "predictions.csv", "refused.csv", "report.html",
        *(f"{name}.{suffix}" for suffix in ("svg", "png")
          for name in ("precision_recall", "threshold", "confusion", "roc", "reliability", "risk_coverage")),
    }  # fmt: skip
    values = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert values == json.loads(json.dumps({"model": "tiny <model>", **metrics.to_json()}))
    assert (values["n"], values["n_patients"], values["n_refused"]) == (60, 30, 1)
    assert any("one film is 1.67 points" in text for text in values["cautions"])


@pytest.mark.usefixtures("quick_graphs")
def test_the_tables_are_the_arrays(evaluated, tmp_path):
    write_evaluation(tmp_path, evaluated)
    header, *rows = rows_of(tmp_path / "predictions.csv")
    assert header[:4] == ["path", "patient_id", "y_true", "probability"]
    assert [float(row[3]) for row in rows] == evaluated.y_prob.tolist()
    assert [int(row[2]) for row in rows] == evaluated.y_true.tolist()
    header, *rows = rows_of(tmp_path / "thresholds.csv")
    assert header == ["threshold", "precision", "recall", "f1", "accuracy"]
    assert [row[0] for row in rows] == [f"{percent / 100:.2f}" for percent in range(10, 91, 5)]
    for row in rows:
        called = evaluated.y_prob >= float(row[0])
        assert float(row[1]) == pytest.approx(precision_score(evaluated.y_true, called))
        assert float(row[3]) == pytest.approx(f1_score(evaluated.y_true, called))
    assert rows_of(tmp_path / "refused.csv")[1][0] == "test/<bad>.jpeg"


def test_the_page_parses_and_asks_for_nothing_from_elsewhere(evaluated, tmp_path):
    write_evaluation(tmp_path, evaluated)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object", "base", "a"} & set(names)
    sources = [values["src"] for _, values in page.tags if "src" in values]
    assert len(sources) >= 6
    assert all(source.startswith("data:image/") for source in sources)
    policy = next(values["content"] for tag, values in page.tags if values.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert all("alt" in values for tag, values in page.tags if tag == "img")
    style = (tmp_path / "report.html").read_text().split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.usefixtures("quick_graphs")
def test_names_from_files_are_text_and_nothing_else(evaluated, tmp_path):
    write_evaluation(tmp_path, evaluated)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not any("onerror" in values for _, values in page.tags)
    told = "".join(page.text)
    for hostile in (
        "<img src=https://evil.example onerror=alert(1)>\"'&$title\\udcff",
        "tiny <model>",
        "It is <broken>.",
    ):
        assert hostile in told
    for hostile in ("Take <care>.", "val <here>", "pneumoscan evaluate <x>"):
        assert hostile in told


@pytest.mark.usefixtures("quick_graphs")
def test_the_page_tells_figures_and_cautions(evaluated, tmp_path):
    metrics = write_evaluation(tmp_path, evaluated)
    told = "".join(Page((tmp_path / "report.html").read_text()).text)
    counts = metrics.confusion
    assert f"the model finds {counts.tp} of {counts.tp + counts.fn} films with pneumonia" in told
    assert told.index("Take <care>.") < told.index("Accuracy")
    assert f"{100 * metrics.accuracy:.1f}%" in told
    assert told.count("best F1") == 1


@pytest.mark.usefixtures("quick_graphs")
def test_published_results_stand_beside_the_official_test_split_only(evaluated, tmp_path):
    def told(split, n, n_positive):
        outcome = np.r_[np.ones(n_positive, dtype=np.int64), np.zeros(n - n_positive, dtype=np.int64)]
        films = tuple(f"film{index}.jpeg" for index in range(n))
        write_evaluation(
            tmp_path,
            replace(
                evaluated,
                split=split,
                y_true=outcome,
                y_prob=np.linspace(1, 0, n),
                paths=films,
                patient_ids=films,
            ),
        )
        return "".join(Page((tmp_path / "report.html").read_text()).text)

    page = told("test", 624, 390)
    for one in PUBLISHED:
        assert f"{one.model}{100 * one.accuracy:.1f}%" in page
    assert PUBLISHED[0].model not in told("test", 623, 390)
    assert PUBLISHED[0].model not in told("val", 624, 390)


def test_a_second_evaluation_gives_the_same_bytes(evaluated, tmp_path):
    write_evaluation(tmp_path / "a", evaluated)
    write_evaluation(tmp_path / "b", evaluated)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.usefixtures("quick_graphs")
def test_a_list_of_refused_films_does_not_outlive_them(evaluated, tmp_path):
    write_evaluation(tmp_path, evaluated)
    write_evaluation(tmp_path, replace(evaluated, refused=()))
    assert not (tmp_path / "refused.csv").exists()


@pytest.mark.parametrize("label", [0, 1])
def test_one_film_of_one_class_still_gets_its_report(label, tmp_path):
    one = EvaluatedSplit(
        "m", "val", np.array([label]), np.array([0.7]), ("x.png",), ("p",), 0.5, "fixed", n_bootstrap=10
    )
    metrics = write_evaluation(tmp_path, one)
    assert metrics.roc_auc is None
    assert json.loads((tmp_path / "metrics.json").read_text())["roc_auc"] is None
    assert "there is no ROC curve" in "".join(Page((tmp_path / "report.html").read_text()).text)


@pytest.mark.usefixtures("quick_graphs")
def test_a_film_that_is_gone_gets_a_placeholder(evaluated, tmp_path):
    def gone(index):
        raise FilmDamagedError("gone")

    write_evaluation(tmp_path, replace(evaluated, thumbnail=gone))
    assert "can no longer be read" in (tmp_path / "report.html").read_text()


def test_most_wrong_shows_both_kinds_the_surest_first(evaluated):
    y_true = np.array([0] * 20 + [1] * 5)
    y_prob = np.r_[np.linspace(0.9, 0.99, 20), 0.3, 0.4, 0.35, 0.1, 0.9]
    shown = most_wrong(
        replace(evaluated, y_true=y_true, y_prob=y_prob, paths=("x",) * 25, patient_ids=("p",) * 25), 0.5
    )
    assert len(shown) == 12
    assert shown[:8] == [19, 18, 17, 16, 15, 14, 13, 12]
    assert shown[8:] == [23, 20, 22, 21]


def test_lengths_that_differ_are_refused(evaluated):
    with pytest.raises(UsageError, match="60 labels"):
        replace(evaluated, paths=("x",))


def test_a_file_where_the_folder_should_be_is_a_typed_error(evaluated, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(NotWritableError):
        write_evaluation(tmp_path / "out", evaluated)
    assert (tmp_path / "out").read_text() == "mine"
