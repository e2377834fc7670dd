"""Shortcuts: how well the label can be predicted without the lungs.

Linear models are trained on features that have little or nothing to do with the disease. They are evaluated by the area
under the ROC curve in folds by patient. 0.5 is chance. If the area is well above, the set contains a shortcut that a network
finds too (Geirhos et al., Nature Machine Intelligence 2 (2020) 665–673; for chest films Zech et al., PLoS Medicine 15 (2018)
e1002683, and DeGrave et al., Nature Machine Intelligence 3 (2021) 610–619).
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from pneumoscan.audit.scan import Scan, scan
from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.manifest import SPLITS, FilmRecord, Manifest
from pneumoscan.errors import importing

FOLDS = 5
MAX_FILMS = 12_000
STRENGTH = 1e-3
# A network whose area is not above that of a shortcut by more than this may have learnt the shortcut.
MARGIN = 0.05
# Groups of consecutive patients, and the least number of patients in one.
_GROUPS, _LEAST_OF_A_GROUP = 10, 4
# A number with one name before it, as in `00001281` or `person12`; other identifiers have no order.
_NUMBERED = re.compile(r"(\D*)(\d{1,18})")

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Probe:
    """A feature that a linear model sees, and how well it predicts the label: mean area over the folds; 0.5 if it is the same for all films."""

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
        split: `train`, or the largest split with both classes; `all` if all films were used; None if there is none.
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

    @property
    def strongest(self) -> Probe | None:
        """The probe that predicts the label best."""
        return max(self.probes, key=lambda probe: probe.roc_auc, default=None)

    def rival(self, roc_auc: float) -> Probe | None:
        """Return the shortcut that forbids to say that a network works on these films, or None.

        It is the strongest one, if the area of the network is not above it by more than `MARGIN`: what the network reaches may
        then come from the shortcut. `data inspect` and `adapt` use this rule.

        Args:
            roc_auc: Area under the ROC curve of the network on films of the same site, in [0, 1].
        """
        best = self.strongest
        return best if best is not None and roc_auc - best.roc_auc <= MARGIN else None


@dataclass(frozen=True)
class NetworkComparison:
    """What the label of a site can be guessed from, beside the area that a network reaches there.

    Attributes:
        site: Name of the site; empty if there is only one without a name.
        shortcut: Title of the strongest probe.
        shortcut_auc: Its area, in [0, 1].
        needed_auc: A network shows something only with an area above this.
        network: Name of the network; empty if none was compared, then the next three are None.
        network_auc: Its area on films of the site that it was not trained on.
        network_films: Number of these films.
        shown: Whether the area is above `needed_auc`.
        text: The same in a sentence.
    """

    site: str
    shortcut: str
    shortcut_auc: float
    needed_auc: float
    network: str
    network_auc: float | None
    network_films: int | None
    shown: bool | None
    text: str


def compare_with(
    by_site: Mapping[str, Shortcuts], network: str = "", areas: Mapping[str, tuple[float, int]] | None = None
) -> tuple[NetworkComparison, ...]:
    """Compare the shortcuts of each site with what a network reaches there.

    Args:
        by_site: The shortcuts by site; sites without a measurement are left out.
        network: Name of the network.
        areas: By site its area and the number of films.
    """
    found = []
    for site, shortcuts in by_site.items():
        best = shortcuts.strongest
        if best is None:
            continue
        needed = best.roc_auc + MARGIN
        area, films = (areas or {}).get(site, (None, None))
        rival = None if area is None else shortcuts.rival(area)
        where = f"On films of {site}: " if site else ""
        if area is None:
            shows = f"A network shows that it works here only with an AUC above {needed:.3f}."
            if needed >= 1:
                shows = "No network can show on these films that it works: not even an AUC of 1 is far enough above it."
            text = f"{where}The strongest shortcut is {best.title!r} with AUC {best.roc_auc:.3f}. {shows}"
        elif rival is not None:
            text = f"{where}{rival_words(rival, area)}"
        else:
            text = f"{where}The network, with AUC {area:.3f}, is above every shortcut; the best, {best.title!r}, gives {best.roc_auc:.3f}."
        found.append(
            NetworkComparison(
                site, best.title, best.roc_auc, needed, network if area is not None else "", area, films,
                None if area is None else rival is None, text,
            )
        )  # fmt: skip
    return tuple(found)


def require_scikit_learn() -> None:
    """Check that scikit-learn is installed, before any film is read.

    Raises:
        MissingDependencyError: It is not installed.
    """
    with importing():
        import sklearn.linear_model
        import sklearn.model_selection  # noqa: F401


def rival_words(probe: Probe, roc_auc: float) -> str:
    """Return the sentence that names a shortcut (see `Shortcuts.rival`), and the area of the network."""
    return (
        f"The label can be guessed without the lungs: {probe.sees} (shortcut {probe.title!r}) gives AUC "
        f"{probe.roc_auc:.3f}, and the network, with AUC {roc_auc:.3f}, is not better by more than {MARGIN:.2f}. So these films "
        "do not show that the network works."
    )


def find_shortcuts(seen: Scan, manifest: Manifest, split: str | None = None) -> Shortcuts:
    """Measure how well border, thumbnail, size, file, brightness, view and order of the patients predict the label.

    The linear model is a standardised logistic regression with strong L2 regularisation (C = 0.001). At most 12,000 films
    are used, of whole patients that are sampled with a fixed seed.

    Args:
        seen: The films.
        manifest: The table of the films.
        split: The split that is used, or `all`; by default `train`, or the largest one with both classes.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    require_scikit_learn()
    labels, patients = manifest.labels[seen.index], manifest.patient_ids[seen.index]
    splits = np.array([manifest.films[i].split for i in seen.index], dtype=np.str_)
    split = split or _choose_split(splits, labels)
    if split is None:
        return Shortcuts(None, 0, 0, 0, (), "no split has readable films of both classes")
    rows, note = limited(np.flatnonzero((splits == split) | (split == "all")), patients)
    y_true, groups = labels[rows], patients[rows]
    n_patients, n_folds = len(np.unique(groups)), _folds_for(y_true, groups)
    if n_folds < 2:
        reason = f"{split} has fewer than two patients of a class"
        return Shortcuts(split, len(rows), n_patients, 0, (), reason)
    folds = _folds(y_true, groups, n_folds)
    probes = tuple(
        _measure(name, title, sees, features, y_true, folds)
        for name, title, sees, features in _questions(seen, manifest, rows)
    )
    return Shortcuts(split, len(rows), n_patients, n_folds, probes, note)


