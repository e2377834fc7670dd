"""Shortcuts: how well the label can be predicted without the lungs.

Linear models are trained on features that have little or nothing to do with the disease. They are evaluated by the area
under the ROC curve in folds by patient. 0.5 is chance. If the area is well above, the set contains a shortcut that a network
finds too (Geirhos et al., Nature Machine Intelligence 2 (2020) 665–673; for chest films Zech et al., PLoS Medicine 15 (2018)
e1002683, and DeGrave et al., Nature Machine Intelligence 3 (2021) 610–619).
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumoscan.data.audit.scan import FilmFacts, Scan
from pneumoscan.data.manifest import CLASS_NAMES, SPLITS, Manifest
from pneumoscan.errors import importing

FOLDS = 5
MAX_FILMS = 12_000
STRENGTH = 1e-3

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Probe:
    """A feature, and how well it predicts the label.

    Attributes:
        name: Stable key.
        title: Readable name.
        sees: Description of the input of the linear model.
        roc_auc: Mean over the folds, in [0, 1]; 0.5 if the feature is the same for all films.
        fold_aucs: One for each fold.
        constant: Whether all films have the same value.
    """

    name: str
    title: str
    sees: str
    roc_auc: float
    fold_aucs: tuple[float, ...]
    constant: bool


@dataclass(frozen=True)
class Shortcuts:
    """The probes, and the films on which they were measured.

    Attributes:
        split: `train`, or the largest split with both classes; None if there is none.
        n_films: Films used.
        n_patients: Patients of these films.
        n_folds: Folds by patient, stratified by label.
        probes: The probes in a fixed order; empty if nothing could be measured.
        note: Reason why nothing was measured, or that films were sampled; else empty.
    """

    split: str | None
    n_films: int
    n_patients: int
    n_folds: int
    probes: tuple[Probe, ...]
    note: str = ""

    def probe(self, name: str) -> Probe | None:
        """Return the probe with a name, if it was measured."""
        return next((probe for probe in self.probes if probe.name == name), None)


def require_scikit_learn() -> None:
    """Check that scikit-learn is installed, before any film is read.

    Raises:
        MissingDependencyError: It is not installed.
    """
    with importing():
        import sklearn.linear_model
        import sklearn.model_selection  # noqa: F401


def find_shortcuts(scan: Scan, manifest: Manifest) -> Shortcuts:
    """Measure how well border, thumbnail, size, file and brightness predict the label.

    The linear model is a standardised logistic regression with strong L2 regularisation (C = 0.001). At most 12,000 films
    are used, of whole patients that are sampled with a fixed seed.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    require_scikit_learn()
    labels, patients = manifest.labels[scan.index], manifest.patient_ids[scan.index]
    splits = np.array([manifest.films[i].split for i in scan.index], dtype=np.str_)
    split = _choose_split(splits, labels)
    if split is None:
        return Shortcuts(None, 0, 0, 0, (), "no split has readable films of both classes")
    rows, note = limited(np.flatnonzero(splits == split), patients)
    y_true, groups = labels[rows], patients[rows]
    n_patients, n_folds = len(np.unique(groups)), _folds_for(y_true, groups)
    if n_folds < 2:
        reason = f"{split} has fewer than two patients of a class"
        return Shortcuts(split, len(rows), n_patients, 0, (), reason)
    folds = _folds(y_true, groups, n_folds)
    probes = tuple(
        _measure(name, title, sees, features, y_true, folds)
        for name, title, sees, features in _questions(scan, rows)
    )
    return Shortcuts(split, len(rows), n_patients, n_folds, probes, note)


def _choose_split(splits: npt.NDArray[np.str_], labels: npt.NDArray[np.int64]) -> str | None:
    sizes = {s: int((splits == s).sum()) for s in SPLITS if len(np.unique(labels[splits == s])) == 2}
    return "train" if "train" in sizes else max(sizes, key=lambda split: sizes[split], default=None)


