"""The model card of a bundle."""

from pneumoscan.bundle.load import BundleSpec
from pneumoscan.classifier import certain_distance, shown_to_work


def model_card(spec: BundleSpec) -> str:
    """Return the card as Markdown: the model, its training films, its figures, its use, and its limits."""
    sections = (_model, _elsewhere, _trained_on, _held_out, _calibration, _abstention, _use, _origin)
    return "\n".join(line for section in sections for line in section(spec))


def _model(spec: BundleSpec) -> list[str]:
    lines = [f"# {spec.name}", "", "**Research use only. Not a medical device.**"]
    if spec.training.get("synthetic"):
        lines += ["", "**Trained on synthetic films: it says nothing about real ones.**"]
    return [
        *lines,
        "",
        f"A network of {spec.parameters:,} parameters that estimates the probability that a frontal chest film "
        f"shows pneumonia (1 is {spec.class_names[1]}, 0 is {spec.class_names[0]}).",
        "",
    ]


def _trained_on(spec: BundleSpec) -> list[str]:
    training = spec.training
    return [
        "## Trained on",
        "",
        f"{training.get('n_films')} films of {training.get('n_patients')} patients ({training.get('n_positive')} films "
        f"labelled {spec.class_names[1]}); {training.get('val_fraction'):.0%} of them held out by patient. "
        f"Data fingerprint `{training.get('data_sha256')}`. Preset `{training.get('preset')}`, seed "
        f"{training.get('seed')}, {training.get('epochs')} epochs, the weights of epoch {training.get('kept_epoch')}.",
        "",
    ]


def _held_out(spec: BundleSpec) -> list[str]:
    figures = spec.training.get("hold_out") or {}
    accuracy, area, loss = (figures.get(key, float("nan")) for key in ("val_accuracy", "val_auc", "val_loss"))
    return [
        "## On the held-out films",
        "",
        f"Accuracy {accuracy:.4f}, AUC {area:.4f}, loss {loss:.4f}. These films come from the same site as the training "
        "films. Expect lower figures on films of other sites, and measure them before you rely on the model: "
        "`pneumoscan evaluate BUNDLE --data DIR --split test --out OUT`.",
        "",
        "| operating point | threshold | sensitivity | specificity | F1 | chosen |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {point['threshold']:.3f} | {point['recall']:.3f} | {point['specificity']:.3f} | {point['f1']:.3f} "
            f"| {point['source']} |"
            for name, point in spec.thresholds.items()
        ),
        "",
        f"Default: `{spec.default_operating_point}`. Temperature {spec.temperature:.4f}, fitted on the same views.",
        "",
    ]


def _use(spec: BundleSpec) -> list[str]:
    return [
        "## Use",
        "",
        "    pneumoscan predict film.jpg --model BUNDLE",
        "",
        f"Films are converted to grey, resized to {spec.preprocessing.size}×{spec.preprocessing.size} and normalised "
        f"(`{spec.preprocessing.normalisation}`, mean {spec.preprocessing.mean:g}, std {spec.preprocessing.std:g}).",
        "",
    ]


def _origin(spec: BundleSpec) -> list[str]:
    return [
        "## Origin",
        "",
        f"pneumoscan {spec.pneumoscan_version}, commit `{spec.commit or 'unknown'}`, {spec.created}. "
        f"Licence of the code and weights: {spec.licence['code']}. Data: {spec.licence['data']}.",
        "",
    ]


def _elsewhere(spec: BundleSpec) -> list[str]:
    """Return the section about what to expect at a hospital that the model has not seen."""
    return ["## What to expect elsewhere", "", shown_to_work(spec), ""] if spec.left_out else []


def _calibration(spec: BundleSpec) -> list[str]:
    facts = spec.calibration
    if facts is None:
        return []
    rows = [
        f"| {facts[when]['temperature']:.4f} | {facts[when]['log_loss']:.4f} | "
        f"{facts[when]['expected_calibration_error']:.4f} | {facts[when]['brier_score']:.4f} |"
        for when in ("before", "after")
    ]
    return [
        f"Probabilities on {facts['n']} {facts['source']}, before and after the temperature:",
        "",
        "| temperature | log loss | expected calibration error | Brier score |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _abstention(spec: BundleSpec) -> list[str]:
    """Return the section about the labels UNSURE and NOT_A_CHEST_FILM."""
    lines = [*_unsure_band(spec), *_detector(spec)] or [
        "The model never abstains: its bundle has no out-of-distribution detector and no unsure band.",
        "",
    ]
    return ["## Abstention", "", *lines]


def _unsure_band(spec: BundleSpec) -> list[str]:
    band = spec.thresholds[spec.default_operating_point].get("unsure_band")
    if not band:
        return []
    return [
        f"`UNSURE`: at `{spec.default_operating_point}`, probabilities from {band['low']:.3f} to {band['high']:.3f} "
        f"({band['films']:.1%} of the films and {band['errors']:.0%} of the errors where it was chosen: {band['source']}).",
        "",
    ]


def _detector(spec: BundleSpec) -> list[str]:
    if not (detector := spec.guard):
        return []
    alarms = ", ".join(f"{name} {share:.2%}" for name, share in (detector.get("false_alarms") or {}).items())
    return [
        f"`UNSURE` where the distance from the training films is {detector['unusual']:.3f} or more, `NOT_A_CHEST_FILM` from "
        f"{certain_distance(detector):.3f} on ({detector['source']}). False alarms on held-out films: "
        f"{alarms or 'not measured, too few films'}.",
        "",
        "Held-out films, turned:",
        "",
        "| | at least UNSURE | NOT_A_CHEST_FILM |",
        "|---|---|---|",
        *(
            f"| {name} | {rates['unusual']:.1%} | {rates['not_a_chest_film']:.1%} |"
            for name, rates in (detector.get("caught") or {}).items()
        ),
        "",
        "The detector recognises frontal chest films like those in training. An image that looks like one at 32×32 pixels passes. "
        "So does a film that is of poor quality, cropped, or of a similar body part.",
        "",
    ]
