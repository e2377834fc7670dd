"""Regions in the results: coordinates in the report, a presentation state over the film, lines on the picture."""

import shutil
import struct
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hospital_films import FILM, MADE_AT, STUDY, finding, hospital_film, outlined, writer
from PIL import Image

pytest.importorskip("highdicom", reason="the extra `node` is not installed")

from pneumoscan.node.header import read_header
from pneumoscan.node.results import make_results
from pneumoscan.node.results.finding import ResultObject

COLUMNS, ROWS = 410, 400


def made(film=None, found=None, *, state=True) -> dict[str, ResultObject]:
    results = make_results(
        film or hospital_film(size=ROWS), found or outlined(), writer(), made_at=MADE_AT, state=state
    )
    return {one.kind: one for one in results}


def read(result: ResultObject) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(result.content))


def items_of(item: pydicom.Dataset, meaning: str) -> list[pydicom.Dataset]:
    """All content items with a concept name, at any depth."""
    found = []
    for child in item.get("ContentSequence", []):
        names = child.get("ConceptNameCodeSequence")
        found += [child] if names and names[0].CodeMeaning == meaning else []
        found += items_of(child, meaning)
    return found


def test_each_region_is_a_closed_line_in_pixels_of_the_film() -> None:
    found = outlined()
    report = read(made(found=found)["report"])
    regions = items_of(report, "Image Region")
    assert [one.GraphicType for one in regions] == ["POLYLINE"] * 3
    for one, region in zip(regions, found.regions, strict=True):
        points = np.reshape(one.GraphicData, (-1, 2))
        assert (points[0] == points[-1]).all()
        assert points[:-1] == pytest.approx(np.array(region.points) * (COLUMNS, ROWS), abs=1e-3)
        (source,) = one.ContentSequence
        assert source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == FILM


def test_regions_have_side_share_and_a_tracking_uid_of_their_own() -> None:
    report = read(made()["report"])
    groups = items_of(report, "Measurement Group")
    assert len(groups) == 4
    tracked = [items_of(group, "Tracking Unique Identifier")[0].UID for group in groups]
    assert len(set(tracked)) == 4
    for group, side, share in zip(groups[1:], ("Right", "Left", "Right"), (50, 25, 12.5), strict=True):
        assert items_of(group, "Laterality")[0].ConceptCodeSequence[0].CodeMeaning == side
        (number,) = items_of(group, "Share of the evidence on the film")
        assert float(number.MeasuredValueSequence[0].NumericValue) == share
        assert items_of(group, "Finding")[0].ConceptCodeSequence[0].CodeValue == "EVIDENCE"
        said = [one.TextValue for one in items_of(group, "Algorithm Parameters")]
        assert any("63%" in text for text in said)
    fields = [
        items_of(groups[0], f"Share of the {side} lung field with evidence")[0] for side in ("right", "left")
    ]
    assert [float(one.MeasuredValueSequence[0].NumericValue) for one in fields] == [25, 12.5]
    for field, lung in zip(fields, outlined().lungs, strict=True):
        (line,) = field.ContentSequence
        points = np.reshape(line.GraphicData, (-1, 2))
        assert points[:-1] == pytest.approx(np.array(lung.points) * (COLUMNS, ROWS), abs=1e-3)
        assert line.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == FILM


def test_results_with_regions_are_the_same_bytes_again_and_keep_their_uids() -> None:
    first, again = made(), made()
    assert {kind: one.content for kind, one in first.items()} == {
        kind: one.content for kind, one in again.items()
    }
    plain = made(found=finding(), state=True)
    for kind in ("report", "picture"):
        assert plain[kind].sop_instance_uid == first[kind].sop_instance_uid
    assert set(first) == {"report", "picture", "state"}
    assert (
        len(
            {one.sop_instance_uid for one in first.values()}
            | {one.series_instance_uid for one in first.values()}
        )
        == 6
    )


def test_there_is_a_presentation_state_only_where_it_is_asked_for_and_can_be() -> None:
    assert set(made(state=False)) == {"report", "picture"}
    assert set(made(found=finding("NORMAL"))) == {"report", "picture"}
    entries = struct.pack("<HH2sH3H", 0x28, 0x3002, b"US", 6, 256, 0, 8)
    entries += struct.pack("<HH2sHI256H", 0x28, 0x3006, b"OW", 0, 512, *range(256))
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(entries)) + entries
    assert set(made(hospital_film({0x00283010: (b"SQ", item)}, size=ROWS))) == {"report", "picture"}


