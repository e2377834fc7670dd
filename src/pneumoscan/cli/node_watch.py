"""`pneumoscan node watch | export | metrics`: what the node has read, for those who answer for it."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pneumoscan.cli.options import json_option, node_option

if TYPE_CHECKING:
    from pneumoscan.node.queue import Queue
    from pneumoscan.node.watch.drift import Watch


@contextmanager
def opened_queue(config_path: Path) -> "Iterator[Queue]":
    """Open the queue of the node whose settings these are.

    Raises:
        ConfigError: They cannot be read.
        EnvironmentProblemError, DataDamagedError: The queue cannot be opened.
    """
    from pneumoscan.node.config import load_config
    from pneumoscan.node.queue import open_queue

    config = load_config(config_path)
    with closing(open_queue(config.data, config.queue.postgres)) as queue:
        yield queue


@click.command()
@node_option
@click.option(
    "--reference",
    nargs=2,
    metavar="FIRST LAST",
    help="First and last reference week, such as 2026-W01 2026-W08 [those of the settings].",
)
@click.option(
    "--weeks", type=click.IntRange(1), default=12, help="Number of weeks to print, up to the last one."
)
@json_option
def watch(*, config_path: Path, reference: tuple[str, str] | None, weeks: int, as_json: bool) -> None:
    """Print counts, shares, scores and times by week, and whether they differ from the reference weeks."""
    from pneumoscan.node.config import load_config
    from pneumoscan.node.desk import VerdictBook
    from pneumoscan.node.watch.agreement import verdicts_by_week
    from pneumoscan.node.watch.drift import watch as look

    config = load_config(config_path)
    chosen = reference or config.watch.reference
    with opened_queue(config_path) as queue:
        watched = look(queue, reference=chosen)
        verdicts = VerdictBook(config).all()
        said = verdicts_by_week(queue.jobs(), verdicts) if verdicts else []
    if as_json:
        print(json.dumps(watched.to_json() | {"verdicts": [one.to_json() for one in said]}, indent=2))
        return
    _print_weeks(watched, weeks)
    for sentence in watched.drift.sentences:
        print(sentence)
    for one in said[-weeks - 1 :]:
        print(one.sentence())


@click.command()
@node_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="CSV file to write.")
@click.option(
    "--diagnoses",
    type=click.Path(path_type=Path),
    help="CSV file with accession_number and diagnosis; the agreement of the answers with it is printed.",
)
@json_option
def export(*, config_path: Path, out: Path, diagnoses: Path | None, as_json: bool) -> None:
    """Write all rows to a CSV file. It contains patient data: UIDs and accession numbers."""
    from pneumoscan.files import write_atomic
    from pneumoscan.node.watch.agreement import agreement_of, csv_of, read_diagnoses

    known = None if diagnoses is None else read_diagnoses(diagnoses)
    with opened_queue(config_path) as queue:
        jobs = list(queue.jobs())
    write_atomic(out, "".join(csv_of(jobs)), mode=0o600)
    found = None if known is None else agreement_of(jobs, known)
    if as_json:
        print(json.dumps({"rows": len(jobs), "agreement": found.to_json() if found else None}, indent=2))
        return
    print(f"{len(jobs)} rows are in {out}")
    for sentence in found.sentences() if found else ():
        print(sentence)


@click.command()
@node_option
def metrics(*, config_path: Path) -> None:
    """Print the figures in the format of Prometheus, for its node exporter."""
    from pneumoscan.node.config import load_config
    from pneumoscan.node.desk import VerdictBook
    from pneumoscan.node.watch.metrics import metrics_page

    with opened_queue(config_path) as queue:
        print(metrics_page(queue, VerdictBook(load_config(config_path))).decode(), end="")


def _print_weeks(watched: "Watch", weeks: int) -> None:
    rows = [week for week in watched.weeks if not week.device][-weeks:]
    print("week       found   read  refused  UNSURE  NOT_A_CHEST_FILM  median score  seconds (median, 95%)")
    for row in rows:
        score = f"{row.score_quantiles[2]:.3f}" if row.score_quantiles else "-"
        seconds = "-" if row.seconds_median is None else f"{row.seconds_median:.1f}, {row.seconds_95:.1f}"
        print(
            f"{row.week}{row.found:8}{row.read:7}{_percent(row.refused_share):>9}{_percent(row.unsure_share):>8}"
            f"{_percent(row.not_a_chest_film_share):>18}{score:>14}  {seconds}"
        )


def _percent(share: Any) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"
