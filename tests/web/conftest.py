"""The page in a real browser: Chromium, a running service, films to drop, and a record of all that a page requests and logs."""

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import tiny_lungs
from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_DROP = """async ([target, films]) => {
  const carried = new DataTransfer();
  for (const [name, text] of films) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    carried.items.add(new File([bytes], name));
  }
  const event = target === "paste"
    ? new ClipboardEvent("paste", { clipboardData: carried, bubbles: true, cancelable: true })
    : new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""


# What is changed is drawn in the next frame, and the film in the one after it.
_PAINTED = """() => Promise.race([
  new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done)))),
  new Promise((done) => setTimeout(done, 2000)),
])"""
_ACTIONS = ("check", "click", "fill", "press")


@pytest.fixture(scope="session")
def browser_path() -> str:
    """The browser of this machine, if it and what drives it are installed."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def chromium(browser_path: str) -> Iterator[Any]:
    """One browser for a module; playwright's loop must not outlive it, for other modules have loops of their own."""
    from playwright import sync_api

    # As long as the pages wait for anything else.
    sync_api.expect.set_options(timeout=20_000)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def serving(log: Path, *options: str, **environment: str) -> Iterator[str]:
    """Run `pneumoscan serve` on a free port; yields its address."""
    command = [sys.executable, "-m", "pneumoscan", "serve", "--port", "0", "--no-open", *options]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **environment}
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("pneumoscan is reading films at http://"), line + log.read_text()
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="session")
def service(browser_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with the model that comes with the package; it keeps nothing of what a page sends."""
    for name in ("starlette", "uvicorn", "prometheus_client", "python_multipart"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra web)")
    with serving(tmp_path_factory.mktemp("serve") / "log") as address:
        yield address


@dataclass
class Visit:
    """An open page, and all that it asked for and complained of."""

    page: Any
    address: str
    requests: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    inflight: int = 0
    most_inflight: int = 0

    def painted(self) -> None:
        """Wait until the page shows what it knows."""
        self.page.evaluate(_PAINTED)

    def drop(self, films: dict[str, bytes], way: str = "drop") -> None:
        """Drop files on the page, or paste them, and wait until each has its answer."""
        coded = [[name, base64.b64encode(data).decode()] for name, data in films.items()]
        self.page.evaluate(_DROP, [way, coded])

    def wait_for(self, films: int) -> None:
        """Wait until so many films are in the list and none waits."""
        from playwright.sync_api import expect

        expect(self.page.locator(".film")).to_have_count(films, timeout=60_000)
        expect(self.page.locator("#cancel")).to_be_hidden(timeout=60_000)

    def shown(self) -> None:
        """Wait until the selected film is drawn."""
        self.page.wait_for_selector("#film[data-shown]:not([data-shown=''])", timeout=20_000)

    def answers(self) -> dict[str, tuple[str, str, str]]:
        """Return label, probability and full probability by name, in the order of the worklist."""
        return {
            name: (label, number, title)
            for name, label, number, title in self.page.evaluate(
                """() => [...document.querySelectorAll(".film")].map((film) => [
                    film.querySelector(".name").title, film.dataset.label,
                    film.querySelector(".number").textContent, film.querySelector(".number").title])"""
            )
        }

    def asked(self, method: str = "PUT") -> int:
        """Return how many requests of a method left the page."""
        return sum(request.method == method for request in self.requests)

    def check_quiet(self) -> None:
        """No request left the machine, nothing was forbidden or thrown."""
        host = urlsplit(self.address).netloc
        for request in self.requests:
            url = urlsplit(request.url)
            assert url.scheme in {"blob", "data"} or url.netloc == host, request.url
        assert self.complaints == []


class Visits:
    """Opens pages, each in a context of its own."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser, self.address = browser, address
        self.contexts: list[Any] = []

    def open(
        self,
        *,
        size: tuple[int, int] = (1280, 800),
        routes: dict[str, Any] | None = None,
        at: str | None = None,
        **options: Any,
    ) -> Visit:
        """Open the page; `routes` answer in the service's place."""
        context = self.browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        self.contexts.append(context)
        context.set_default_timeout(20_000)
        for pattern, answer in (routes or {}).items():
            context.route(pattern, answer)
        visit = Visit(context.new_page(), at or self.address)
        _watch(visit)
        _wait_after_actions(visit)
        visit.page.goto(visit.address)
        return visit

    def close(self) -> None:
        """Close them all."""
        for context in self.contexts:
            context.close()
        self.contexts.clear()


def _watch(visit: Visit) -> None:
    page = visit.page

    def begun(request: Any) -> None:
        visit.requests.append(request)
        visit.inflight += request.method == "PUT"
        visit.most_inflight = max(visit.most_inflight, visit.inflight)

    def ended(request: Any) -> None:
        visit.inflight -= request.method == "PUT"

    def said(message: Any) -> None:
        # The browser itself notes every answer that is no success; refused films are such.
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            visit.complaints.append(message.text)

    page.on("request", begun)
    page.on("requestfinished", ended)
    page.on("requestfailed", ended)
    page.on("console", said)
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))


