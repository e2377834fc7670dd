"""The plan of an archive: which inputs are read, by which model, with which options. Written once, after the listing."""

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pneumoscan import __version__
from pneumoscan.archive.listing import Listing
from pneumoscan.archive.storage import Folder
from pneumoscan.bundle.contents import SPEC
from pneumoscan.classifier import model_name
from pneumoscan.errors import DataDamagedError, UsageError
from pneumoscan.files import sha256_of

if TYPE_CHECKING:
    from pneumoscan.bundle.load import Bundle

PLAN = "_pneumoscan/plan.json"
LOCK = "_pneumoscan/lock"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Settings:
    """What the rows of an archive depend on, besides its inputs.

    Attributes:
        model: The column `model`.
        model_sha256: SHA-256 of the model's `model.json`, which has the hashes of its other files.
        threshold: In [0, 1].
        format: `parquet` or `csv`.
        part_size: Rows of a part.
        pneumoscan_version: The version that reads the films.
    """

    model: str
    model_sha256: str
    threshold: float
    format: str
    part_size: int
    pneumoscan_version: str = __version__


@dataclass(frozen=True)
class Plan:
    """The content of `plan.json`.

    Attributes:
        settings: See `Settings`.
        listing: The inputs.
        sources: The names that were given for them.
        created: When they had been listed, UTC.
    """

    settings: Settings
    listing: Listing
    sources: tuple[str, ...]
    created: str

    def to_json(self) -> dict[str, Any]:
        """Return it in the types of JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "created": self.created,
            "sources": list(self.sources),
            **asdict(self.listing),
            **asdict(self.settings),
        }


def model_facts(bundle: "Bundle") -> dict[str, str]:
    """Return what identifies a model: `model` and `model_sha256` of `Settings`."""
    return {"model": model_name(bundle), "model_sha256": sha256_of(bundle.path / SPEC)}


def write_plan(folder: Folder, settings: Settings, listing: Listing, sources: tuple[str, ...]) -> Plan:
    """Write the plan and return it; from then on it stays as it is."""
    plan = Plan(settings, listing, sources, datetime.now(UTC).isoformat(timespec="seconds"))
    folder.write(PLAN, (json.dumps(plan.to_json(), indent=2) + "\n").encode())
    return plan


def read_plan(folder: Folder) -> Plan | None:
    """Return the plan of a folder; None if the inputs have not been listed yet.

    Raises:
        DataDamagedError: The file is no plan.
    """
    data = folder.read(PLAN)
    if data is None:
        return None
    try:
        values = json.loads(data)
        settings = Settings(**{field.name: values[field.name] for field in fields(Settings)})
        listing = Listing(**{field.name: values[field.name] for field in fields(Listing)})
        if values["schema_version"] == SCHEMA_VERSION:
            return Plan(settings, listing, tuple(values["sources"]), values["created"])
    except (ValueError, KeyError, TypeError):
        pass
    raise DataDamagedError(
        f"{folder.where}/{PLAN} is no plan of this version.", "Choose another folder for the answers."
    )


def check_settings(plan: Plan, settings: Settings, where: str) -> None:
    """Raise UsageError if a folder was begun with other settings."""
    then, now = asdict(plan.settings), asdict(settings)
    differing = [name for name in then if then[name] != now[name]]
    if differing:
        told = "; ".join(f"{name.replace('_', ' ')} {then[name]}, not {now[name]}" for name in differing)
        raise UsageError(
            f"{where} was begun with {told}.", "Repeat the first command, or choose another --out."
        )


def check_listing(plan: Plan, listing: Listing, where: str) -> None:
    """Raise UsageError if the inputs are not those of the plan."""
    if listing != plan.listing:
        counts = f"{plan.listing.inputs} inputs, now there are {listing.inputs}"
        what = counts if listing.inputs != plan.listing.inputs else f"other inputs (also {listing.inputs})"
        raise UsageError(
            f"{where} was begun with {what}.",
            "Choose another --out; or give --listed to read what was listed then, whatever there is now.",
        )
