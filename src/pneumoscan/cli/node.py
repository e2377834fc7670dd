"""`pneumoscan node`: a node beside the PACS of a hospital, and what it has read, for those who answer for it."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pneumoscan.cli.options import json_option, node_option
from pneumoscan.errors import NothingUsableError, UsageError

if TYPE_CHECKING:
    from pneumoscan.node.queue import Job, Queue
    from pneumoscan.node.settings import Config
    from pneumoscan.node.watch.drift import Watch

_STATES = ("found", "fetched", "made", "stored", "done", "refused", "skipped", "conflict", "parked")
_DAY = click.DateTime(["%Y-%m-%d"])


@click.group(short_help="Read the films of a hospital's PACS, and store reports beside them.")
def node() -> None:
    """Run a node beside a PACS. It finds new chest radiographs, reads each exactly once, and writes a report.

    Research use only, not for diagnosis. docs/hospital.md explains how to begin.
    """


@node.command()
@node_option
def init(*, config_path: Path) -> None:
    """Write a first node.toml, for shadow mode and an Orthanc on this machine."""
    from pneumoscan.files import write_atomic
    from pneumoscan.node.config import TEMPLATE

    if config_path.exists():
        raise UsageError(f"{config_path} is there already.", "Edit it, or name another with --config.")
    write_atomic(config_path, TEMPLATE)
    print(f"{config_path} is written, in shadow mode. Edit it, then: pneumoscan node check")


@node.command()
@node_option
@json_option
def check(*, config_path: Path, as_json: bool) -> None:
    """Check packages, disk, queue, model and PACS."""
    from pneumoscan.node.status import check as tries

    tried = []
    for one in tries(_load(config_path)):
        tried.append(one)
        if not as_json:
            remedy = f" {one.problem.remedy}" if one.problem is not None else ""
            print(f"{'ok  ' if one.problem is None else 'FAIL'} {one.what:9} {one.said}{remedy}", flush=True)
    if as_json:
        rows = [{"what": one.what, "ok": one.problem is None, "said": one.said,
                 "code": one.problem.code if one.problem else ""} for one in tried]  # fmt: skip
        print(json.dumps(rows, indent=2))
    failed = [one.problem for one in tried if one.problem is not None]
    if failed:
        sys.exit(failed[0].exit_code)


@node.command()
@node_option
@click.option(
    "--roles", help="One or more of find, receive and work, separated by commas [those of the settings]."
)
def run(*, config_path: Path, roles: str | None) -> None:
    """Run the node until SIGTERM or Ctrl-C. Unfinished work is finished, or continued at the next start."""
    from pneumoscan.node.run import run as run_node

    run_node(_load(config_path), [role.strip() for role in roles.split(",")] if roles else ())


@node.command()
@node_option
@json_option
def status(*, config_path: Path, as_json: bool) -> None:
    """Print the mode, whether the node runs, and the number of objects in each state, which sum to all ever found."""
    from pneumoscan.node.status import status_of

    config = _load(config_path)
    with opened_queue(config) as queue:
        found = status_of(queue, config)
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
        return
    runs = (
        f"runs on this machine: {', '.join(found.running)}"
        if found.running
        else "does not run on this machine"
    )
    print(f"mode {found.mode}; the node {runs}")
    if found.running and found.running_mode != found.mode:
        print(f"it was started in mode {found.running_mode}: restart it")
    for state, count in found.counts.items():
        codes = ", ".join(
            f"{name[len(state) + 1 : -1]} {n}"
            for name, n in found.codes.items()
            if name.startswith(state + "(")
        )
        print(f"{state:9}{count:8}{'   ' + codes if codes else ''}")
    print(f"{'all':9}{found.found:8}")
    if found.oldest_seconds is not None:
        print(f"{found.waiting} wait, the oldest for {found.oldest_seconds:.0f} s")
    for kind, counts in found.pushes.items():
        print(f"pushed by {kind}: {', '.join(f'{count} {name}' for name, count in counts.items())}")
    if found.looked_seconds is not None:
        print(f"last looked for films {found.looked_seconds:.0f} s ago")
    if found.problem:
        told = (
            ": the login is refused; correct it and restart the node" if found.problem == "pacs.login" else ""
        )
        print(f"looking fails: {found.problem}{told}")


@node.command("list")
@node_option
@click.option(
    "--state", type=click.Choice(_STATES), multiple=True, help="Only objects in this state; may be repeated."
)
@click.option("--limit", type=click.IntRange(1), default=50, help="Maximum number of objects.")
@json_option
def list_jobs(*, config_path: Path, state: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List objects: number, state, code, attempts, label and probability. --json adds UIDs and accession numbers."""
    import dataclasses

    from pneumoscan.node.queue import State

    with opened_queue(_load(config_path)) as queue:
        jobs = list(queue.jobs([State(name) for name in state], limit=limit))
    if as_json:
        print(json.dumps([dataclasses.asdict(job) for job in jobs], indent=2))
        return
    for job in jobs:
        print(_line(job))


