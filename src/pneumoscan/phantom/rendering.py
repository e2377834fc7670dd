"""Render a film of a chest (beam, scatter, detector, grey scale of the machine, marker and borders), and encode it.

Everything here is independent of the label and has its own random numbers. A film with the disease and the same film
without it therefore differ only in the lungs.
"""

import hashlib
import math
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pneumoscan.phantom.anatomy import build_chest
from pneumoscan.phantom.canvas import Canvas, Plane
from pneumoscan.phantom.patient import (
    Patient,
    infiltrate,
    sample_patient,
    sample_pneumonia,
    sample_pose,
    sample_severity,
)

SYNTHETIC_TEXT = "SYNTHETIC – NOT A PATIENT"
DEFAULT_SIDE = 320
_IMAGE_DESCRIPTION = 270
COMMENT = "pneumoscan phantom: synthetic, not a patient"
# The canvas is slightly larger than the film, so that a rotated film has no empty corners.
_MARGIN = 1.12
_CANVAS_ROWS = 230

Pixels = npt.NDArray[np.uint8]


class Rendering(NamedTuple):
    """Rendering by one kind of X-ray machine.

    Attributes:
        contrast: Slope of the grey scale in its centre.
        gamma: Curvature of the grey scale.
        black: Grey of the unattenuated beam, 0 to 1.
        white: Grey of the densest tissue, 0 to 1.
        scatter: Scattered quanta for each primary one.
        quanta: Quanta per pixel in the open beam; fewer give more noise.
        blur: Focal and detector blur, in pixels.
        sharpen: Strength of the machine's edge enhancement.
    """

    contrast: float
    gamma: float
    black: float
    white: float
    scatter: float
    quanta: float
    blur: float
    sharpen: float


MACHINES = (
    Rendering(1.5, 1.0, 0.0, 0.93, 0.05, 40000, 0.6, 0.7),
    Rendering(1.1, 0.9, 0.02, 0.88, 0.1, 25000, 0.8, 0.2),
    Rendering(0.95, 0.85, 0.1, 0.84, 0.2, 16000, 1.0, 0.1),
    Rendering(1.3, 1.15, 0.0, 0.97, 0.08, 30000, 0.7, 0.5),
)


@dataclass(frozen=True)
class Exposure:
    """Parameters of one film, independent of the label.

    Attributes:
        machine: Rendering of the film.
        height: Height of the field of view in chest units.
        aspect: Width by height.
        centre: Centre of the field of view in chest units.
        angle: Rotation in degrees.
        brightness: Shift of the grey scale.
        floor: Extent of the grey scale to dark values; larger gives blacker lungs.
        borders: Shares of the film hidden by the collimator: left, top, right, bottom.
        marker: Letter; x and y of its centre as shares of the film; its height as a share; its grey value.
        note: Position of the text that marks the film as synthetic: x as a share of the free width, and whether at the top.
        noise_seed: Seed of the quantum noise.
    """

    machine: Rendering
    height: float
    aspect: float
    centre: tuple[float, float]
    angle: float
    brightness: float
    floor: float
    borders: tuple[float, float, float, float]
    marker: tuple[str, float, float, float, float]
    note: tuple[float, bool]
    noise_seed: int


def sample_exposure(rng: np.random.Generator) -> Exposure:
    """Sample the exposure of a film."""
    machine = MACHINES[int(rng.integers(len(MACHINES)))]
    height = rng.uniform(2.05, 2.75)
    borders = rng.uniform(0.0, 0.06, 4) * (rng.random(4) < 0.2)
    letter = "R" if rng.random() < 0.75 else "L"
    across = rng.uniform(0.04, 0.15)
    return Exposure(
        machine=machine._replace(
            contrast=machine.contrast * rng.uniform(0.85, 1.15), gamma=machine.gamma * rng.uniform(0.85, 1.15)
        ),
        height=height,
        aspect=rng.uniform(1.0, 1.4),
        centre=(rng.normal(0, 0.06), 0.83 + rng.uniform(-0.22, 0.22) * (height - 1.85)),
        angle=float(np.clip(rng.normal(0, 1.8), -4.5, 4.5)),
        brightness=rng.normal(0, 0.035),
        floor=rng.uniform(0.0, 0.16),
        borders=(borders[0], borders[1], borders[2], borders[3]),
        marker=(
            letter,
            across if letter == "R" else 1 - across,
            rng.uniform(0.06, 0.5),
            rng.uniform(0.035, 0.07),
            rng.uniform(0.75, 1),
        ),
        note=(rng.random(), bool(rng.random() < 0.3)),
        noise_seed=int(rng.integers(2**31)),
    )


