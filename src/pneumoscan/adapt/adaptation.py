"""The result of an adaptation: its report in Markdown and JSON, a section for the model card, and the bundle of the new model, whose outputs are verified."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import pneumoscan
from pneumoscan.adapt.fit import REPEATS, RULES, CrossValidated, Refit
from pneumoscan.adapt.hospital_films import HospitalFilms
from pneumoscan.adapt.verdict import Figure, Figures, Predictions, Recommendation, figures_of, resample
from pneumoscan.audit.shortcuts import MARGIN, Shortcuts
from pneumoscan.bundle.load import Bundle, load_bundle
from pneumoscan.bundle.spec import BundleSpec, log_odds, probability_of, self_check_inputs, self_check_of
from pneumoscan.bundle.write import write_bundle
from pneumoscan.errors import BundleError, importing
from pneumoscan.evaluate.arrays import Floats
from pneumoscan.evaluate.thresholds import OperatingPoint
from pneumoscan.files import write_atomic, write_json, write_table
from pneumoscan.pages import render

SCHEMA_VERSION = 1
NAMES = {
    "answered": "answered",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "log_loss": "log loss *",
    "brier_score": "Brier score *",
    "expected_calibration_error": "calibration error *",
}


@dataclass(frozen=True)
class Adaptation:
    """The result of an adaptation.

    Attributes:
        films: The films of the hospital with the outputs of the model.
        base: Name and SHA-256 of the network.
        fitted: The fit to all films.
        cross_validated: Predictions under fits to other patients.
        as_it_is: Figures at the original temperature and threshold.
        adapted: Cross-validated figures, and their `gain` over those.
        shortcuts: How well the labels of these films can be guessed without the lungs.
        cautions: Sentences to read before the figures.
    """

    films: HospitalFilms
    operating_point: str
    base: dict[str, str]
    fitted: Refit
    threshold_before: float
    temperature_before: float
    cross_validated: CrossValidated
    area: Figure
    as_it_is: Figures
    adapted: Figures
    gain: Figures
    verdict: Recommendation
    shortcuts: Shortcuts
    cautions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the record for reports and bundles: JSON types, without file names and patients."""
        point = self.operating_point
        changed = self.verdict.advice != "use_as_it_is"
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": asdict(self.verdict) | {"reasons": list(self.verdict.reasons)},
            "base": self.base,
            "n": self.films.n,
            "n_positive": self.films.n_positive,
            "n_patients": self.films.n_patients,
            "n_refused": len(self.films.refused),
            "operating_point": point,
            "folds": self.cross_validated.folds,
            "repeats": REPEATS,
            "before": {
                "temperature": self.temperature_before,
                "offset": 0.0,
                "threshold": self.threshold_before,
            },
            "fitted": {
                "temperature": self.fitted.temperature,
                "offset": self.fitted.offset,
                "threshold": self.fitted.threshold(point),
            },
            "fitted_is_in_use": changed,
            "roc_auc": _as_json(self.area),
            "as_it_is": {name: _as_json(figure) for name, figure in self.as_it_is.items()},
            "adapted": {name: _as_json(figure) for name, figure in self.adapted.items()},
            "gain": {name: _as_json(figure) for name, figure in self.gain.items()},
            "shortcuts": {probe.name: probe.roc_auc for probe in self.shortcuts.probes},
            "cautions": list(self.cautions),
            "pneumoscan_version": pneumoscan.__version__,
        }


def _as_json(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "ci95": list(figure.ci95)}


def write_report(folder: Path, found: Adaptation) -> None:
    """Write `adaptation.json`, `adaptation.md` and, if a film was refused, `refused.csv`.

    Raises:
        DiskFullError, NotWritableError: See `files.open_atomic`.
    """
    if found.films.refused:
        header = ("path", "error_code", "error")
        write_table(folder / "refused.csv", header, found.films.refused, as_it_was=True)
    write_atomic(folder / "adaptation.md", markdown(found))
    write_json(folder / "adaptation.json", found.to_json())


def markdown(found: Adaptation) -> str:
    """Return the report."""
    return _rendered("adaptation.md", found)


def card(found: Adaptation) -> str:
    """Return the section for the model card."""
    return _rendered("section.md", found)


def _rendered(template: str, found: Adaptation) -> str:
    return render(
        "pneumoscan.adapt", template, found=found, names=NAMES, shown=shown, repeats=REPEATS, margin=MARGIN
    )


def shown(figure: Figure, sign: str = "") -> str:
    """Return a figure with its interval, such as `0.912 (0.850 to 0.960)`."""
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f} to {figure.high:{sign}.3f})"


SAME = 1e-4


