"""`pneumoscan predict`, as a whole process where that matters."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_bundle
import tiny_lungs
from click.testing import CliRunner
from PIL import Image

from pneumoscan.bundle import contents as pretrained
from pneumoscan.bundle.load import load_bundle
from pneumoscan.bundle.write import write_bundle
from pneumoscan.classifier import PneumoniaClassifier
from pneumoscan.cli import app
from pneumoscan.errors import BundleError, ConfigError, NothingUsableError, SelfCheckError, UsageError

COMMAND = [sys.executable, "-m", "pneumoscan", "predict"]
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PNEUMOSCAN_MODEL"}


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle.write_tiny_bundle(tmp_path / "bundle")


@pytest.fixture
def films(tmp_path, draw_film):
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(6):
        film = draw_film(np.random.default_rng(number), (60, 70))
        Image.fromarray(film).save(folder / f"{number}.png")
    return folder


@pytest.fixture(autouse=True)
def no_model_in_the_environment(monkeypatch):
    monkeypatch.delenv("PNEUMOSCAN_MODEL", raising=False)


def _invoke(*arguments, **options):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)], **options)


def _process(*arguments, **options):
    defaults = {"capture_output": True, "env": ENVIRONMENT, "timeout": 60}
    return subprocess.run([*COMMAND, *map(str, arguments)], check=False, **(defaults | options))


def _table(text):
    return list(csv.DictReader(StringIO(text, newline="")))


def test_command_and_classifier_agree_to_the_last_digit(bundle, films):
    paths = sorted(films.iterdir())
    model = PneumoniaClassifier.from_pretrained(bundle)
    expected = model.predict_proba(paths)[:, 1].tolist()
    for workers in (1, 3):
        done = _process(films, "--model", bundle, "--workers", workers)
        assert (done.returncode, done.stderr) == (0, b"")
        rows = _table(done.stdout.decode())
        assert [row["path"] for row in rows] == [str(path) for path in paths]
        assert [float(row["probability"]) for row in rows] == expected
        assert [row["label"] for row in rows] == model.predict(paths).tolist()


def test_jsonl(bundle, films):
    done = _invoke(films, "--model", bundle, "--format", "jsonl")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 6
    assert list(rows[0]) == [
        "path",
        "status",
        "probability",
        "label",
        "threshold",
        "warnings",
        "error_code",
        "error",
        "model",
    ]


def test_refused_films_are_rows_and_exit_code_3(bundle, films):
    (films / "note.txt").write_text("no film")
    done = _process(films, films / "gone.png", "--model", bundle)
    assert done.returncode == 3
    assert b"2 of 8 inputs were refused" in done.stderr
    rows = _table(done.stdout.decode())
    assert [row["status"] for row in rows] == ["ok"] * 6 + ["refused"] * 2
    assert [row["error_code"] for row in rows[6:]] == ["film.format", "film.not_found"]


@pytest.mark.parametrize("arguments", [["gone.png"], ["*.gif"]])
def test_nothing_usable_is_a_row_and_exit_code_4(bundle, arguments):
    done = _process(*arguments, "--model", bundle)
    assert done.returncode == 4
    assert [row["error_code"] for row in _table(done.stdout.decode())] == ["film.not_found"]


def test_nothing_named_is_refused_before_a_row(bundle, tmp_path):
    (tmp_path / "nothing").mkdir()
    done = _invoke(tmp_path / "nothing", "--model", bundle)
    assert isinstance(done.exception, NothingUsableError)
    assert done.stdout == ""


def test_damaged_bundle_is_exit_code_5(bundle, films, tmp_path):
    (bundle / "model.onnx").write_bytes(b"broken")
    done = _process(films, "--model", bundle, "--out", tmp_path / "rows.csv")
    assert done.returncode == 5
    assert b"model.onnx" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "rows.csv").exists()


def test_self_check_is_done(films, tmp_path):
    write_bundle(
        tmp_path / "other", onnx=tiny_bundle.make_onnx(gain=20), spec=tiny_bundle.make_spec(), readme=""
    )
    assert isinstance(_invoke(films, "--model", tmp_path / "other").exception, SelfCheckError)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--prevalence", "0", "--model", "BUNDLE"], UsageError, "--prevalence is 0"),
        (["--prevalence", "1", "--model", "BUNDLE"], UsageError, "above 0 and below 1"),
        (["--prevalence", "nan", "--model", "BUNDLE"], UsageError, "--prevalence is nan"),
        (["--resume", "--model", "BUNDLE"], UsageError, "--out"),
        (
            ["--threshold", "0.5", "--operating-point", "balanced", "--model", "BUNDLE"],
            UsageError,
            "one of them",
        ),
        (["--threshold", "nan", "--model", "BUNDLE"], UsageError, "--threshold is not a number"),
        (["--operating-point", "other", "--model", "BUNDLE"], ConfigError, "balanced, sensitive"),
        (["--model", "gone"], UsageError, "no model at gone"),
        (["--model", "FILMS"], BundleError, "model.json"),
    ],
)
def test_meant_otherwise(bundle, films, options, error, message):
    options = [{"BUNDLE": bundle, "FILMS": films}.get(option, option) for option in options]
    done = _invoke(films, *options)
    assert isinstance(done.exception, error)
    assert message in str(done.exception)
    assert not done.stdout


def test_without_a_model_the_one_of_the_package_answers(bundle, films, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "SHIPPED", bundle)
    assert _invoke(films).stdout == _invoke(films, "--model", bundle).stdout
    monkeypatch.setenv("PNEUMOSCAN_MODEL", str(tmp_path / "other"))
    assert isinstance(_invoke(films).exception, UsageError)


def test_without_any_model_it_says_what_to_name(films, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "shipped")
    done = _invoke(films)
    assert isinstance(done.exception, BundleError)
    assert "--model" in done.exception.remedy
    assert not done.stdout


def test_model_from_the_environment_and_run_folder(bundle, films, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    bundle.rename(tmp_path / "run" / "bundle")
    monkeypatch.setenv("PNEUMOSCAN_MODEL", str(tmp_path / "run"))
    assert len(_table(_invoke(films).stdout)) == 6


def test_thresholds(bundle, films):
    labels = {}
    for name, options in {"0": ["--threshold", 0], "s": ["--operating-point", "sensitive"], "b": []}.items():
        rows = _table(_invoke(films, "--model", bundle, *options).stdout)
        labels[name] = [row["label"] for row in rows]
        threshold = {"0": 0.0, "s": 0.3, "b": 0.5}[name]
        assert {float(row["threshold"]) for row in rows} == {threshold}
        assert all((float(row["probability"]) >= threshold) == (row["label"] == "PNEUMONIA") for row in rows)
    assert set(labels["0"]) == {"PNEUMONIA"}


@pytest.mark.parametrize("separator", ["\n", "\0", "\r\n"])
def test_list_on_stdin(bundle, films, separator):
    paths = [str(films / "3.png"), str(films / "gone.png"), str(films / "1.png")]
    done = _invoke("-", "--model", bundle, input=separator.join(paths).encode())
    assert done.exit_code == 3
    assert [row["path"] for row in _table(done.stdout)] == paths


def test_folders_and_patterns(bundle, films):
    (films / "deep").mkdir()
    (films / "0.png").rename(films / "deep" / "0.png")
    (films / "1.png").rename(films / ".1.png")
    names = lambda done: [Path(row["path"]).name for row in _table(done.stdout)]  # noqa: E731
    assert names(_invoke(films, "--model", bundle)) == ["2.png", "3.png", "4.png", "5.png", "0.png"]
    assert names(_invoke(films, "--no-recursive", "--model", bundle)) == ["2.png", "3.png", "4.png", "5.png"]
    assert names(_invoke(films / "[34].png", "--model", bundle)) == ["3.png", "4.png"]


def test_the_output_is_no_input(bundle, films):
    for _ in range(2):
        assert _invoke(films, "--model", bundle, "--out", films / "rows.csv").exit_code == 0
        assert len(_table((films / "rows.csv").read_text())) == 6


def test_a_film_is_never_overwritten(bundle, films):
    before = (films / "0.png").read_bytes()
    assert isinstance(_invoke(films, "--model", bundle, "--out", films / "0.png").exception, UsageError)
    assert (films / "0.png").read_bytes() == before


def test_exit_code_after_resume_is_that_of_the_whole(bundle, films, tmp_path):
    (films / "note.txt").write_text("no film")
    options = [films, "--model", bundle, "--out", tmp_path / "rows.csv", "--resume"]
    assert _invoke(*options).exit_code == 3
    whole = (tmp_path / "rows.csv").read_bytes()
    assert _invoke(*options).exit_code == 3
    assert (tmp_path / "rows.csv").read_bytes() == whole


@pytest.mark.parametrize("row_format", ["csv", "jsonl"])
def test_an_interrupted_file_is_not_overwritten(bundle, films, tmp_path, row_format):
    out = tmp_path / "rows"
    options = [films, "--model", bundle, "--out", out, "--format", row_format]
    assert _invoke(*options).exit_code == 0
    whole = out.read_bytes()
    ends = [number + 1 for number, byte in enumerate(whole) if byte == ord("\n")]
    for end in (ends[-2], ends[-3], ends[-1] - 5):
        out.write_bytes(whole[:end])
        problem = _invoke(*options).exception
        assert isinstance(problem, UsageError)
        assert "--resume" in problem.remedy
        assert out.read_bytes() == whole[:end]
        assert _invoke(*options, "--resume").exit_code == 0
        assert out.read_bytes() == whole
    # A table that is whole, of other films, or without rows is overwritten.
    assert _invoke(*options).exit_code == 0
    assert _invoke(films / "0.png", *options[1:]).exit_code == 0
    (films / "0.png").unlink()
    assert _invoke(*options).exit_code == 0
    assert len(out.read_bytes().splitlines()) == (6 if row_format == "csv" else 5)


@pytest.fixture
def many_films(tmp_path, draw_film):
    """A list of 150 inputs that take about a second to read."""
    path = tmp_path / "large.jpeg"
    Image.fromarray(draw_film(size=(1000, 1300))).save(path, quality=90)
    return "\n".join([str(path)] * 150).encode()


def _interrupt(bundle, films, out, number):
    """Start reading, send the signal after some rows; return the exit code, and whether --resume is named."""
    arguments = ["-", "--model", str(bundle), "--out", str(out), "--workers", "2"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdin
    process.stdin.write(films)
    process.stdin.close()
    while process.poll() is None and not (out.exists() and out.stat().st_size > 1000):
        time.sleep(0.01)
    process.send_signal(number)
    assert process.stderr
    with process.stderr:
        told = process.stderr.read()
    return process.wait(20), b"--resume" in told


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_resume_after_a_signal_gives_the_same_file(bundle, many_films, tmp_path, number, code):
    out = tmp_path / "rows.csv"
    assert _interrupt(bundle, many_films, out, number) == (code, number != signal.SIGKILL)
    early = out.read_bytes()
    assert 2 <= early.count(b"\n") < 150
    assert number == signal.SIGKILL or early.endswith(b"\n")
    done = _process("-", "--model", bundle, "--out", out, "--resume", input=many_films)
    assert done.returncode == 0
    lines = out.read_bytes().splitlines()
    assert len(lines) == 151
    assert len(set(lines)) == 2
    assert out.read_bytes().startswith(early)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_stdout_closed_early_ends_quietly(bundle, many_films, workers):
    process = subprocess.Popen(
        [*COMMAND, "-", "--model", str(bundle), "--workers", workers],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(many_films)
    process.stdin.close()
    assert process.stdout.readline().startswith(b"path,")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == 0
    process.stderr.close()


def test_memory_is_flat(bundle, films):
    code = (
        "import sys, resource\n"
        "from itertools import repeat, islice\n"
        "from pneumoscan.predict.batch import predict_many\n"
        "from pneumoscan.bundle.load import load_bundle\n"
        "rows = predict_many(load_bundle(sys.argv[1]), repeat(sys.argv[2], 2000), workers=2)\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "first = [peak() for _ in islice(rows, 800)][-1]\n"
        "print(([peak() for _ in rows][-1] - first) / 1.2)\n"
    )
    arguments = [str(bundle), str(films / "0.png")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True)
    assert float(done.stdout) < 1000, "kB more for every 1,000 films"


@pytest.fixture
def rated(tmp_path):
    """A bundle whose operating point `rated` has all rates, and `bare` none of the specificity."""
    point = tiny_bundle.make_spec().thresholds["balanced"]
    rates = {"specificity": 0.8, "recall_ci95": [0.85, 0.95], "specificity_ci95": [0.75, 0.85]}
    spec = tiny_bundle.make_spec(
        thresholds={"rated": point | rates, "bare": point}, default_operating_point="rated"
    )
    write_bundle(tmp_path / "rated", onnx=tiny_bundle.make_onnx(), spec=spec, readme="# tiny\n")
    return tmp_path / "rated"


def test_prevalence_tells_predictive_values_and_changes_no_row(rated, films):
    plain, done = (_invoke(films, "--model", rated, *more) for more in ([], ["--prevalence", "0.1"]))
    assert done.exit_code == 0
    assert done.stdout == plain.stdout
    assert not plain.stderr
    for part in (
        "rated: sensitivity 0.900 (0.850 to 0.950), specificity 0.800 (0.750 to 0.850)",
        "PPV 0.333 (0.274 to 0.413), NPV 0.986 (0.978 to 0.994)",
        "Of 100 films at this prevalence, 10.0 with pneumonia: 27.0 are labelled PNEUMONIA, 9.0 of them correctly; 1.0 are",
    ):
        assert part in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--threshold", "0.5"], "are not known; --operating-point has bare, rated"), (["--operating-point", "bare"], "specificity of bare")],
)  # fmt: skip
def test_prevalence_without_known_rates_says_so(rated, films, options, message):
    done = _invoke(films, "--model", rated, "--prevalence", "0.1", *options)
    assert done.exit_code == 0
    assert message in done.stderr
    assert "PPV" not in done.stderr


def test_prevalence_says_for_whose_films_the_rates_hold(films):
    done = _invoke(films / "0.png", "--model", "flagship", "--prevalence", "0.1")
    told = next(line for line in done.stderr.splitlines() if "These rates" in line)
    assert all(site in told for site in load_bundle(pretrained.SHIPPED).spec.training["sites"])


@pytest.mark.parametrize("options", [["--workers", "1"], ["--workers", "3", "--format", "jsonl"]])
def test_heatmaps_beside_the_same_rows(bundle, films, tmp_path, options):
    (films / "note.txt").write_text("no film")
    (films / "ward").mkdir()
    (films / "ward" / "0.png").write_bytes((films / "0.png").read_bytes())
    maps = tmp_path / "new" / "maps"
    plain = _invoke(films, "--model", bundle, *options)
    for _ in range(2):
        done = _invoke(films, "--model", bundle, "--heatmaps", maps, *options)
        assert (done.exit_code, done.stdout) == (3, plain.stdout)
        names = sorted(path.name for path in maps.iterdir())
        assert len(names) == 7
        assert {f"{number}.png" for number in range(6)} < set(names)
    for name in names:
        with Image.open(maps / name) as picture:
            assert picture.size[0] > 1000


def test_heatmaps_among_the_films_are_no_films(bundle, films):
    plain = _invoke(films, "--model", bundle).stdout
    for folder in (films / "maps", films):
        for _ in range(2):
            assert _invoke(films, "--model", bundle, "--heatmaps", folder).stdout == plain
        for path in [*films.glob("maps/*"), *films.glob("?-*.png")]:
            path.unlink()
    assert _invoke(films, "--model", bundle).stdout == plain


def test_heatmaps_after_an_interrupted_run_are_those_of_the_rows_left(bundle, films, tmp_path):
    options = ["--model", bundle, "--out", tmp_path / "rows.csv", "--heatmaps", tmp_path / "maps"]
    assert _invoke(films / "[012].png", *options).exit_code == 0
    assert _invoke(films, *options, "--resume").exit_code == 0
    assert len(list((tmp_path / "maps").iterdir())) == 6
    assert len(_table((tmp_path / "rows.csv").read_text())) == 6


def test_heatmaps_of_a_model_without_a_map_are_refused_before_a_row(films, tmp_path):
    graph = onnx.load_from_string(tiny_bundle.make_onnx())
    del graph.graph.output[2]
    spec = tiny_bundle.make_spec(outputs=("probability", "logit"))
    write_bundle(tmp_path / "plain", onnx=graph.SerializeToString(), spec=spec, readme="")
    out = tmp_path / "rows.csv"
    done = _invoke(films, "--model", tmp_path / "plain", "--heatmaps", tmp_path / "maps", "--out", out)
    assert isinstance(done.exception, UsageError)
    assert "activation_map" in str(done.exception)
    assert not out.exists()
    assert not (tmp_path / "maps").exists()


def test_full_disk_is_exit_code_6(bundle, films):
    with Path("/dev/full").open("wb") as full:
        done = _process(films, "--model", bundle, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 6
    assert b"Traceback" not in done.stderr
    assert _process(films, "--model", bundle, "--out", "/dev/full").returncode == 6
    assert _process(films, "--model", bundle, "--out", "/dev/null").returncode == 0


def test_the_command_line_imports_nothing_heavy(bundle, films):
    code = (
        "import sys; sys.argv = ['pneumoscan', *sys.argv[1:]]\n"
        "from pneumoscan import cli\n"
        "from pneumoscan.cli import predict\n"
        "heavy = {'numpy', 'PIL', 'onnxruntime', 'rich', 'pydantic', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "cli.app(standalone_mode=False)\n"
        "heavy = {'torch', 'matplotlib', 'sklearn', 'rich', 'onnx', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    arguments = ["predict", films / "0.png", "--model", bundle]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_lungs_are_drawn_for_each_film(tmp_path):
    model = tiny_lungs.write_lungs_bundle(tmp_path / "model")
    films = tmp_path / "films"
    films.mkdir()
    for name in ("a", "b"):
        Image.fromarray(tiny_lungs.draw_chest()).save(films / f"{name}.png")
    out = films / "lungs"
    for _ in range(2):
        # The pictures of the first run are no films of the second.
        done = _invoke(films, "--model", model, "--lungs", out)
        assert done.exit_code == 0
        assert [row["status"] for row in _table(done.stdout)] == ["ok", "ok"]
    for kind in ("masks", "outlines"):
        assert sorted(path.name for path in (out / kind).iterdir()) == ["a.png", "b.png"]
    with Image.open(out / "masks" / "a.png") as mask:
        assert mask.size == (300, 240)
        assert {level for _, level in mask.getcolors()} == {0, 255}


def test_lungs_of_a_model_without_them_are_refused_before_a_row(films, bundle, tmp_path):
    out = tmp_path / "rows.csv"
    done = _invoke(films, "--model", bundle, "--lungs", tmp_path / "lungs", "--out", out)
    assert isinstance(done.exception, UsageError)
    assert not out.exists()
    assert not (tmp_path / "lungs").exists()


def _lungs_model(tmp_path, level):
    regions = {"level": level, "source": "drawn", "measured": []}
    return tiny_lungs.write_lungs_bundle(tmp_path / f"model-{level}", regions=regions)


def test_regions_are_columns_and_json(tmp_path):
    model = _lungs_model(tmp_path, 0.01)
    films = tmp_path / "films"
    films.mkdir()
    Image.fromarray(tiny_lungs.draw_chest()).save(films / "a.png")
    (films / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rows = {}
    for form in ("csv", "jsonl"):
        done = _invoke(films, "--model", model, "--regions", "--threshold", "0", "--format", form)
        assert done.exit_code == 3
        rows[form] = (
            _table(done.stdout) if form == "csv" else [json.loads(line) for line in done.stdout.splitlines()]
        )
    film, refused = rows["jsonl"]
    expected = PneumoniaClassifier.from_pretrained(model)
    expected.threshold = 0.0
    assert film["regions"] == expected.regions(films / "a.png").to_json((300, 240))["regions"] != []
    assert film["right_lung_with_evidence"] > 0
    assert [refused[name] for name in ("regions", "right_lung_with_evidence", "left_lung_with_evidence")] == [
        None
    ] * 3
    for told, row in zip(rows["jsonl"], rows["csv"], strict=True):
        for name in ("regions", "right_lung_with_evidence", "left_lung_with_evidence"):
            assert (json.loads(row[name]) if row[name] else None) == told[name]
    # A NORMAL film has none.
    done = _invoke(films / "a.png", "--model", model, "--regions", "--threshold", "1", "--format", "jsonl")
    assert [json.loads(done.stdout)[name] for name in ("label", "regions", "left_lung_with_evidence")] == [
        "NORMAL",
        [],
        None,
    ]


def test_file_with_regions_is_continued_only_with_regions(tmp_path):
    model = _lungs_model(tmp_path, 0.01)
    films = tmp_path / "films"
    films.mkdir()
    for name in ("a", "b"):
        Image.fromarray(tiny_lungs.draw_chest()).save(films / f"{name}.png")
    out = tmp_path / "rows.csv"
    assert _invoke(films, "--model", model, "--regions", "--threshold", "0", "--out", out).exit_code == 0
    whole = out.read_bytes()
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    done = _invoke(films, "--model", model, "--threshold", "0", "--out", out, "--resume")
    assert isinstance(done.exception, UsageError)
    assert "--regions" in done.exception.message
    done = _invoke(films, "--model", model, "--threshold", "0", "--out", out)
    assert isinstance(done.exception, UsageError)
    assert (
        _invoke(films, "--model", model, "--regions", "--threshold", "0", "--out", out, "--resume").exit_code
        == 0
    )
    assert out.read_bytes() == whole


def test_regions_of_a_model_without_lungs_are_refused_before_a_row(films, bundle, tmp_path):
    out = tmp_path / "rows.csv"
    done = _invoke(films, "--model", bundle, "--regions", "--out", out)
    assert isinstance(done.exception, UsageError)
    assert not out.exists()
