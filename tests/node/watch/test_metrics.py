"""The figures that Prometheus reads, and the whole watch, from a true queue."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pneumoscan.errors import EnvironmentProblemError
from pneumoscan.node.queue import Arrival, Queue, State, open_queue
from pneumoscan.node.settings import Config, WatchSettings
from pneumoscan.node.watch.drift import watch
from pneumoscan.node.watch.prometheus import metrics_page, served_metrics


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """Four objects: read, refused, waiting, and one with a canary in every text from outside."""
    queue = open_queue(tmp_path)
    texts = {"study_date": "20260105", "accession_number": "CANARY", "device": "CANARY"}
    queue.add(Arrival(f"1.2.{n}", study_instance_uid=f"1.3.{n}", **texts) for n in range(4))
    for end in (State.DONE, State.DONE, State.REFUSED):
        job = queue.claim("here", 60)
        assert job is not None
        if end is State.DONE:
            queue.advance(job, end, label="PNEUMONIA", probability=0.75, threshold=0.5, model="tiny")
        else:
            queue.advance(job, end, code="film.view")
    yield queue
    queue.close()


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (one.name.removeprefix("pneumoscan_node_"), *one.labels.values()): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_the_figures_are_those_of_the_queue(queue: Queue) -> None:
    text = metrics_page(queue).decode()
    found = samples(text)
    assert "CANARY" not in text
    assert sum(value for (name, *_), value in found.items() if name == "objects") == 4
    assert (found["objects", "done"], found["codes", "film.view", "refused"]) == (2, 1)
    assert found["day_labels", "PNEUMONIA"] == 2
    assert found["day_scores", "0.5"] == 0.75
    assert found["day_seconds", "0.95"] >= 0
    assert found["oldest_waiting_seconds",] >= 0


def test_an_empty_queue_has_figures_too(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    assert samples(metrics_page(queue).decode())["objects", "done"] == 0
    assert watch(queue).drift.sentences == ("No week is over yet, so there is nothing to compare.",)
    queue.close()


def test_they_are_served(queue: Queue) -> None:
    with served_metrics(queue, Config()) as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
            assert samples(answer.read().decode())["objects", "done"] == 2
        taken = Config(watch=WatchSettings(metrics_port=server.server_port))
        with pytest.raises(EnvironmentProblemError, match="cannot be served"), served_metrics(queue, taken):
            pass


def test_the_watch_is_one_value(queue: Queue) -> None:
    told = watch(queue).to_json()
    assert told["counts"] | {"done": 2, "refused": 1, "found": 1} == told["counts"]
    assert told["codes"] == [{"state": "refused", "code": "film.view", "count": 1}]
    assert [(week["week"], week["device"], week["found"]) for week in told["weeks"]] == [
        ("2026-W02", "", 4),
        ("2026-W02", "CANARY", 4),
    ]
    assert told["drift"]["differs"] is False


def test_rows_since_a_time_are_found(queue: Queue) -> None:
    assert len(list(queue.jobs(since=queue.now() - 3600))) == 4
    assert not list(queue.jobs(since=queue.now() + 3600))