def cause_of(patient_seed: int, *, seed: int = 0) -> str:
    """Return the cause of a patient's pneumonia: `bacteria` or `virus`."""
    return sample_pneumonia(_stream(seed, patient_seed, 1)).cause


def film_size(
    patient_seed: int, film_number: int, *, side: int = DEFAULT_SIDE, seed: int = 0
) -> tuple[int, int]:
    """Return the original height and width of a film in pixels, with a longer side of about `side`."""
    exposure = sample_exposure(_stream(seed, patient_seed, 2, film_number))
    longer = side * _stream(seed, patient_seed, 3, film_number).uniform(0.85, 1.15)
    width, height = (
        (longer, longer / exposure.aspect) if exposure.aspect > 1 else (longer * exposure.aspect, longer)
    )
    return max(32, round(height)), max(32, round(width))


def draw_film(
    patient_seed: int, film_number: int, *, label: int, size: tuple[int, int] | None = None, seed: int = 0
) -> Pixels:
    """Return one synthetic film; the same arguments give the same film.

    A processor that rounds exp differently may change a few pixels by one grey level, and another release of Pillow the shape
    of the letters.

    Args:
        patient_seed: Number of the patient, 0 or more; anatomy and disease are the same on all films of a patient.
        film_number: Number of the film of this patient, 0 or more.
        label: 1 includes the pneumonia of the patient, 0 gives the same film without it.
        size: Height and width in pixels; by default the original size, see `film_size`.
        seed: Seed of the set.

    Returns:
        uint8 array (height, width), bone bright and air dark, with a text that marks it as synthetic.
    """
    patient = sample_patient(_stream(seed, patient_seed, 0))
    pose = sample_pose(_stream(seed, patient_seed, 4, film_number))
    exposure = sample_exposure(_stream(seed, patient_seed, 2, film_number))
    height, width = size or film_size(patient_seed, film_number, seed=seed)
    canvas, scale = _canvas(patient, exposure, height, width)
    chest = build_chest(patient, pose, canvas)
    attenuation = chest.attenuation()
    if label == 1:
        severity = sample_severity(_stream(seed, patient_seed, 5, film_number))
        pneumonia = sample_pneumonia(_stream(seed, patient_seed, 1))
        filled, tissue = infiltrate(pneumonia, severity, canvas, chest.lung)
        attenuation = attenuation + filled * (chest.lung * (1 - chest.density) - chest.vessels) + tissue
    grey = _expose(_turn(attenuation, exposure.angle, scale, height, width), exposure)
    return _finish(grey, exposure)


def _stream(seed: int, patient_seed: int, purpose: int, film_number: int = 0) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, patient_seed, purpose, film_number]))


def _canvas(patient: Patient, exposure: Exposure, height: int, width: int) -> tuple[Canvas, float]:
    """Return the canvas of the field of view, and its pitch relative to that of the film.

    The chest always fits into the width of the film. No film is sharp to the pixel, so a canvas of `_CANVAS_ROWS` rows is
    sufficient for a larger film.
    """
    film_pitch = max(exposure.height / height, 2.3 / width)
    pitch = max(film_pitch, film_pitch * height / _CANVAS_ROWS)
    rows, columns = (round(pixels * film_pitch / pitch * _MARGIN) for pixels in (height, width))
    left, top = exposure.centre[0] - columns * pitch / 2, exposure.centre[1] - rows * pitch / 2
    return Canvas(left, top, pitch, rows, columns, patient.bend), pitch / film_pitch