def test_presentation_state_draws_the_outlines_over_the_film() -> None:
    found = outlined()
    result = made(found=found)["state"]
    state = read(result)
    assert (state.Modality, state.StudyInstanceUID, state.PatientID) == ("PR", STUDY, "PID42")
    assert read_header(result.content)[0].is_own_result
    (series,) = state.ReferencedSeriesSequence
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == FILM
    area = state.DisplayedAreaSelectionSequence[0]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [COLUMNS, ROWS]
    layers = {one.GraphicLayer: one for one in state.GraphicAnnotationSequence}
    assert set(layers) == {one.GraphicLayer for one in state.GraphicLayerSequence} == {"LUNGS", "REGIONS"}
    for layer, outlines in (("LUNGS", found.lungs), ("REGIONS", found.regions)):
        graphics = layers[layer].GraphicObjectSequence
        for graphic, outline in zip(graphics, outlines, strict=True):
            points = np.reshape(graphic.GraphicData, (-1, 2))
            assert graphic.NumberOfGraphicPoints == len(points)
            assert (points[0] == points[-1]).all()
            assert points[:-1] == pytest.approx(np.array(outline.points) * (COLUMNS, ROWS), abs=1e-3)
    assert [one.UnformattedTextValue for one in layers["LUNGS"].TextObjectSequence] == ["R", "L"]
    assert "50%" in layers["REGIONS"].TextObjectSequence[0].UnformattedTextValue


@pytest.mark.parametrize(
    ("changes", "shape", "window"),
    [
        ({}, "IDENTITY", None),
        ({0x00280004: (b"CS", b"MONOCHROME1")}, "INVERSE", None),
        ({0x00281050: (b"DS", b"128\\50"), 0x00281051: (b"DS", b"200\\20")}, "IDENTITY", (128, 200)),
    ],
)  # fmt: skip
def test_presentation_state_shows_the_film_as_its_header_asks(changes, shape, window) -> None:
    state = read(made(hospital_film(changes, size=ROWS))["state"])
    assert state.PresentationLUTShape == shape
    voi = state.get("SoftcopyVOILUTSequence")
    assert (None if voi is None else (voi[0].WindowCenter, voi[0].WindowWidth)) == window


def test_outlines_are_drawn_on_the_picture() -> None:
    plain, drawn = (
        read(made(found=found)["picture"]).pixel_array.astype(int)
        for found in (finding(), outlined(fields=(), measured=""))
    )
    changed = np.abs(plain - drawn).max(2) > 60
    assert 500 < changed.sum() < 0.1 * changed.size


def said_by(*command: object) -> str:
    program = str(command[0])
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: dicom3tools, dcmtk)")
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
    return (done.stdout + done.stderr).decode("latin-1")


def test_validators_find_no_error(tmp_path: Path) -> None:
    (tmp_path / "film.dcm").write_bytes(hospital_film(size=ROWS))
    for kind, one in made().items():
        (tmp_path / f"{kind}.dcm").write_bytes(one.content)
    paths = {path.stem: path for path in tmp_path.iterdir()}
    for kind, known_as in (
        ("report", "Comprehensive3DSR"),
        ("picture", "SCImage"),
        ("state", "GrayscaleSoftcopyPresentationState"),
    ):
        said = said_by("dciodvfy", paths[kind])
        assert known_as in said
        assert "Error" not in said, said
    assert "Error" not in said_by("dcentvfy", *paths.values())
    assert "Test passed" in said_by("dcmpschk", paths["state"])
    dumped = said_by("dsrdump", paths["report"])
    assert dumped.count("SCOORD") == 5
    assert not [line for line in dumped.splitlines() if line.startswith(("E:", "F:"))]
    # A viewer of dcmtk's applies it to the film.
    out = tmp_path / "shown.pgm"
    said_by("dcmp2pgm", "-p", paths["state"], paths["film"], out)
    with Image.open(out) as shown:
        assert shown.size == (COLUMNS, ROWS)
