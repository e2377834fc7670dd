"""When not to trust the model, in the model card: its own doubts, the checks of its map, and how it fails on drawn films."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from pneumoscan.card.failures import ANSWERS, GROUPS, told
from pneumoscan.card.markdown import named, not_measured, percent, source, table, three
from pneumoscan.card.records import PICTURE, Records
from pneumoscan.evaluation.stress import readable_name

CAUGHT = 0.95
"""A kind of drawing is named where the guard catches less than this."""

CHANCE = 0.5
"""The share of films in which a square covered at random would matter more than another one."""


def limits_of_use(records: Records) -> list[str]:
    """Tell when the model abstains, and how well its detector works."""
    spec = records.bundle.spec
    band, guard = spec.thresholds[spec.default_operating_point].get("unsure_band"), spec.guard
    lines = ["## When it says that it does not know", ""]
    if band:
        lines.append(
            f"- **UNSURE, near the threshold**: a probability from {three(band['low'])} to {three(band['high'])}. There lie {percent(band['films'], 1)} of "
            f"the films and {percent(band['errors'])} of the errors ({band['source']})."
        )
    if guard:
        lines += [
            f"- **UNSURE, far from the training films**: a `distance` of {guard['unusual']:.3f} or more.",
            f"- **NOT_A_CHEST_FILM**: {guard['not_a_chest_film']:.3f} or more. Both cut-offs are from {guard['source']}.",
        ]
    if guard and guard.get("false_alarms"):
        lines.append(
            f"- **False alarms** on held-out films, by cut-offs from other patients' films: {percent(guard['false_alarms']['unusual'], 1)} at least "
            f"UNSURE, {percent(guard['false_alarms']['not_a_chest_film'], 1)} NOT_A_CHEST_FILM."
        )
    if not (band or guard):
        lines += not_measured("When it should not be trusted", "band and no guard in model.json")
    return [*lines, *source("model.json"), "", *_guard_table(records)]


def _guard_table(records: Records) -> list[str]:
    record = records.guard
    if record is None:
        return not_measured(
            "What is caught of turned films and other pictures", f"`{named(records, 'guard.json')}`"
        )
    views = dict(record["films"])
    rows = [("real films as they are (should be 0%)", *_rates(views.pop("as_it_is")))]
    if views:
        most = max(views, key=lambda name: views[name]["unusual"])
        rows.append(
            (f"… in the view that alarms most, {readable_name(most)} (should be 0%)", *_rates(views[most]))
        )
    rows += _group("real films turned or spoilt in {} ways", record["turned"])
    rows += _group("drawings of {} other kinds", record["drawn"])
    times = record.get("milliseconds")
    spent = (
        f" Network and guard take {times['with_guard']:.2f} ms a film, the network alone {times['without_guard']:.2f}."
        if times
        else ""
    )
    return [
        f"On {record['n_films']} real films ({record['films_are']}) and {record['n_pictures']} drawings of each kind. What is caught to less than "
        f"{percent(CAUGHT)} has a row of its own.{spent}",
        "",
        *table(("what is shown", "at least UNSURE", "NOT_A_CHEST_FILM"), rows),
        *source(named(records, "guard.json")),
    ]


def _group(title: str, kinds: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str, str]]:
    """Return the mean over kinds of pictures, and the kinds that are caught worst."""
    mean = {name: fmean(rates[name] for rates in kinds.values()) for name in ("unusual", "not_a_chest_film")}
    weak = {kind: rates for kind, rates in kinds.items() if rates["unusual"] < CAUGHT}
    rows = [(f"{title.format(len(kinds))}, mean (should be 100%)", *_rates(mean))]
    return rows + [(f"… {kind.replace('_', ' ')}", *_rates(rates)) for kind, rates in weak.items()]


def _rates(rates: Mapping[str, float]) -> tuple[str, str]:
    return percent(rates["unusual"], 1), percent(rates["not_a_chest_film"], 1)


def heatmaps(records: Records) -> list[str]:
    """Tell the three checks of the map."""
    heading, record = ["## Does the map show what it looked at?", ""], records.heatmaps
    if record is None:
        return [*heading, *not_measured("Three checks of the map", f"`{named(records, 'heatmaps.json')}`")]
    cut, other = record["deletion"], record["random_weights"]
    return [
        *heading,
        f"Three checks over {record['films']} held-out films:",
        "",
        f"- The mean of the map should be the logit: they differ by at most {record['mean_of_map_minus_logit']:.0e}.",
        f"- What is hottest should matter most: {cut['films']} films rightly called PNEUMONIA had a square ({percent(cut['square'])} of the side) covered. "
        f"Where the map is hottest the logit falls by {cut['fall_of_logit_hottest']:.2f}, elsewhere by {cut['fall_of_logit_random']:.2f}; in "
        f"{percent(cut['share_of_films_hottest_falls_more'])} of the films it falls more where it is hottest.{_verdict(cut)}",
        f"- Random weights should destroy it: over {other['films']} films such a map correlates with the true one by "
        f"{other['mean_correlation_of_maps']:.2f} on average (absolute values: {other['mean_absolute_correlation_of_maps']:.2f}).",
        *source(
            named(records, "heatmaps.json"),
            then="The map is coarse. It shows where the answer comes from, not the outline of a disease.",
        ),
    ]


def _verdict(cut: Mapping[str, Any]) -> str:
    """Say that covering the hottest square is no worse than covering any other, where it is not."""
    more = cut["fall_of_logit_hottest"] > cut["fall_of_logit_random"]
    return (
        "" if more and cut["share_of_films_hottest_falls_more"] > CHANCE else " **The map fails this check.**"
    )


def failures(records: Records) -> list[str]:
    """Tell how the model fails on synthetic films."""
    heading, record = ["## Known failures", ""], records.failures
    if record is None:
        return [*heading, *not_measured("Failures on drawn films", f"`{named(records, 'failures.json')}`")]
    made = record["films"]
    unseen = "" if records.bundle.spec.training.get("synthetic") else ", and it learnt from none"
    rows = [(group, *(str(record["counts"][group][name]) for name in ANSWERS)) for group in GROUPS]
    lines = [
        *heading,
        f"No real film is shown here, so it was asked about drawings: {made['patients']} phantom children with and without pneumonia, in {made['views']} views; "
        f"healthy ones turned or inverted; {made['pictures']} pictures of each other kind. **Phantoms are far from real films{unseen}: "
        "this shows how it fails, not how often.**",
        "",
        *table(("pictures of", *ANSWERS), rows),
        *source(named(records, "failures.json")),
        "",
    ]
    if not record["cases"]:
        return [*lines, "None was answered wrongly; UNSURE and refused count as right."]
    kinds = ", ".join(f"{kind} {count}" for kind, count in record["failures"].items())
    return [
        *lines,
        f"Wrong are, UNSURE and refused aside: {kinds}. The surest of each kind, its evidence beside it:",
        "",
        f"![Drawn films that the model answers wrongly]({named(records, PICTURE)})",
        "",
        *(
            f"{place}. *{case['kind']}*: {told(case)}. Should be {case['should_be']}, says {case['says']}, probability {three(case['probability'])}."
            for place, case in enumerate(record["cases"], 1)
        ),
    ]
