"""A stored study in OHIF, a viewer that hospitals use: the outlines of the report lie where they should."""

import itertools
import os
import shutil
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import ohif_viewer
import pytest
from hospital_films import MADE_AT, STUDY, hospital_film, outlined, writer
from PIL import Image

pytest.importorskip("highdicom", reason="the extra `node` is not installed")

from pneumoscan.node.results import make_results

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SOFTWARE = (
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
)  # fmt: skip
_COLUMNS, _ROWS = 410, 400
_DRAWN = "() => window.cornerstone?.getRenderingEngines().some((e) => e.getViewports().some((v) => v.viewportStatus === 'rendered'))"
_MARKED = "() => cornerstoneTools.annotation.state.getAllAnnotations().filter((a) => a.metadata.toolName === 'DICOMSRDisplay').length"
# Where points of the film lie in the window.
_PLACES = """(points) => {
  const viewport = cornerstone.getRenderingEngines()[0].getViewports()[0];
  const box = viewport.canvas.getBoundingClientRect();
  return points.map((point) => {
    const [x, y] = viewport.worldToCanvas(cornerstone.utilities.imageToWorldCoords(viewport.getCurrentImageId(), point));
    return [x + box.x, y + box.y];
  });
}"""


def _along(points) -> np.ndarray:
    """Points of a closed line in pixels of the film."""
    corners = np.array((*points, points[0])) * (_COLUMNS, _ROWS)
    shares = np.linspace(0, 1, 40)[:, None]
    return np.concatenate([a + shares * (b - a) for a, b in itertools.pairwise(corners)])


def _coloured_share(shot: Image.Image, places: np.ndarray) -> float:
    """The share of places beside which there is something that is not grey: the film is."""
    pixels = np.asarray(shot.convert("RGB"), int)
    coloured = np.ptp(pixels, axis=2) > 60
    near = [coloured[y - 2 : y + 3, x - 2 : x + 3].any() for x, y in places.round().astype(int)]
    return float(np.mean(near))


def _shares(page, found) -> tuple[float, float]:
    """How much is drawn along the outline of which least is, and how much along that of which most is, moved aside."""
    shot = Image.open(BytesIO(page.screenshot(path=os.environ.get("PNEUMOSCAN_OHIF_SHOT"))))
    outlines = [
        np.array(page.evaluate(_PLACES, _along(one.points).tolist()))
        for one in (*found.lungs, *found.regions)
    ]
    return (
        min(_coloured_share(shot, places) for places in outlines),
        max(_coloured_share(shot, places - (23, -17)) for places in outlines),
    )


@pytest.mark.slow
def test_ohif_draws_the_outlines_of_the_report_over_the_film(orthanc, tmp_path: Path) -> None:
    files = Path(os.environ.get("PNEUMOSCAN_OHIF", "none"))
    if not (files / "app-config.js").is_file():
        pytest.skip(
            f"PNEUMOSCAN_OHIF names no OHIF: npm pack @ohif/app@{ohif_viewer.VERSION}, unpack it, and name package/dist"
        )
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    browser_path = next((path for path in map(shutil.which, _BROWSERS) if path), None)
    if browser_path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    found, film = outlined(), hospital_film(size=_ROWS)
    orthanc.send(film)
    for one in make_results(film, found, writer(), made_at=MADE_AT, state=True):
        orthanc.send(one.content)
    with ohif_viewer.serving(files, orthanc.url) as address, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=list(_SOFTWARE))
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.set_default_timeout(120_000)
        page.goto(f"{address}/viewer?StudyInstanceUIDs={STUDY}")
        page.wait_for_function(_DRAWN)
        # The tour of the viewer would take the clicks.
        page.add_style_tag(content="[class*=shepherd] { display: none !important }")
        page.dblclick("text=pneumoscan: report")
        page.wait_for_function(f"({_MARKED})() === {1 + len(found.regions)}")
        page.wait_for_function(_DRAWN)
        until = time.monotonic() + 60
        while (drawn := _shares(page, found))[0] < 0.5 and time.monotonic() < until:
            time.sleep(1)
        browser.close()
    # The lines are dashed.
    assert drawn[0] > 0.5
    assert drawn[1] < 0.3