@node.command()
@node_option
@click.argument("number", type=int)
@json_option
def show(*, config_path: Path, number: int, as_json: bool) -> None:
    """Print what was found about an object, and what readers said of it. NUMBER is that of `node list`."""
    import dataclasses

    from pneumoscan.node.desk import VerdictBook, job_of, shown_probability

    config = _load(config_path)
    with opened_queue(config) as queue:
        job = job_of(queue, number)
    if job is None:
        raise UsageError(f"there is no object {number}.", "pneumoscan node list")
    said = [one.said for one in VerdictBook(config).all() if one.object == number]
    picture = config.data / "pictures" / f"{number}.jpg"
    if as_json:
        shown = dataclasses.asdict(job) | {"probability": shown_probability(job)}
        shown |= {"picture": str(picture) if picture.exists() else None}
        print(json.dumps(shown | {"verdicts": [one.to_json() for one in said]}, indent=2))
        return
    print(f"object {job.id}: {job.state}{f' ({job.code})' if job.code else ''}, mode {job.mode}")
    print(f"study date {job.study_date or 'not known'}, device {job.device or 'not known'}")
    if job.label:
        probability = shown_probability(job)
        told = "" if probability is None else f", probability {probability:.6f}"
        print(f"answer {job.label}{told}, threshold {job.threshold} ({job.operating_point})")
        print(f"warnings: {job.warnings.replace(';', ', ') or 'none'}")
        print(f"model {job.model}")
    print(f"picture {picture}" if picture.exists() else "no picture is kept")
    for one in said:
        print(f"{one.time} {one.reader or 'no name'}: {one.verdict}{f', {one.note}' if one.note else ''}")


@node.command()
@node_option
@click.argument("ids", nargs=-1, type=int)
@click.option("--all", "everything", is_flag=True, help="Retry all parked objects.")
@click.option("--skipped", is_flag=True, help="Apply the present rules to all objects that rules left out.")
@click.option("--pushes", is_flag=True, help="Send all messages again that a receiver did not take.")
def retry(*, config_path: Path, ids: tuple[int, ...], everything: bool, skipped: bool, pushes: bool) -> None:
    """Put parked objects back into the queue, those that rules left out, or messages. IDS are the numbers of parked objects."""
    if bool(ids) + everything + skipped + pushes != 1:
        raise UsageError(
            "name the numbers of parked objects, or --all, --skipped or --pushes.",
            "pneumoscan node list --state parked",
        )
    if pushes:
        _change(config_path, "messages retried", lambda queue: queue.pushes.retry())
    elif skipped:
        _change(config_path, "judged again", lambda queue: queue.judge_again())
    else:
        _change(config_path, "retried", lambda queue: queue.retry(None if everything else ids))


@node.command()
@node_option
@click.argument("ids", nargs=-1, type=int, required=True)
def park(*, config_path: Path, ids: tuple[int, ...]) -> None:
    """Take waiting objects out of the queue until they are retried. IDS are their numbers."""
    _change(config_path, "parked", lambda queue: queue.park(ids, "by_hand"))


