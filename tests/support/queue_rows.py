"""Rows of the node's queue, as weeks of work would leave them."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscan.node.queue import Arrival, Job, State, open_queue

_NUMBERS = count(1)


def job(day: date = date(2026, 1, 5), *, label: str = "NORMAL", **changes: Any) -> Job:
    """A film of a study of its own that was read on a day, 12 seconds after it was found."""
    number = next(_NUMBERS)
    found = datetime(day.year, day.month, day.day, 9, tzinfo=UTC).timestamp()
    values: dict[str, Any] = {
        "id": number, "sop_instance_uid": f"1.2.{number}", "study_instance_uid": f"1.3.{number}",
        "series_instance_uid": "1.4", "source": "qido", "mode": "shadow", "reading": "", "variant": "",
        "state": State.DONE, "code": "", "host": "", "spool": "", "attempts": 0, "claims": 1, "lease_until": None,
        "not_before": 0.0, "found_at": found, "fetched_at": found + 1, "made_at": None, "stored_at": None,
        "done_at": found + 12, "study_date": day.strftime("%Y%m%d"), "accession_number": f"A{number}",
        "device": "Maker One", "stored_sha256": "0" * 64, "pixels_sha256": "0" * 64, "label": label,
        "probability": 0.9 if label == "PNEUMONIA" else 0.1, "threshold": 0.5, "operating_point": "balanced",
        "warnings": "", "model": "tiny@0123456789ab", "report_uid": "", "report_sha256": "",
        "picture_uid": "", "picture_sha256": "", "state_uid": "", "state_sha256": "",
    }  # fmt: skip
    return Job(**values | changes)


def refused(day: date = date(2026, 1, 5), **changes: Any) -> Job:
    """An object that admission refused."""
    nothing = {
        "label": "",
        "probability": None,
        "threshold": None,
        "operating_point": "",
        "model": "",
    }
    return job(day, **nothing | {"state": State.REFUSED, "code": "film.view"} | changes)


def week_of_jobs(
    monday: date,
    rng: np.random.Generator,
    *,
    n: int = 120,
    beta: tuple[float, float] = (1.2, 2.0),
    unsure: float = 0.1,
    strange: float = 0.02,
    refusals: float = 0.1,
    devices: Sequence[str] = ("Maker One", "Maker Two"),
    **changes: Any,
) -> list[Job]:
    """A week with scores of a beta distribution and shares of UNSURE, NOT_A_CHEST_FILM and refusals."""
    rows = []
    for _ in range(n):
        day = monday + timedelta(days=int(rng.integers(7)))
        place = {"device": devices[int(rng.integers(len(devices)))]} | changes
        if rng.random() < refusals:
            rows.append(refused(day, **place))
            continue
        probability = float(rng.beta(*beta))
        label = "PNEUMONIA" if probability >= 0.5 else "NORMAL"
        draw = rng.random()
        if draw < strange:
            label = "NOT_A_CHEST_FILM"
        elif draw < strange + unsure:
            label = "UNSURE"
        rows.append(job(day, label=label, **{"probability": probability} | place))
    return rows


def store_weeks(folder: Path, *, weeks: int, changed: dict[int, dict[str, Any]]) -> None:
    """Fill the queue of a node with weeks of 60 objects from 2025-W01 on; `changed` has options of `week_of_jobs`."""
    rng = np.random.default_rng(7)
    folder.mkdir()
    with closing(open_queue(folder)) as queue:
        for week in range(weeks):
            monday = date(2024, 12, 30) + timedelta(weeks=week)
            for row in week_of_jobs(monday, rng, n=60, **changed.get(week, {})):
                queue.add([Arrival(**{field.name: getattr(row, field.name) for field in fields(Arrival)})])
                claimed = queue.claim("here", 60)
                assert claimed is not None
                told = (
                    "label",
                    "probability",
                    "threshold",
                    "operating_point",
                    "warnings",
                    "model",
                    "code",
                )
                queue.advance(claimed, row.state, **{name: getattr(row, name) for name in told})