def write_adapted(bundle: Bundle, found: Adaptation, out: Path) -> None:
    """Write the bundle that the advice recommends: the refitted model, or the original one with the record of this check.

    Args:
        bundle: The model that was evaluated.
        found: The result, with the advice to use the model.
        out: Folder of the new bundle.

    Raises:
        BundleError: The graph cannot be changed, or gives other outputs than fitted; `out` is then not written.
        NotWritableError, DiskFullError: The folder cannot be written.
    """
    network = (bundle.path / "model.onnx").read_bytes()
    spec = replace(
        bundle.spec,
        default_operating_point=found.operating_point,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        adaptation=found.to_json(),
    )
    if found.verdict.advice == "use_adapted":
        network = with_temperature(network, temperature=found.fitted.temperature, offset=found.fitted.offset)
        spec = _refitted(bundle, spec, found)
    readme = _readme(bundle, found)
    hashes = sorted(bundle.training_films() | set(found.films.sha256))
    records = bundle.records() if _records_hold(bundle, found) else None
    write_bundle(out, onnx=network, spec=spec, readme=readme, training_films=hashes, records=records)
    try:
        _verify(bundle, found, load_bundle(out))
    except BundleError:
        shutil.rmtree(out, ignore_errors=True)
        raise


def _records_hold(bundle: Bundle, found: Adaptation) -> bool:
    """Return whether the records of the model are valid for the new bundle as well.

    They belong to the original temperature and thresholds. The held-out figures and the unsure bands belong to the default
    operating point. The figures of a refitted model are in the record of the adaptation.
    """
    same_point = found.operating_point == bundle.spec.default_operating_point
    return found.verdict.advice == "use_as_it_is" and same_point


def _refitted(bundle: Bundle, spec: BundleSpec, found: Adaptation) -> BundleSpec:
    """Return the description with the new temperature, operating points and known outputs."""
    known = bundle.run(self_check_inputs(spec.preprocessing)).logit + found.fitted.offset
    thresholds = {
        name: _point(found, name, point) if name in RULES else _moved(point, found)
        for name, point in spec.thresholds.items()
    }
    return replace(
        spec,
        name=spec.name if spec.name.endswith("-adapted") else f"{spec.name}-adapted",
        temperature=found.fitted.temperature,
        thresholds=thresholds,
        training=_training_facts(spec.training, found),
        # It was measured at the original temperature; the record of the adaptation has the new figures.
        calibration=None,
        self_check=self_check_of(known, found.fitted.temperature),
    )


def _training_facts(old: Mapping[str, Any], found: Adaptation) -> dict[str, Any]:
    """Return the facts about the training, with the colour scale of heatmaps adjusted to the new temperature."""
    if "map_full_scale" not in old:
        return dict(old)
    full = float(old["map_full_scale"]) * found.temperature_before / found.fitted.temperature
    return {**old, "map_full_scale": full}


def _point(found: Adaptation, name: str, old: Mapping[str, Any]) -> dict[str, Any]:
    """Return a new operating point with its cross-validated rates."""
    films = found.films
    calls, y_true = found.cross_validated.calls[name], films.y_true
    weights = resample(y_true, films.patients)
    figures = figures_of(y_true, films.patients, Predictions(calls, found.cross_validated.y_prob), weights)
    right, called = float(calls @ y_true), float(calls.sum())
    values: dict[str, Any] = {
        "name": name,
        "threshold": found.fitted.threshold(name),
        "source": f"{RULES[name]}, on {films.n} films of {films.n_patients} patients where it is used, "
        f"{films.n_positive} of them PNEUMONIA; rates by {found.cross_validated.folds}-fold cross-validation",
        "recall": figures["sensitivity"].value,
        "specificity": figures["specificity"].value,
        "precision": right / called if called else 0.0,
        "f1": 2 * right / (called + films.n_positive),
        "n": films.n,
        "n_positive": films.n_positive,
        "recall_ci95": figures["sensitivity"].ci95,
        "specificity_ci95": figures["specificity"].ci95,
    }
    return OperatingPoint(**values).to_json() | _band(old, values["threshold"], found)


def _moved(old: Mapping[str, Any], found: Adaptation) -> dict[str, Any]:
    """Return an operating point without a rule: at the same logit as before, without rates."""
    threshold = float(found.fitted.probability(found.temperature_before * log_odds(float(old["threshold"]))))
    source = f"{old['source']}; not chosen anew when the model was adapted"
    return {"threshold": threshold, "source": source} | _band(old, threshold, found)


