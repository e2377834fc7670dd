from pathlib import Path

import pytest

from pneumoscan.bundle.load import load_bundle
from pneumoscan.cli.demo import run_demo
from pneumoscan.cli.options import progress
from pneumoscan.errors import UsageError
from pneumoscan.predict.batch import predict_many
from pneumoscan.train.loop import Unobserved


def test_a_small_demo_goes_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCAN_CACHE", str(tmp_path / "cache"))
    stages: list[str] = []
    made = run_demo(
        tmp_path / "demo", patients=36, seed=0, say=stages.append, observer=Unobserved(), progress=progress
    )
    assert len(stages) == 6
    assert len(made.summary) == 10
    assert "SYNTHETIC" in made.summary[0]
    assert made.report.stat().st_size > 10_000
    for part in (
        "inspect/inspect.html",
        "run/model.safetensors",
        "run/bundle/model.onnx",
        "evaluation/metrics.json",
    ):
        assert (tmp_path / "demo" / part).is_file()
    # Whoever takes the demo's model to real films is told so, by the card and by every row.
    card = (tmp_path / "demo/run/bundle/README.md").read_text()
    assert "Trained on synthetic films" in card
    films = sorted((tmp_path / "demo/new-films").glob("*.jpeg"))
    rows = list(predict_many(load_bundle(tmp_path / "demo/run"), films, workers=1))
    assert films
    assert all("model_of_synthetic_films" in row.warnings for row in rows)


def test_a_demo_spares_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("four years")
    with pytest.raises(UsageError, match="contains files that are not of a demo"):
        run_demo(tmp_path, patients=36, seed=0, say=print, observer=Unobserved(), progress=progress)
    assert (tmp_path / "thesis.txt").read_text() == "four years"