def _turn(plane: Plane, angle: float, scale: float, height: int, width: int) -> Plane:
    """Rotate the canvas about its centre by `angle` degrees, enlarge it, and crop the film (height, width)."""
    sine, cosine = math.sin(math.radians(angle)) / scale, math.cos(math.radians(angle)) / scale
    x, y = width / 2, height / 2
    x0, y0 = plane.shape[1] / 2, plane.shape[0] / 2
    matrix = (cosine, -sine, x0 - cosine * x + sine * y, sine, cosine, y0 - sine * x - cosine * y)
    turned = Image.fromarray(plane).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    return np.asarray(turned)


def _expose(attenuation: Plane, exposure: Exposure) -> Plane:
    """Simulate beam and detector: float32 grey in about [0, 1], bone bright."""
    machine = exposure.machine
    rng = np.random.default_rng(np.random.SeedSequence([exposure.noise_seed]))
    primary = np.exp(-1.9 * np.maximum(attenuation, 0))
    quanta = _blur(primary, machine.blur) + machine.scatter * _spread(primary)
    noise = rng.standard_normal(quanta.shape, dtype=np.float32)
    quanta += np.sqrt(quanta / machine.quanta) * noise
    density = -np.log(np.maximum(quanta, 2e-3)) / 1.9
    density += machine.sharpen * (density - _blur(density, 2.0))
    return _grey_scale(density, exposure)


def _grey_scale(density: Plane, exposure: Exposure) -> Plane:
    """Map optical density to grey. Spine and liver, which are dense on every film, set the scale, not the lungs."""
    machine = exposure.machine
    high = float(np.percentile(density[::3, ::3], 97))
    share = np.clip((density / high - exposure.floor) / (1.04 - exposure.floor), 0, 1.15)
    share = share**machine.gamma
    bent = 0.5 * (1 + np.tanh(2 * machine.contrast * (share - 0.55)) / math.tanh(machine.contrast))
    grey: Plane = machine.black + (machine.white - machine.black) * bent + exposure.brightness
    return grey


