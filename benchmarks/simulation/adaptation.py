"""Compare rules for threshold and temperature on few labelled films: simulated logits, 200 simulations per size.

    python -m benchmarks.simulation.adaptation          # about a minute on one core; no model, no films

Each simulation draws the logits of a model for films of a hospital (with random shapes, spreads, shift, scale and share of
PNEUMONIA), patients with one to three films, and then many films of the same hospital for the evaluation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.record import Bar, Options, Record, run_one
from pneumoscan.adapt.fit import choose_cuts, smoothed_rates, top
from pneumoscan.bundle.spec import probability_of
from pneumoscan.evaluate.arrays import Floats, Labels
from pneumoscan.evaluate.calibration import fit_probability, fit_temperature, log_losses
from pneumoscan.evaluate.thresholds import MISSED_ONE_IN, balanced_cut

NAME = "adaptation"
SIZES = (20, 50, 100, 200)
HALF_GAP = 1.5
LEAST_OF_A_CLASS = 4
JUDGED_ON = 4000


@dataclass(frozen=True)
class Hospital:
    """The distribution of the logits at a hospital."""

    shape: str
    spreads: tuple[float, float]
    shift: float
    scale: float
    share: float

    def draw(self, rng: np.random.Generator, films: int, share: float | None = None) -> tuple[Floats, Labels]:
        """Return logits (n,) and labels (n,); the films of a patient are correlated by one half."""
        patients = films
        label = (rng.random(patients) < (self.share if share is None else share)).astype(np.int64)
        owner = np.repeat(np.arange(patients), rng.integers(1, 4, patients))[:films]
        truth = label[owner]
        seen = (
            np.where(rng.random(patients) < 0.08, 1 - label, label)[owner]
            if self.shape == "mislabelled"
            else truth
        )
        noise = (self._noise(rng, label)[owner] + self._noise(rng, truth)) / math.sqrt(2)
        spread = np.where(seen == 1, *self.spreads)
        return self.shift + self.scale * ((2 * seen - 1) * HALF_GAP + spread * noise), truth

    def _noise(self, rng: np.random.Generator, label: Labels) -> Floats:
        if self.shape == "skewed":
            # The tail lies towards the other class, as that of hard films does.
            return (2 * label - 1) * (1 - rng.exponential(size=label.size))
        return rng.standard_normal(label.size)


def some_hospital(rng: np.random.Generator, *, fits: bool) -> Hospital:
    """Draw a hospital; if the model fits, its threshold and temperature are right for its logits."""
    shape = ("normal", "skewed", "mislabelled")[rng.integers(3)]
    spreads = ((1.0, 1.0), (1.0, 1.0), (0.4, 1.4), (1.4, 0.4))[rng.integers(4)]
    shift = 0.0 if fits else (-4.0, -2.0, -1.0, 1.0, 2.0, 4.0)[rng.integers(6)]
    scale = 1.0 if fits else (0.5, 1.0, 2.0)[rng.integers(3)]
    return Hospital(shape, spreads, shift, scale, (0.3, 0.5, 0.74)[rng.integers(3)])


Cut = Callable[[Floats, Labels], float]


def youden(logits: Floats, y_true: Labels) -> float:
    """Return the middle of the cut-offs with the highest observed sensitivity + specificity."""
    seen = np.unique(logits)
    cuts = np.concatenate([[seen[0] - 1], (seen[1:] + seen[:-1]) / 2, [seen[-1] + 1]])
    called = logits >= cuts[:, None]
    gain = called[:, y_true == 1].mean(axis=1) - called[:, y_true == 0].mean(axis=1)
    tops = np.flatnonzero(gain >= gain.max() - 1e-12)
    return float(cuts[tops[len(tops) // 2]])


def midpoint(logits: Floats, y_true: Labels) -> float:
    return float(logits[y_true == 1].mean() + logits[y_true == 0].mean()) / 2


def platt_half(logits: Floats, y_true: Labels) -> float:
    """Return the cut-off where a Platt fit with a weak prior gives one half."""
    return -fit_probability(logits, y_true)[1]


def platt_share(logits: Floats, y_true: Labels) -> float:
    """Return the cut-off where a Platt fit with a weak prior gives the share of PNEUMONIA, which is best for balanced accuracy."""
    temperature, offset = fit_probability(logits, y_true)
    return temperature * logit(float(y_true.mean())) - offset


def smoothed(logits: Floats, y_true: Labels) -> float:
    """Return the cut-off with the highest sensitivity + specificity of the smoothed distributions."""
    grid, sensitivity, specificity = smoothed_rates(logits, y_true)
    return top(grid, sensitivity + specificity)


def lowest_found(logits: Floats, y_true: Labels) -> float:
    """Return the highest cut-off that misses at most one observed PNEUMONIA film in 50."""
    positive = np.sort(logits[y_true == 1])
    return float(positive[positive.size // MISSED_ONE_IN])


def smoothed_98(logits: Floats, y_true: Labels) -> float:
    return choose_cuts(logits, y_true)["sensitivity_98"]


BALANCED: dict[str, Cut] = {
    "keep": lambda _logits, _y_true: 0.0,
    "Youden": youden,
    "Platt at one half": platt_half,
    "Platt at the share": platt_share,
    "midpoint of the means": midpoint,
    "smoothed": smoothed,
    "weighted alike": balanced_cut,
}
SENSITIVE: dict[str, Cut] = {"lowest found": lowest_found, "smoothed": smoothed_98}


def logit(probability: float) -> float:
    share = min(max(probability, 1e-15), 1 - 1e-15)
    return math.log(share / (1 - share))


def simulate(record: Record, films: int, count: int, *, fits: bool) -> None:
    """Add the figures of `count` simulations of a size."""
    rng = np.random.default_rng((films, fits))
    rates: dict[str, list[tuple[float, float]]] = {}
    losses: dict[str, list[float]] = {}
    for _ in range(count):
        hospital = some_hospital(rng, fits=fits)
        logits, y_true = hospital.draw(rng, films)
        while min(y_true.sum(), (1 - y_true).sum()) < LEAST_OF_A_CLASS:
            logits, y_true = hospital.draw(rng, films)
        judged = hospital.draw(rng, JUDGED_ON, 0.5)
        for group, rules in (("balanced", BALANCED), ("sensitive", SENSITIVE)):
            for name, rule in rules.items():
                rates.setdefault(f"{group}: {name}", []).append(rates_at(*judged, rule(logits, y_true)))
        own = Hospital(hospital.shape, hospital.spreads, 0.0, 1.0, hospital.share).draw(rng, JUDGED_ON)
        alike = hospital.draw(rng, JUDGED_ON)
        for name, loss in log_loss_of_fits(logits, y_true, alike, fit_temperature(*own)).items():
            losses.setdefault(name, []).append(loss)
    place = f"{films} films, {'fits' if fits else 'shifted'}"
    for name, value in flattened(rates, losses).items():
        record.medians[f"{place}: {name}"] = round(value, 4)


def rates_at(logits: Floats, y_true: Labels, cut: float) -> tuple[float, float]:
    return float((logits[y_true == 1] >= cut).mean()), float((logits[y_true == 0] < cut).mean())


def log_loss_of_fits(
    logits: Floats, y_true: Labels, judged: tuple[Floats, Labels], own: float
) -> dict[str, float]:
    """Return the log loss on the evaluation films of keeping the model's temperature, of fitting one, and of an offset too."""
    temperature, offset = fit_probability(logits, y_true)
    fits = {
        "keep": (own, 0.0),
        "temperature alone": (fit_temperature(logits, y_true), 0.0),
        "temperature and offset, no prior": fit_probability(logits, y_true, ridge=1e-4),
        "temperature and offset": (temperature, offset),
    }
    return {
        name: float(log_losses(judged[1], probability_of(judged[0] + b, t)).mean())
        for name, (t, b) in fits.items()
    }


