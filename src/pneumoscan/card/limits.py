"""The sections of the model card about abstention and the checks of the map."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from pneumoscan.card.markdown import named, not_measured, percent, source, table, three
from pneumoscan.card.records import Records
from pneumoscan.classifier import certain_distance
from pneumoscan.evaluate.stress import readable_name

CAUGHT = 0.95
"""A kind of picture has a row of its own if the detector recognises less than this share."""

CHANCE = 0.5
"""The share of films in which a random square matters more than another random square."""


def limits_of_use(records: Records) -> list[str]:
    """Return when the model abstains, and how well its detector works."""
    spec = records.bundle.spec
    band, detector = spec.thresholds[spec.default_operating_point].get("unsure_band"), spec.guard
    lines = ["## Abstention", ""]
    if band:
        known = (
            f" This band contains {percent(band['films'], 1)} of the films and {percent(band['errors'])} of the errors"
            if "films" in band  # not counted again where a model was adapted
            else ""
        )
        lines.append(
            f"- **UNSURE, near the threshold**: a probability from {three(band['low'])} to {three(band['high'])}."
            f"{known} ({band['source']})."
        )
    if detector:
        lines += [
            f"- **UNSURE, far from the training films**: a `distance` of {detector['unusual']:.3f} or more.",
            f"- **NOT_A_CHEST_FILM**: {certain_distance(detector):.3f} or more, which practically no upright chest film reaches, and pictures with "
            f"flat areas like those of a screenshot. Source of the cut-offs in model.json: {detector['source']}.",
        ]
    if detector and detector.get("false_alarms"):
        lines.append(
            f"- **False alarms** on held-out films, with a cut-off from films of other patients: {percent(detector['false_alarms']['unusual'], 1)} at "
            "least UNSURE."
        )
    if not (band or detector):
        lines.append(
            "The model never abstains: model.json has no unsure band and no out-of-distribution detector."
        )
    return [*lines, *source("model.json"), "", *_detector_table(records)]


def _detector_table(records: Records) -> list[str]:
    record = records.guard
    if record is None:
        return not_measured(
            "The detector on turned films and other pictures", f"`{named(records, 'guard.json')}`"
        )
    views = dict(record["films"])
    rows = [("real films, unaltered (should be 0%)", *_rates(views.pop("as_it_is")))]
    if views:
        most = max(views, key=lambda name: views[name]["unusual"])
        rows.append(
            (
                f"… with the alteration that gives most alarms, {readable_name(most)} (should be 0%)",
                *_rates(views[most]),
            )
        )
    rows += _group("real films rotated, inverted or shrunk in {} ways", record["turned"])
    rows += _group("synthetic pictures of {} other kinds", record["drawn"])
    times = record.get("milliseconds")
    spent = (
        f" The network with the detector takes {times['with_guard']:.2f} ms per film, without it {times['without_guard']:.2f} ms."
        if times
        else ""
    )
    cut = record.get("guard", {}).get("not_a_chest_film")
    counted = "" if cut is None else f" NOT_A_CHEST_FILM is counted from a distance of {three(cut)} on."
    return [
        f"On {record['n_films']} real films ({record['films_are']}) and {record['n_pictures']} synthetic pictures of each kind. Kinds of which less than "
        f"{percent(CAUGHT)} are recognised have a row of their own.{counted}{spent}",
        "",
        *table(("pictures", "at least UNSURE", "NOT_A_CHEST_FILM"), rows),
        *source(named(records, "guard.json")),
    ]


def _group(title: str, kinds: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str, str]]:
    """Return the mean over kinds of pictures, and the kinds that are recognised least."""
    mean = {name: fmean(rates[name] for rates in kinds.values()) for name in ("unusual", "not_a_chest_film")}
    weak = {kind: rates for kind, rates in kinds.items() if rates["unusual"] < CAUGHT}
    rows = [(f"{title.format(len(kinds))}, mean (should be 100%)", *_rates(mean))]
    return rows + [(f"… {kind.replace('_', ' ')}", *_rates(rates)) for kind, rates in weak.items()]


def _rates(rates: Mapping[str, float]) -> tuple[str, str]:
    return percent(rates["unusual"], 1), percent(rates["not_a_chest_film"], 1)


def heatmaps(records: Records) -> list[str]:
    """Return the three checks of the map."""
    heading, record = ["## Checks of the map", ""], records.heatmaps
    if record is None:
        return [*heading, *not_measured("Three checks of the map", f"`{named(records, 'heatmaps.json')}`")]
    cut, other = record["deletion"], record["random_weights"]
    return [
        *heading,
        f"Three checks over {record['films']} held-out films:",
        "",
        f"- The mean of the map should be the logit. They differ by at most {record['mean_of_map_minus_logit']:.0e}.",
        f"- The hottest region should matter most. In {cut['films']} films that were correctly labelled PNEUMONIA, a square ({percent(cut['square'])} of "
        f"the side) was covered. At the hottest place the logit falls by {cut['fall_of_logit_hottest']:.2f}, elsewhere by "
        f"{cut['fall_of_logit_random']:.2f}. In {percent(cut['share_of_films_hottest_falls_more'])} of the films it falls more at the hottest "
        f"place.{_verdict(cut)}",
        f"- Random weights should give another map. Over {other['films']} films, the mean correlation with the true map is "
        f"{other['mean_correlation_of_maps']:.2f} (of absolute values: {other['mean_absolute_correlation_of_maps']:.2f}).",
        *source(
            named(records, "heatmaps.json"),
            then="The map is coarse. It shows the regions that contribute to the answer, not the outline of a disease.",
        ),
    ]


def _verdict(cut: Mapping[str, Any]) -> str:
    """Return a warning if the hottest square matters no more than any other."""
    more = cut["fall_of_logit_hottest"] > cut["fall_of_logit_random"]
    return (
        "" if more and cut["share_of_films_hottest_falls_more"] > CHANCE else " **The map fails this check.**"
    )
