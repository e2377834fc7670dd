"""Films and answers in S3: a server of moto on this machine, reached through s3fs."""

from dataclasses import replace
from pathlib import Path

import pytest

from pneumoscan.archive.run import ArchiveOrder, run_archive
from pneumoscan.archive.shard import LocalWorkers
from pneumoscan.predict.batch import predict_many
from pneumoscan.predict.sources import expand
from pneumoscan.rows import header

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture
def store(monkeypatch):
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install s3fs 'moto[server]'")
    server = pytest.importorskip(
        "moto.server", reason="moto is not installed: pip install s3fs 'moto[server]'"
    )
    import s3fs

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3fs.S3FileSystem(use_listings_cache=False)
    running.stop()


def test_films_and_answers_in_s3(bundle, films: Path, store) -> None:
    store.mkdir("pacs")
    for film in films.rglob("*.png"):
        store.pipe_file(f"pacs/films/{film.relative_to(films)}", film.read_bytes())
    store.pipe_file("pacs/films/.hidden.png", b"no input")
    order = ArchiveOrder(("s3://pacs/films", "s3://pacs/gone.png"), "s3://pacs/rows", 0.5, "csv", part_size=5)
    outcome = run_archive(order, bundle, LocalWorkers(2), lambda *_: None)
    assert (outcome.inputs, outcome.ok, outcome.refused, outcome.parts) == (13, 10, 3, 3)
    parts = sorted(name for name in store.ls("pacs/rows", detail=False) if "part-" in name)
    rows = b"".join(store.cat_file(name).removeprefix(header("csv")) for name in parts)
    *there, gone = rows.replace(b"s3://pacs/films", str(films).encode()).splitlines()
    assert b",film.not_found," in gone
    expected = predict_many(bundle, expand([str(films)]), workers=1, threshold=0.5)
    assert there == b"".join(row.to_line("csv") for row in expected).splitlines()
    # A part that is lost is read again, the others are not.
    store.rm("pacs/rows/part-000001.csv")
    store.rm("pacs/rows/_SUCCESS")
    again = run_archive(replace(order, listed=True), bundle, LocalWorkers(1), lambda *_: None)
    assert (again.parts_before, again.ok) == (2, 10)
    assert run_archive(order, bundle, LocalWorkers(1), lambda *_: None).was_finished