def _blur(plane: Plane, sigma: float) -> Plane:
    """Blur with a small Gaussian of `sigma` pixels; border pixels are repeated."""
    reach = max(1, round(2 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    weights /= weights.sum()
    padded = np.pad(plane, reach, mode="edge")
    rows = sum(weights[i] * padded[i : i + plane.shape[0]] for i in range(weights.size))
    blurred: Plane = sum(weights[i] * rows[:, i : i + plane.shape[1]] for i in range(weights.size))
    return blurred


def _spread(plane: Plane) -> Plane:
    """Blur widely, like scatter: about a tenth of the film."""
    height, width = plane.shape
    small = Image.fromarray(plane).resize((12, 12), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def _finish(grey: Plane, exposure: Exposure) -> Pixels:
    height, width = grey.shape
    film = Image.fromarray(np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(film)
    left, top, right, bottom = exposure.borders
    for box in (
        (0, 0, left * width, height),
        (0, 0, width, top * height),
        ((1 - right) * width, 0, width, height),
        (0, (1 - bottom) * height, width, height),
    ):
        if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
            pen.rectangle(box, fill=round(255 * exposure.machine.black * 0.6))
    _write_marker(pen, exposure, height, width)
    _write_note(pen, exposure, height, width)
    return np.asarray(film).copy()


def _write_marker(pen: ImageDraw.ImageDraw, exposure: Exposure, height: int, width: int) -> None:
    letter, x, y, tall, grey = exposure.marker
    font = ImageFont.load_default(max(6, 1.35 * tall * height))
    pen.text((x * width, y * height), letter, fill=round(255 * grey), font=font, anchor="mm")


def _write_note(pen: ImageDraw.ImageDraw, exposure: Exposure, height: int, width: int) -> None:
    tall = max(7, 0.034 * width)
    font = ImageFont.load_default(tall)
    # Pillow's own font has no dash, so the dash is drawn between the words.
    before, after = SYNTHETIC_TEXT.split("–")
    dash = pen.textlength("H", font=font)
    x, at_top = exposure.note
    wide = pen.textlength(before + after, font=font) + dash
    left, base = (
        max(2.0, x * (width - wide - 8) + 4),
        1.4 * tall if at_top else height - 0.45 * tall,
    )
    middle = left + pen.textlength(before, font=font)
    for start, words in ((left, before), (middle + dash, after)):
        pen.text((start, base), words, fill=235, font=font, anchor="ls", stroke_width=1, stroke_fill=20)
    start, level, end = round(middle), round(base - 0.35 * tall), round(middle + 0.85 * dash)
    pen.rectangle((start - 1, level - 1, end + 1, level + 1), fill=20)
    pen.line([(start, level), (end, level)], fill=235)


# Files


def encode(pixels: Pixels, *, colour: bool = False) -> bytes:
    """Return a film as JPEG bytes whose comment and EXIF description mark it as synthetic."""
    exif = Image.Exif()
    exif[_IMAGE_DESCRIPTION] = COMMENT
    image = Image.fromarray(pixels).convert("RGB" if colour else "L")
    file = BytesIO()
    image.save(file, "JPEG", quality=92, comment=COMMENT, exif=exif)
    return file.getvalue()


def encode_dicom(pixels: Pixels, *, identity: str, patient_id: str, study_date: date, comment: str) -> bytes:
    """Return a film as the bytes of a DICOM file whose header says that it is synthetic.

    Args:
        pixels: uint8 (height, width).
        identity: Of the film: the same identity and date give the same UIDs, others give others.
        patient_id: Of the patient.
        study_date: Of the study.
        comment: That the film is synthetic.
    """
    # pydicom is optional.
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

    def digits(kind: str) -> str:
        digest = hashlib.sha256(f"{kind} {identity} {study_date}".encode()).digest()
        return str(int.from_bytes(digest[:16], "big"))

    day = study_date.strftime("%Y%m%d")
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.{digits('film')}")
    film.StudyInstanceUID = f"2.25.{digits('study')}"
    film.SeriesInstanceUID = f"2.25.{digits('series')}"
    film.ImageType = ["DERIVED", "PRIMARY"]
    film.StudyDate = film.SeriesDate = film.AcquisitionDate = film.ContentDate = day
    film.StudyTime = film.SeriesTime = film.AcquisitionTime = film.ContentTime = "120000"
    film.AccessionNumber = f"SYN{digits('study')[:12]}"
    film.Modality = "CR"
    film.Manufacturer = "pneumoscan"
    film.ManufacturerModelName = "phantom"
    film.InstitutionName = "No hospital"
    film.StudyDescription = film.SeriesDescription = "Synthetic chest film"
    film.ReferringPhysicianName = ""
    film.PatientName = f"Synthetic^{patient_id}"
    film.PatientID = f"SYNTHETIC-{patient_id}"
    film.PatientBirthDate = film.PatientSex = ""
    film.StudyID = digits("study")[:8]
    film.SeriesNumber = film.InstanceNumber = 1
    film.BodyPartExamined = "CHEST"
    film.ViewPosition = "AP"
    film.PatientOrientation = ["L", "F"]
    film.ImageComments = comment
    film.BurnedInAnnotation = "NO"
    film.SamplesPerPixel = 1
    film.PhotometricInterpretation = "MONOCHROME2"
    film.Rows, film.Columns = pixels.shape
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit = 7
    film.PixelRepresentation = 0
    # The window that shows each value as it is.
    film.WindowCenter, film.WindowWidth = 128, 256
    film.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    film["PixelData"].VR = "OB"
    file = BytesIO()
    film.save_as(file, enforce_file_format=True)
    return file.getvalue()