def shortcuts_of(manifest: Manifest, *, workers: int | None = None) -> Shortcuts:
    """Read the films of one site, and measure the shortcuts on all of them.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
        NothingUsableError: No film can be read.
    """
    require_scikit_learn()
    return find_shortcuts(scan(manifest, workers=workers), manifest, "all")


def shortcuts_by_site(seen: Scan, manifest: Manifest, together: Shortcuts) -> Mapping[str, Shortcuts]:
    """Return the shortcuts of each site; `together` are those of all films, which are the same if there is one site."""
    if len(manifest.site_names) == 1:
        return {manifest.site_names[0]: together}
    sites = manifest.sites[seen.index]
    return {
        site: find_shortcuts(seen.take(np.flatnonzero(sites == site)), manifest)
        for site in manifest.site_names
        if (sites == site).any()
    }


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


def _questions(
    seen: Scan, manifest: Manifest, rows: npt.NDArray[np.int64]
) -> list[tuple[str, str, str, Features]]:
    facts = [seen.facts[row] for row in rows]
    films = [manifest.films[fact.index] for fact in facts]
    size = np.array([(f.width, f.height, f.width / f.height) for f in facts], dtype=np.float32)
    n_bytes = np.log(np.array([[max(1, f.n_bytes)] for f in facts], dtype=np.float32))
    brightness = np.array([[f.brightness] for f in facts], dtype=np.float32)
    return [
        (
            "border",
            "Border",
            "the outer 12 pixels of the film at 200×200, without the centre",
            seen.border[rows],
        ),
        (
            "thumbnail",
            "Thumbnail",
            "the film at 20×20 pixels: outlines, markers and overall opacity, no texture",
            seen.coarse[rows],
        ),
        ("image_size", "Size in pixels", "width, height and their ratio; no pixel", size),
        ("file_size", "Size of the file", "the number of bytes; no pixel", n_bytes),
        (
            "mode",
            "Colour mode and format",
            "grey or colour, JPEG or PNG; no pixel",
            _one_hot([f"{f.format} {f.mode}" for f in facts]),
        ),
        ("brightness", "Mean brightness", "the mean grey value of the film", brightness),
        *_views(films),
        *_orders(films),
    ]


def _views(films: Sequence[FilmRecord]) -> list[tuple[str, str, str, Features]]:
    if not any(film.view for film in films):
        return []
    return [("view", "View", "PA, AP or unknown; no pixel", _one_hot([film.view or "" for film in films]))]


def _orders(films: Sequence[FilmRecord]) -> list[tuple[str, str, str, Features]]:
    """Return the order of the patients' numbers in groups of equal size; nothing if the patients are not numbered.

    If the films of a class were collected one after another, the order tells the label, and so may anything that changed meanwhile.
    """
    names = [film.patient_id.rpartition("/")[2] for film in films]
    matches = [_NUMBERED.fullmatch(name) for name in names]
    numbers = np.array([int(match[2]) for match in matches if match])
    known = all(name != PurePosixPath(film.path).stem for name, film in zip(names, films, strict=True))
    if not known or len(numbers) < len(films) or len({match[1] for match in matches if match}) > 1:
        return []
    ranks = np.unique(numbers, return_inverse=True)[1]
    n_patients = int(ranks.max()) + 1
    n_groups = max(1, min(_GROUPS, n_patients // _LEAST_OF_A_GROUP))
    groups = _one_hot((ranks * n_groups // n_patients).tolist())
    sees = f"the patient's number, in {n_groups} groups of consecutive patients; no pixel"
    return [("patient_order", "Order of the patients", sees, groups)]


def _one_hot(values: Sequence[object]) -> Features:
    kinds = np.array(values)
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
