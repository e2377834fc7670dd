"""Strengths of the random changes of a film in training; all are off by default."""

from pydantic import BaseModel, ConfigDict, Field


class AugmentationConfig(BaseModel):
    """Strengths of the random changes. The defaults change nothing.

    Attributes:
        rotation: Degrees, 0 to 180; the angle is uniform in ±rotation, counter-clockwise above 0.
        shift: Fraction of the side, 0 to 0.5; horizontal and vertical shifts are independent, each uniform in ±shift.
        zoom: Fraction, 0 to 0.5; the magnification is uniform in 1 ± zoom.
        crop: Smallest share of the area that a random crop keeps, 0.05 to 1 (off); the share is uniform in [crop, 1], and
            the crop is resized to the size of the film.
        crop_aspect: Largest ratio of the sides of the crop, 1 to 2; width / height is log-uniform in
            [1 / crop_aspect, crop_aspect], as far as a crop of this area fits into the film.
        flip: Probability of a left-right flip, 0 to 1. It puts the heart on the other side.
        border: Share of the side, 0 to 0.3; each of the four edges is covered, with probability one half, by a black strip
            whose depth is uniform in [0, border], like the edge of a collimator.
        marker: Probability, 0 to 1, of each of two bright boxes or letters R or L, of 3 to 12% of the side, mostly near an
            edge, like the side markers of real films.
        tone: 0 to 2; the grey values are mapped by an increasing curve of eight linear pieces whose slopes are, up to a
            common factor, exp(u) with u uniform in ±tone each.
        gamma: 0 to 1; the exponent is exp(u) with u uniform in ±gamma.
        contrast: 0 to 0.9; differences from the film's mean are multiplied by a factor uniform in 1 ± contrast.
        brightness: Fraction of the full scale, 0 to 0.5; uniform in ±brightness is added.
        noise: Fraction of the full scale, 0 to 0.25; the standard deviation of white Gaussian noise is uniform in
            [0, noise].
        blur: Pixels, 0 to 5; the standard deviation of a Gaussian blur is uniform in [0, blur].
        erase: Probability, 0 to 1, that one box is filled with the mean of the film (Zhong et al., Random Erasing Data
            Augmentation, AAAI 2020).
        erase_area: Largest share of the area that the box covers, 0.01 to 0.5; the share is uniform in
            [erase_area / 4, erase_area], the ratio of its sides log-uniform in [1/3, 3].
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rotation: float = Field(default=0.0, ge=0, le=180)
    shift: float = Field(default=0.0, ge=0, le=0.5)
    zoom: float = Field(default=0.0, ge=0, le=0.5)
    crop: float = Field(default=1.0, ge=0.05, le=1)
    crop_aspect: float = Field(default=1.0, ge=1, le=2)
    flip: float = Field(default=0.0, ge=0, le=1)
    border: float = Field(default=0.0, ge=0, le=0.3)
    marker: float = Field(default=0.0, ge=0, le=1)
    tone: float = Field(default=0.0, ge=0, le=2)
    gamma: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=0.9)
    brightness: float = Field(default=0.0, ge=0, le=0.5)
    noise: float = Field(default=0.0, ge=0, le=0.25)
    blur: float = Field(default=0.0, ge=0, le=5)
    erase: float = Field(default=0.0, ge=0, le=1)
    erase_area: float = Field(default=0.1, ge=0.01, le=0.5)

    @property
    def is_off(self) -> bool:
        """Whether no film is ever changed."""
        strengths = self.model_dump(exclude={"crop", "crop_aspect", "erase_area"})
        return self.crop == 1 and not any(strengths.values())
