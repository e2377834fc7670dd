"""Heads for sites: recognise the site that a film resembles, and classify films of sites that the networks were not trained on.

A network that was trained at one hospital is no better than chance at another one whose films look different. A network that is
trained on both learns features that separate the patients of the second hospital without the lungs, and fails at a third one. The
networks are therefore trained at one site only, the home site. For each further site, a linear head classifies the means of the
inner maps of a network (A. S. Razavian et al., CVPR Workshops 2014). It is used only for films that resemble that site, so it
changes no answer at any other hospital.

A head uses only the deeper maps, and adds a small share of the networks' own answer. Each of these costs a hundredth of AUC at the
site itself, and makes the head depend less on the scanner. The first maps, which contain grain, sharpness and grey values, decide
whether a film resembles a further site. A film that resembles no site keeps the answer of the networks, and its distance from the
training films is large.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import nn

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
# Steepness of the transition from the answer of the networks to that of a head; the score is in log-odds.
_STEEPNESS = 4.0
# Shrinkage of a covariance towards a multiple of the identity.
_SHRINKAGE = 0.1
MEMBERSHIP_C, ANSWER_C = 1e-2, 1e-3


@dataclass(frozen=True)
class Linear:
    """A linear score of features (n, d): features @ weight + bias.

    Attributes:
        weight: float64 (d,).
        bias: The constant.
    """

    weight: Float64
    bias: float

    def __call__(self, features: npt.NDArray[np.floating]) -> Float64:
        """Return the scores float64 (n,)."""
        return np.asarray(features, np.float64) @ self.weight + self.bias

    def less(self, cut: float) -> "Linear":
        """Return the score moved so that `cut` becomes 0."""
        return Linear(self.weight, self.bias - cut)

    def scaled(self, factor: float, constant: float) -> "Linear":
        """Return factor · score + constant."""
        return Linear(self.weight * factor, self.bias * factor + constant)


@dataclass(frozen=True)
class Quadratic:
    """A quadratic score of features (n, d): z @ form @ z + slope @ z + constant, where z = features[:, :width] @ axes + shift.

    Attributes:
        axes: float64 (width, k); further features are not used.
        shift: float64 (k,).
        form: float64 (k, k), symmetric.
        slope: float64 (k,).
        constant: The constant.
    """

    axes: Float64
    shift: Float64
    form: Float64
    slope: Float64
    constant: float

    def __call__(self, features: npt.NDArray[np.floating]) -> Float64:
        """Return the scores float64 (n,)."""
        z = np.asarray(features[:, : len(self.axes)], np.float64) @ self.axes + self.shift
        scores: Float64 = np.einsum("ni,ij,nj->n", z, self.form, z) + z @ self.slope + self.constant
        return scores

    def less(self, cut: float) -> "Quadratic":
        """Return the score moved so that `cut` becomes 0."""
        return replace(self, constant=self.constant - cut)

    def divided(self, unit: float) -> "Quadratic":
        """Return the score in another unit."""
        return replace(self, form=self.form / unit, slope=self.slope / unit, constant=self.constant / unit)


@dataclass(frozen=True)
class Head:
    """Scores of a site other than the home site.

    Attributes:
        name: Name of the site.
        membership: A film resembles the site if this score is above 0.
        answer: Log-odds of PNEUMONIA, in units of the logit of the model, without the share of the networks.
        general: Factor of the logit of the networks, which is added.
    """

    name: str
    membership: Quadratic
    answer: Linear
    general: float = 0.0


class SiteHeads(nn.Module):
    """The heads as a module: maps of a network → scores of resemblance, answers and evidence."""

    home: torch.Tensor
    answers: torch.Tensor
    home_bias: torch.Tensor
    axes: torch.Tensor
    shift: torch.Tensor
    form: torch.Tensor
    slope: torch.Tensor
    constant: torch.Tensor
    answer_bias: torch.Tensor
    general: torch.Tensor

    def __init__(self, home: Linear, heads: Sequence[Head], widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        for name in ("axes", "shift", "form", "slope", "constant"):
            parts = np.stack([getattr(head.membership, name) for head in heads]).astype(np.float32)
            self.register_buffer(name, torch.from_numpy(parts))
        for name, scores in (("home", [home]), ("answers", [head.answer for head in heads])):
            weights = np.stack([score.weight for score in scores]).astype(np.float32)
            self.register_buffer(name, torch.from_numpy(weights))
        self.register_buffer("home_bias", _constants([home]))
        self.register_buffer("answer_bias", _constants([head.answer for head in heads]))
        self.register_buffer("general", torch.tensor([head.general for head in heads], dtype=torch.float32))

    def scores(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return float32 (N, sites), above 0 if the film resembles the site; the home site comes first."""
        features = means(maps)
        home = features @ self.home.T + self.home_bias  # (N, 1)
        z = features[:, : self.axes.shape[1]] @ self.axes + self.shift[:, None]  # (heads, N, k)
        scores = (z @ self.form * z).sum(2) + (z @ self.slope[:, :, None]).squeeze(2)  # (heads, N)
        return torch.cat([home, scores.T + self.constant], 1)

    def mixed(
        self, general: torch.Tensor, maps: Sequence[torch.Tensor], scores: torch.Tensor
    ) -> torch.Tensor:
        """Return the maps (N, h, w) of the networks, or those of the heads for films that resemble the sites of the heads."""
        answers = means(maps) @ self.answers.T + self.answer_bias
        evidence = self._evidence(maps, general.shape[1], answers)  # (N, heads, h, w)
        evidence = evidence + self.general[:, None, None] * general[:, None]
        share = torch.sigmoid(_STEEPNESS * scores[:, 1:])  # (N, heads)
        share = share / share.sum(1, keepdim=True).clamp(min=1)
        rest = 1 - share.sum(1)
        return rest[:, None, None] * general + (share[:, :, None, None] * evidence).sum(1)

    def _evidence(self, maps: Sequence[torch.Tensor], side: int, answers: torch.Tensor) -> torch.Tensor:
        """Return class activation maps (N, heads, side, side) whose means are the answers (N, heads)."""
        total = answers.new_zeros(())
        for weights, inner in zip(torch.split(self.answers, self.widths, 1), maps, strict=True):
            evidence = F.conv2d(inner, weights[:, :, None, None])
            while evidence.shape[2] > side:
                evidence = F.avg_pool2d(evidence, 2, ceil_mode=True, count_include_pad=False)
            total = total + evidence
        # After the pooling, cells at the edge have slightly other weights; the difference is distributed over the map.
        return total + (answers - total.mean((2, 3)))[:, :, None, None]