@node.command()
@node_option
@click.option("--timeout", type=click.FloatRange(1), default=3600.0, help="Seconds to wait for the end.")
def drain(*, config_path: Path, timeout: float) -> None:
    """Accept no new objects, finish the waiting ones, and end the running node."""
    import time

    from pneumoscan.node.queue import WAITING
    from pneumoscan.node.run import DRAIN

    until = time.monotonic() + timeout
    config = _load(config_path)
    with opened_queue(config) as queue:
        queue.set_mark(DRAIN, "yes")
        while True:
            counts, pushes = queue.counts(), queue.pushes.waiting(config.pushes)
            waiting = sum(counts[state] for state in WAITING)
            if not waiting + pushes or time.monotonic() >= until:
                break
            time.sleep(0.5)
    if waiting + pushes:
        raise UsageError(
            f"{waiting} objects and {pushes} messages still wait.",
            "Look whether the node runs: pneumoscan node status",
        )
    print("nothing waits any more")


@node.command()
@node_option
@click.option("--since", type=_DAY, required=True, help="First date of the studies.")
@click.option("--until", type=_DAY, help="Last date of the studies [today].")
@click.option("--re-read", is_flag=True, help="Also read films again that an earlier model has read.")
def sweep(*, config_path: Path, since: datetime, until: datetime | None, re_read: bool) -> None:
    """Add missing films of a range of dates to the queue."""
    from pneumoscan.node.audit import Audit
    from pneumoscan.node.find import search_days
    from pneumoscan.node.pacs import Pacs
    from pneumoscan.node.reader import load_model, reading_of, writer_of

    config = _load(config_path)
    last = (until or datetime.now()).date()
    if since.date() > last:
        raise UsageError("--since is after --until.", "Give the earlier date first.")
    reading = reading_of(writer_of(config, load_model(config))) if re_read else ""
    with opened_queue(config) as queue, Pacs(config) as pacs:
        found = search_days(pacs, queue, config, since=since.date(), until=last, reading=reading)
        Audit(config.data / "audit.jsonl").write(
            "swept", new=found.new, **({"reading": reading} if reading else {})
        )
    print(f"{found.new} new of {found.seen}")


@node.command()
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
    from pneumoscan.node.desk import VerdictBook
    from pneumoscan.node.watch.agreement import verdicts_by_week
    from pneumoscan.node.watch.drift import watch as look

    config = _load(config_path)
    chosen = reference or config.watch.reference
    with opened_queue(config) as queue:
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


@node.command()
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
    with opened_queue(_load(config_path)) as queue:
        jobs = list(queue.jobs())
    write_atomic(out, "".join(csv_of(jobs)), mode=0o600)
    found = None if known is None else agreement_of(jobs, known)
    if as_json:
        print(json.dumps({"rows": len(jobs), "agreement": found.to_json() if found else None}, indent=2))
        return
    print(f"{len(jobs)} rows are in {out}")
    for sentence in found.sentences() if found else ():
        print(sentence)


@node.command()
@node_option
def metrics(*, config_path: Path) -> None:
    """Print the figures in the format of Prometheus, for its node exporter."""
    from pneumoscan.node.desk import VerdictBook
    from pneumoscan.node.watch.prometheus import metrics_page

    config = _load(config_path)
    with opened_queue(config) as queue:
        print(metrics_page(queue, VerdictBook(config)).decode(), end="")


def _load(path: Path) -> "Config":
    from pneumoscan.node.config import load_config

    return load_config(path)


@contextmanager
def opened_queue(config: "Config") -> "Iterator[Queue]":
    """Open the queue of a node.

    Raises:
        EnvironmentProblemError, DataDamagedError: It cannot be opened.
    """
    from pneumoscan.node.queue import open_queue

    with closing(open_queue(config.data, config.queue.postgres)) as queue:
        yield queue


def _line(job: "Job") -> str:
    told = job.probability is not None and job.label != "NOT_A_CHEST_FILM"
    probability = f"{job.probability:.3f}" if told else ""
    return f"{job.id:7}  {job.state:9}{job.code:18} {job.attempts:2}  {job.label:17}{probability}"


def _change(path: Path, event: str, change: "Callable[[Queue], int]") -> None:
    from pneumoscan.node.audit import Audit

    config = _load(path)
    with opened_queue(config) as queue:
        count = change(queue)
    if not count:
        raise NothingUsableError("no such object is in a state for that.", "pneumoscan node list")
    Audit(config.data / "audit.jsonl").write(event, objects=count)
    print(f"{count} {event}")


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