def flattened(
    rates: dict[str, list[tuple[float, float]]], losses: dict[str, list[float]]
) -> dict[str, float]:
    """Return means and 5% quantiles over the simulations."""
    found: dict[str, float] = {}
    for name, values in rates.items():
        sensitivity, specificity = np.array(values).T
        if name.startswith("balanced"):
            found[f"{name}, balanced accuracy"] = float((sensitivity + specificity).mean() / 2)
            found[f"{name}, its 5% quantile"] = float(np.quantile((sensitivity + specificity) / 2, 0.05))
        else:
            found[f"{name}, sensitivity"] = float(sensitivity.mean())
            found[f"{name}, share below 0.95"] = float((sensitivity < 0.95).mean())
            found[f"{name}, specificity"] = float(specificity.mean())
    return found | {f"log loss: {name}": float(np.mean(values)) for name, values in losses.items()}


def measure(options: Options) -> Record:
    """Simulate every size with a model that fits the hospital and with one that does not."""
    record, count = Record(NAME), 10 if options.quick else options.round_count(200)
    for films in SIZES:
        for fits in (True, False):
            simulate(record, films, count, fits=fits)
    record.facts["simulations of each size"] = count
    record.facts["medians"] = "means over the simulations, whatever the heading says"
    place = "50 films, shifted: balanced"
    used = record.medians[f"{place}: weighted alike, balanced accuracy"]
    for name in BALANCED.keys() - {"weighted alike"}:
        gain = used - record.medians[f"{place}: {name}, balanced accuracy"]
        # The rule of training is used here too; it may cost a little beside the best rule of this simulation.
        record.bars.append(Bar(f"50 films, shifted: weighted alike less {name}", round(gain, 4), -0.005))
    record.bars.sort(key=lambda bar: bar.what)
    return record


if __name__ == "__main__":
    run_one(NAME, __doc__ or "", measure)
