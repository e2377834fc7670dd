"""DICOM films in a batch: a folder from a medium, one refused film among good ones, one probability for one picture."""

import dicom_films
import pytest
from PIL import Image

from pneumoscan.bundle.load import load_bundle
from pneumoscan.errors import CodecMissingError
from pneumoscan.imaging.dicom import frames
from pneumoscan.predict.batch import predict_many
from pneumoscan.predict.sources import expand


@pytest.fixture(scope="module")
def dicom():
    return dicom_films


@pytest.fixture
def medium(dicom, tmp_path):
    """A folder as a medium has it, and a picture of the same film."""
    folder, pixels = tmp_path / "medium", dicom.picture(8)
    (folder / "IMAGES").mkdir(parents=True)
    for number, syntax in enumerate(dicom.SYNTAXES.values()):
        name = f"IMG{number:05d}" if number % 2 else f"{number}.dcm"
        (folder / "IMAGES" / name).write_bytes(dicom.film(pixels, syntax))
    (folder / "DICOMDIR").write_bytes(dicom.file(dicom.element(0x00080016, b"UI", b"1.2.840.10008.1.3.10")))
    Image.fromarray(pixels).save(folder / "film.png")
    return folder


def test_the_films_of_a_folder_have_one_probability(medium, bundle_folder):
    paths = list(expand([str(medium)]))
    assert len(paths) == 8
    rows = list(predict_many(load_bundle(bundle_folder), paths, workers=3))
    assert {row.status for row in rows} == {"ok"}
    assert len({row.probability for row in rows}) == 1


def test_a_directory_that_is_named_is_refused(medium, bundle_folder):
    (row,) = predict_many(load_bundle(bundle_folder), expand([str(medium / "DICOMDIR")]))
    assert (row.status, row.error_code) == ("refused", "film.kind")


def test_a_missing_codec_does_not_stop_the_others(dicom, medium, bundle_folder, monkeypatch):
    monkeypatch.setattr(frames, "_installed", lambda: False)
    rows = list(predict_many(load_bundle(bundle_folder), expand([str(medium)]), workers=2))
    codes = [row.error_code for row in rows]
    # Pillow decodes JPEG 2000 too.
    assert codes.count(CodecMissingError.code) == 1
    assert codes.count("") == 7
    assert all("pneumoscan[dicom]" in row.error for row in rows if row.status == "refused")