def _band(old: Mapping[str, Any], threshold: float, found: Adaptation) -> dict[str, Any]:
    """Return the `unsure_band` of a point around its new threshold, with the same width in logits."""
    if not old.get("unsure_band"):
        return {}
    half = float(old["unsure_band"]["half_width"]) * found.temperature_before / found.fitted.temperature
    middle = log_odds(threshold)
    band = {
        "low": min(float(probability_of(middle - half, 1.0)), threshold),
        "high": max(float(probability_of(middle + half, 1.0)), threshold),
        "half_width": half,
        "source": f"as wide in logits as before the model was adapted: {old['unsure_band'].get('source', '')}",
    }
    return {"unsure_band": band}


def _readme(bundle: Bundle, found: Adaptation) -> str:
    """Return the model card with the result of the adaptation before the original text."""
    return f"{card(found)}\n{(bundle.path / 'README.md').read_text(encoding='utf-8')}"


def _verify(bundle: Bundle, found: Adaptation, written: Bundle) -> None:
    """Classify the films with both networks and compare their outputs.

    Raises:
        BundleError: The outputs do not agree.
    """
    changed = found.verdict.advice == "use_adapted"
    offset = found.fitted.offset if changed else 0.0
    worst = 0.0
    for index, film in enumerate(found.films.inputs):
        old, new = bundle.run(film[None]), written.run(film[None])
        graph = written.session.run(["probability"], {"film": film[None]})[0].astype(np.float64)
        expected = probability_of(old.logit + offset, written.spec.temperature)
        gaps: list[Floats] = [new.logit - old.logit - offset, new.probability - expected, graph - expected]
        gaps.append(old.logit - found.films.logits[index])
        if old.activation_map is not None and new.activation_map is not None:
            gaps.append((new.activation_map - old.activation_map - offset).astype(np.float64))
        # float32 logits have a relative precision of 1 in 10 million, also of the offset.
        scale = max(1.0, float(np.abs(old.logit).max()), abs(offset))
        worst = max(worst, *(float(np.abs(gap).max()) / scale for gap in gaps))
    if not worst <= SAME:
        raise BundleError(
            f"the re-fitted network differs by {worst:.2g} from what was fitted (allowed: {SAME:g}).",
            "Do not use it. Please report it with the versions that `pneumoscan doctor` prints.",
        )


_PREFIX = "adapted/"


def needs_onnx() -> Any:
    """Return the module `onnx`.

    Raises:
        MissingDependencyError: It is not installed.
    """
    with importing():
        import onnx
    return onnx


def with_temperature(network: bytes, *, temperature: float, offset: float) -> bytes:
    """Return the graph of a bundle with `logit` + offset, `activation_map` + offset, and probability = sigmoid(logit / T).

    The mean of the map is still the logit. Weights and all other operators do not change.

    Args:
        network: `model.onnx` of a bundle.
        temperature: The new temperature, above 0.
        offset: Added to the logit, before the temperature.

    Raises:
        MissingDependencyError: `onnx` is not installed.
        BundleError: The graph has no float32 output `logit`.
    """
    onnx = needs_onnx()
    model = onnx.load_from_string(network)
    graph = model.graph
    outputs = {output.name: output.type.tensor_type.elem_type for output in graph.output}
    if outputs.get("logit") != onnx.TensorProto.FLOAT or "probability" not in outputs:
        raise BundleError("the network has no float32 output `logit`.", "Export the model again.")
    _drop_probability(graph)
    number = sum(tensor.name.startswith(_PREFIX) for tensor in graph.initializer)
    names = {key: f"{_PREFIX}{key}{number}" for key in ("offset", "temperature", "scaled")}
    for key, value in (("offset", offset), ("temperature", temperature)):
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(value), names[key]))
    for name in ("activation_map", "logit"):
        if name in outputs:
            inner = f"{_PREFIX}{name}{number}"
            _rename(graph, name, inner)
            graph.node.append(onnx.helper.make_node("Add", [inner, names["offset"]], [name]))
    graph.node.append(onnx.helper.make_node("Div", ["logit", names["temperature"]], [names["scaled"]]))
    graph.node.append(onnx.helper.make_node("Sigmoid", [names["scaled"]], ["probability"]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _drop_probability(graph: Any) -> None:
    """Remove the nodes that only contribute to `probability`."""
    wanted = {output.name for output in graph.output} - {"probability"}
    while True:
        used = wanted | {name for node in graph.node for name in node.input}
        idle = [node for node in graph.node if not used & set(node.output)]
        if not idle:
            break
        for node in idle:
            graph.node.remove(node)
    idle_constants = [tensor for tensor in graph.initializer if tensor.name not in used]
    for tensor in idle_constants:
        graph.initializer.remove(tensor)


def _rename(graph: Any, name: str, new: str) -> None:
    """Rename a tensor everywhere inside the graph, so that the output with the old name is free."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, used in enumerate(names):
                if used == name:
                    names[index] = new