def means(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the features (N, d) of maps (N, C, h, w): the mean of each."""
    return torch.cat([inner.mean((2, 3)) for inner in maps], 1)


def fit_linear(features: npt.NDArray[np.floating], is_one: npt.NDArray[np.bool_], strength: float) -> Linear:
    """Fit a logistic regression on standardised features; with equal weights of the classes.

    Args:
        features: (n, d).
        is_one: (n,), the class that scores above 0.
        strength: Inverse of the L2 penalty, scikit-learn's `C`.
    """
    mean, spread = features.mean(0), features.std(0) + 1e-6
    model = LogisticRegression(C=strength, max_iter=2000, class_weight="balanced")
    model.fit((features - mean) / spread, is_one)
    weight = model.coef_[0] / spread
    return Linear(weight.astype(np.float64), float(model.intercept_[0] - weight @ mean))


def fit_ratio(inside: npt.NDArray[np.floating], outside: npt.NDArray[np.floating], axes: int) -> Quadratic:
    """Fit the logarithm of the ratio of two Gaussian densities: quadratic discriminant analysis, regularised.

    Both are fitted in the first principal axes of `outside`, and each covariance is moved towards a multiple of the identity
    (J. H. Friedman, Regularized discriminant analysis, JASA 84, 1989).

    Args:
        inside: (n, d), the films with high scores.
        outside: (m, d), all other films.
        axes: Number of principal axes, at most d.

    Returns:
        The score in units of its standard deviation over `inside`.
    """
    mean, spread = outside.mean(0), outside.std(0) + 1e-6
    _, vectors = np.linalg.eigh(np.cov(((outside - mean) / spread).T))
    weight = np.asarray(vectors[:, ::-1][:, :axes] / spread[:, None], np.float64)
    shift = -mean @ weight
    form, slope, constant = _gaussian(inside @ weight + shift)
    others = _gaussian(outside @ weight + shift)
    score = Quadratic(weight, shift, form - others[0], slope - others[1], constant - others[2])
    return score.divided(float(score(inside).std()) or 1.0)


def _gaussian(z: Float64) -> tuple[Float64, Float64, float]:
    """Return the logarithm of the density of points (n, k) as form, slope and constant, up to a constant that depends on k."""
    centre, covariance = z.mean(0), np.cov(z.T)
    width = len(centre)
    covariance = covariance + _SHRINKAGE * np.trace(covariance) / width * np.eye(width)
    precision = np.linalg.inv(covariance)
    constant = -0.5 * (centre @ precision @ centre + np.linalg.slogdet(covariance)[1])
    return -0.5 * precision, precision @ centre, float(constant)


def _constants(scores: Sequence[Linear]) -> torch.Tensor:
    return torch.tensor([score.bias for score in scores], dtype=torch.float32)
