"""The same study on a cluster's engine: two workers of Ray on this machine, on its loopback address."""

import sys
from pathlib import Path

import pytest

from pneumoscan import cluster
from pneumoscan.study.execute import StudyOrder, run_study


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from pneumoscan.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "ray", None)
    for name in (
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN",
        "RAY_USAGE_STATS_ENABLED",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
    ):
        monkeypatch.setenv(name, "")
    with pytest.raises(MissingDependencyError, match=r"pneumoscan\[cluster\]"):
        cluster.start_ray("", cpus=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_two_workers_of_ray_leave_the_same_records(
    finished_study, tmp_path: Path, records_of, monkeypatch, notes
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'pneumoscan[cluster]'")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    out, films, whole = finished_study
    order = StudyOrder(films, tmp_path / "ray", jobs=2, launcher="ray", cache=out.parent / "cache")
    run_study(out / "study.toml", order, notes)
    assert sorted(answer.name for answer in notes.answers) == sorted(answer.name for answer in whole.answers)
    assert records_of(tmp_path / "ray") == records_of(out)
    processes = {
        path.read_text().split('"process": ')[1].split(",")[0]
        for path in (tmp_path / "ray").rglob("origin.json")
    }
    assert len(processes) >= 2