def _wait_after_actions(visit: Visit) -> None:
    """Look at the page after an action only when it has drawn what follows from it."""

    def waiting(act: Callable[..., Any]) -> Callable[..., Any]:
        def acted(*args: Any, **options: Any) -> Any:
            done = act(*args, **options)
            visit.painted()
            return done

        return acted

    page = visit.page
    for name in _ACTIONS:
        setattr(page, name, waiting(getattr(page, name)))
    page.keyboard.press = waiting(page.keyboard.press)


@pytest.fixture
def visits(chromium: Any, service: str) -> Iterator[Visits]:
    """Open pages of the service; they are closed after the test."""
    opened = Visits(chromium, service)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def lasting_visits(chromium: Any, service: str) -> Iterator[Visits]:
    """Open pages of the service that a whole module looks at."""
    opened = Visits(chromium, service)
    yield opened
    opened.close()


@pytest.fixture
def token_service(chromium: Any, service: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a service that asks for a token, and the token."""
    token = "one-of-the-longer-tokens-0123456789"
    with serving(tmp_path / "log", PNEUMOSCAN_TOKEN=token) as address:
        yield address, token


@pytest.fixture(scope="module")
def lungs_visit(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    """A page with one drawn film, and a model whose threshold every film reaches."""
    for name in ("starlette", "uvicorn", "prometheus_client", "python_multipart"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra web)")
    folder = tmp_path_factory.mktemp("regions")
    point = {"threshold": 0.01, "source": "fixed", "n": 10, "n_positive": 5}
    model = tiny_lungs.write_lungs_bundle(
        folder / "model", regions=tiny_lungs.REGIONS_RECORD, thresholds={"balanced": point}
    )
    with serving(folder / "log", PNEUMOSCAN_MODEL=str(model)) as address:
        opened = Visits(chromium, address)
        page = opened.open()
        page.drop({"chest.png": encoded(tiny_lungs.draw_chest(), "PNG")})
        page.wait_for(1)
        page.shown()
        page.painted()
        yield page
        page.check_quiet()
        opened.close()


@pytest.fixture
def keeping_service(chromium: Any, service: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a service that keeps verdicts, and their file."""
    path = tmp_path / "verdicts.csv"
    with serving(tmp_path / "log", "--verdicts", str(path)) as address:
        yield address, path


def encoded(pixels: Any, file_format: str = "JPEG") -> bytes:
    """Return a film as the bytes of a file."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, file_format, **({"quality": 92} if file_format == "JPEG" else {}))
    return file.getvalue()


def dicom(pixels: Any) -> bytes:
    """Return a DX film of 12 bits."""
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset

    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.4"
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "DX", "CHEST", "PA"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = (pixels.astype(np.uint16) * 16).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.fixture(scope="session")
def twenty_films() -> dict[str, bytes]:
    """Twenty synthetic films, as JPEG and PNG, by name; one of them lies on its side."""
    from pneumoscan.phantom import draw_film, film_size

    films = {}
    for number in range(20):
        pixels = draw_film(number, 0, label=number % 2, size=film_size(number, 0, side=256))
        kind = "PNG" if number % 5 == 4 else "JPEG"
        turned = np.rot90(pixels) if number == 6 else pixels
        films[f"film {number:02d}.{kind.lower()}"] = encoded(turned, kind)
    return films


@pytest.fixture(scope="session")
def odd_files(twenty_films: dict[str, bytes]) -> dict[str, bytes]:
    """A DICOM film, a broken film, a text file, and one of the twenty under another name."""
    from pneumoscan.phantom import draw_film, film_size

    pixels = draw_film(40, 0, label=1, size=film_size(40, 0, side=256))
    return {
        "chest.dcm": dicom(pixels),
        "broken.jpeg": twenty_films["film 00.jpeg"][:2000],
        "letter.txt": b"Dear doctor, the film is on its way.\n",
        "copy of 03.jpeg": twenty_films["film 03.jpeg"],
    }
