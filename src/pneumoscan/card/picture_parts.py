"""Parts of synthetic pictures: grey values, noise, ellipses, grain."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Picture = npt.NDArray[np.uint8]


def axes(side: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return y and x from -1 to 1."""
    line = np.linspace(-1, 1, side)
    return line[:, None], line[None, :]


def grey(values: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> Picture:
    """Return values rounded and cut to uint8."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def stretched(values: npt.NDArray[np.floating]) -> Picture:
    """Return values from black to white."""
    low, high = values.min(), values.max()
    return grey(255 * (values - low) / (high - low))


def fractal(rng: np.random.Generator, side: int, *, power: float) -> npt.NDArray[np.float64]:
    """Return noise whose amplitude falls with frequency to the `power`; mean 0, deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    waves = np.fft.rfft2(rng.normal(size=(side, side))) / frequency**power
    field = np.fft.irfft2(waves, s=(side, side))
    scaled: npt.NDArray[np.float64] = field / field.std()
    return scaled


def ellipse(pen: ImageDraw.ImageDraw, side: int, x: float, y: float, rx: float, ry: float, fill: int) -> None:
    """Draw an ellipse; places and radii are shares of the side."""
    pen.ellipse(((x - rx) * side, (y - ry) * side, (x + rx) * side, (y + ry) * side), fill=fill)


def blurred(image: Image.Image, radius: float) -> Image.Image:
    """Return a picture with a Gaussian blur of so many pixels."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def filmed(rng: np.random.Generator, image: Image.Image, *, blur: float, noise: float) -> Picture:
    """Blur and add grain, as a detector does."""
    grain = rng.normal(0, noise, (image.height, image.width))
    return grey(np.asarray(blurred(image, blur), np.float64) + grain)