def limited(rows: npt.NDArray[np.int64], patients: npt.NDArray[np.str_]) -> tuple[npt.NDArray[np.int64], str]:
    """Return at most `MAX_FILMS` of the rows, of whole patients, and a note about it."""
    if len(rows) <= MAX_FILMS:
        return rows, ""
    names, patient_of, counts = np.unique(patients[rows], return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(names))
    taken = np.zeros(len(names), dtype=np.bool_)
    taken[order[np.cumsum(counts[order]) <= MAX_FILMS]] = True
    chosen = rows[taken[patient_of]]
    return chosen, f"measured on {len(chosen):,} of {len(rows):,} films, whole patients sampled at random"


def guess(
    name: str,
    title: str,
    sees: str,
    features: Features,
    y_true: npt.NDArray[np.int64],
    groups: npt.NDArray[np.str_],
) -> Probe | None:
    """Measure how well a linear model predicts 0 or 1 from features, in folds by patient.

    Args:
        name: Stable key.
        title: Readable name.
        sees: Description of the features.
        features: float32 (n, m).
        y_true: int64 (n,) of 0 and 1.
        groups: Array of str (n,), the patients.

    Returns:
        The probe; None if a class has fewer than two patients.
    """
    n_folds = _folds_for(y_true, groups)
    if n_folds < 2:
        return None
    return _measure(name, title, sees, features, y_true, _folds(y_true, groups, n_folds))


def _folds_for(y_true: npt.NDArray[np.int64], groups: npt.NDArray[np.str_]) -> int:
    return min(FOLDS, *(len(np.unique(groups[y_true == label])) for label in range(len(CLASS_NAMES))))


def _folds(
    y_true: npt.NDArray[np.int64], groups: npt.NDArray[np.str_], n_folds: int
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Return (train rows, held-out rows) of the folds with both classes in both parts."""
    from sklearn.model_selection import StratifiedGroupKFold

    cut = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0).split(y_true, y_true, groups)
    return [fold for fold in cut if all(len(np.unique(y_true[rows])) == 2 for rows in fold)]


def _questions(scan: Scan, rows: npt.NDArray[np.int64]) -> list[tuple[str, str, str, Features]]:
    facts = [scan.facts[row] for row in rows]
    size = np.array([(f.width, f.height, f.width / f.height) for f in facts], dtype=np.float32)
    n_bytes = np.log(np.array([[max(1, f.n_bytes)] for f in facts], dtype=np.float32))
    brightness = np.array([[f.brightness] for f in facts], dtype=np.float32)
    return [
        (
            "border",
            "Border",
            "the outer 12 pixels of the film at 200×200, without the centre",
            scan.border[rows],
        ),
        (
            "thumbnail",
            "Thumbnail",
            "the film at 20×20 pixels: outlines, markers and overall opacity, no texture",
            scan.coarse[rows],
        ),
        ("image_size", "Size in pixels", "width, height and their ratio; no pixel", size),
        ("file_size", "Size of the file", "the number of bytes; no pixel", n_bytes),
        ("mode", "Colour mode and format", "grey or colour, JPEG or PNG; no pixel", _one_hot(facts)),
        ("brightness", "Mean brightness", "one number for each film", brightness),
    ]


def _one_hot(facts: list[FilmFacts]) -> Features:
    kinds = np.array([f"{f.format} {f.mode}" for f in facts])
    return np.asarray(kinds[:, None] == np.unique(kinds)[None], dtype=np.float32)


def _measure(
    name: str,
    title: str,
    sees: str,
    features: Features,
    y_true: npt.NDArray[np.int64],
    folds: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
) -> Probe:
    if not folds or bool((features == features[0]).all()):
        return Probe(name, title, sees, 0.5, (), constant=True)
    aucs = tuple(_fold_auc(features, y_true, *fold) for fold in folds)
    return Probe(name, title, sees, float(np.mean(aucs)), aucs, constant=False)


def _fold_auc(
    features: Features, y_true: npt.NDArray[np.int64], fit: npt.NDArray[np.int64], held: npt.NDArray[np.int64]
) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=300))
    with warnings.catch_warnings():
        # Two digits of the AUC do not need the last step of the solver.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features[fit], y_true[fit])
    return float(roc_auc_score(y_true[held], model.decision_function(features[held])))
