"""Advice whether to use the model on films like these, by rules on the bounds of the intervals."""

from dataclasses import dataclass
from typing import Literal

from pneumoscan.adapt.figures import Figure, Figures
from pneumoscan.audit.shortcuts import Shortcuts, rival_words

LEAST_AREA = 0.80
LEAST_BALANCED_ACCURACY = 0.70
LEAST_SENSITIVITY, LEAST_SPECIFICITY = 0.90, 0.25
SENSITIVE_POINT = "sensitivity_98"

Advice = Literal["do_not_use", "shortcut", "too_few_films", "use_adapted", "use_as_it_is"]


@dataclass(frozen=True)
class Verdict:
    """The advice.

    Attributes:
        advice: `do_not_use`, `shortcut` (the labels of these films can be guessed without the lungs), `too_few_films` (the model may be usable, but these films do not show it), `use_adapted` or
            `use_as_it_is`.
        words: The same in a sentence.
        reasons: Sentences about the bounds that led to it.
    """

    advice: Advice
    words: str
    reasons: tuple[str, ...]

    @property
    def is_usable(self) -> bool:
        """Whether the films show that the model may be used."""
        return self.advice in {"use_adapted", "use_as_it_is"}


WORDS: dict[Advice, str] = {
    "do_not_use": "Do not use this model on films like these.",
    "shortcut": "Do not use this model because of these films: they do not show that it works, since their labels can be guessed "
    "without the lungs.",
    "too_few_films": "Do not use this model on films like these yet: there are too few to show that it is good enough.",
    "use_adapted": "Use it with the new temperature and threshold, and keep checking it.",
    "use_as_it_is": "Use it as it is, and keep checking it: a new threshold is not shown to be better.",
}


def verdict_on(
    area: Figure,
    as_it_is: Figures,
    adapted: Figures,
    gain: Figures,
    operating_point: str,
    shortcuts: Shortcuts,
) -> Verdict:
    """Decide, in this order.

    1. The area under the ROC curve is not shown to be 0.80: do not use.
    2. A shortcut comes within 0.05 of the area (see `Shortcuts.rival`): do not use because of these films.
    3. The refitted model is clearly better (balanced accuracy, or log loss with a balanced accuracy that is no lower) and good
    enough: use it adapted.
    4. The model as it is is good enough: use it as it is. Otherwise, if the refitted model is good enough: use it adapted.
    5. Neither: do not use.

    Films that are not answered count as wrong in the figures, so a model that answers few films is not good enough.

    Good enough means a balanced accuracy of 0.70 at the lower bound; for `sensitivity_98`, which trades specificity for
    sensitivity, a sensitivity of 0.90 and a specificity of 0.25 instead. A figure above a limit with a bound below it gives
    `too_few_films` instead of `do_not_use`.

    Args:
        area: Area under the ROC curve, which refitting does not change.
        as_it_is: Figures at the original operating point.
        adapted: Cross-validated figures.
        gain: `adapted` minus `as_it_is`.
        operating_point: Name of the operating point.
        shortcuts: How well the labels of the films can be guessed without the lungs.
    """
    reasons = [_bound("the area under the ROC curve", area, LEAST_AREA)]
    rival = shortcuts.rival(area.value)
    if rival is not None:
        reasons.append(rival_words(rival, area.value))
    if area.low < LEAST_AREA:
        return _verdict("too_few_films" if area.value >= LEAST_AREA else "do_not_use", reasons)
    if rival is not None:
        return _verdict("shortcut", reasons)
    limits = _limits(operating_point)
    good = {
        name: all(given[key].low >= least for key, least in limits)
        for name, given in (("as it is", as_it_is), ("re-fitted", adapted))
    }
    for name, given in (("as it is", as_it_is), ("re-fitted", adapted)):
        reasons += [
            _bound(f"{name}, the {key.replace('_', ' ')}", given[key], least) for key, least in limits
        ]
    answered = [given["answered"] for given in (as_it_is, adapted)]
    if any(figure.value < 1 for figure in answered):
        reasons.append(
            f"{answered[0].value:.1%} of the films are answered as it is, {answered[1].value:.1%} re-fitted; the others count as "
            "wrong."
        )
    reasons += [_gained(key, gain[key]) for key in ("balanced_accuracy", "log_loss")]
    if good["re-fitted"] and (_is_better(gain) or not good["as it is"]):
        return _verdict("use_adapted", reasons)
    if good["as it is"]:
        return _verdict("use_as_it_is", reasons)
    near = any(all(given[key].value >= least for key, least in limits) for given in (as_it_is, adapted))
    return _verdict("too_few_films" if near else "do_not_use", reasons)


def _limits(operating_point: str) -> list[tuple[str, float]]:
    if operating_point == SENSITIVE_POINT:
        return [("sensitivity", LEAST_SENSITIVITY), ("specificity", LEAST_SPECIFICITY)]
    return [("balanced_accuracy", LEAST_BALANCED_ACCURACY)]


def _is_better(gain: Figures) -> bool:
    balanced, loss = gain["balanced_accuracy"], gain["log_loss"]
    return balanced.low > 0 or (loss.high < 0 and balanced.value >= 0)


def _bound(name: str, figure: Figure, least: float) -> str:
    if figure.low >= least:
        shown = f"so it is shown to be at least the required {least:.2f}"
    elif figure.value >= least:
        shown = f"so it is not shown to be at least the required {least:.2f}"
    else:
        shown = f"below the required {least:.2f}"
    return f"{name[0].upper()}{name[1:]} is {figure.value:.3f} (lower bound {figure.low:.3f}), {shown}."


def _gained(key: str, figure: Figure) -> str:
    name = key.replace("_", " ")
    return f"Re-fitting changes the {name} by {figure.value:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})."


def _verdict(advice: Advice, reasons: list[str]) -> Verdict:
    return Verdict(advice, WORDS[advice], tuple(reasons))
