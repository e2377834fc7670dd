"""Records of a bundle: made-up figures of synthetic films."""

from typing import Any


def point(threshold: float, recall: float, specificity: float) -> dict[str, Any]:
    share = {"unsure_films": 0.02, "unsure_pneumonia": 0.01, "unsure_normal": 0.03}
    return {
        "threshold": threshold,
        "recall": recall,
        "specificity": specificity,
        "recall_ci95": [recall / 2, 1.0],
        "specificity_ci95": None,
        **share,
    }


def stress() -> dict[str, Any]:
    row = {"n": 10, "roc_auc": 0.9, "roc_auc_ci95": [0.8, 0.95], "accuracy": 0.9, "sensitivity": 0.8}
    row |= {"specificity": None}
    figures = dict.fromkeys(("roc_auc", "accuracy", "sensitivity", "specificity"))
    return {
        "threshold": 0.5,
        "plain": {"perturbation": "plain", **row},
        "table": [{"perturbation": "gamma_0_6", **row}],
        "mean": dict(figures, roc_auc=0.9),
        "worst": dict(figures, roc_auc={"perturbation": "gamma_0_6", "value": 0.9}),
    }


def some_records() -> dict[str, Any]:
    """Records that fit the description of the tiny bundle: points at 0.5 and 0.3, recall 0.9 at 0.5."""
    rates = (
        "accuracy",
        "roc_auc",
        "average_precision",
        "sensitivity",
        "specificity",
        "precision",
        "npv",
        "f1",
    )
    intervals = ("accuracy", "roc_auc", "sensitivity", "specificity", "precision")
    return {
        "operating_curve": {
            "source": "synthetic films",
            "n": 50,
            "n_positive": 20,
            "points": [
                point(0.0, 1.0, 0.0),
                point(0.3, 0.95, 0.4),
                point(0.5, 0.9, 0.8),
                point(1.0, 0.0, 1.0),
            ],
        },
        "held_out": {
            "source": "synthetic films",
            "n": 10,
            "n_positive": 4,
            "n_patients": None,
            "threshold": 0.5,
            **dict.fromkeys(rates, 0.9),
            **{f"{name}_ci95": [0.8, 1] for name in intervals},
            "brier_score": 0.1,
            "expected_calibration_error": 0.05,
            "confusion": {"tn": 5, "fp": 1, "fn": 1, "tp": 3},
        },
        "precision_recall": {"recall": [1.0, 0.5], "precision": [0.4, 1.0], "threshold": [0.1, 0.7]},
        "reliability": {
            "bins": [
                {
                    "low": low,
                    "high": low + 0.5,
                    "n": 5,
                    "mean_probability": low + 0.2,
                    "share_positive": low,
                    "ci95": [0.0, 0.9],
                }
                for low in (0.0, 0.5)
            ]
        },
        "stress": None,
        "cautions": ["Drawn."],
    }
