"""Write a bundle to a new folder, which is renamed to the target when it is complete."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pneumoscan.bundle.contents import (
    CARD,
    LUNGS,
    MODEL,
    OPTIONAL,
    RECORDS,
    REQUIRED,
    SPEC,
    TRAINING_FILMS,
    check_one_piece,
    checksum,
    verified,
)
from pneumoscan.bundle.load import Bundle
from pneumoscan.bundle.records import records_text
from pneumoscan.bundle.spec import SCHEMA_VERSION, BundleSpec
from pneumoscan.errors import BundleError, NotWritableError
from pneumoscan.files import make_folder, write_atomic, write_json, write_problems
from pneumoscan.system import sync_folder


def write_bundle(
    out: Path,
    *,
    onnx: bytes,
    spec: BundleSpec,
    readme: str,
    training_films: Sequence[str] = (),
    records: Mapping[str, Any] | None = None,
    lungs: bytes | None = None,
) -> None:
    """Write a bundle to the folder `out`, which appears when it is complete.

    Args:
        out: Folder of the bundle. An older bundle there is replaced. Any other non-empty folder is an error.
        onnx: The serialised network in one piece.
        spec: Its description. `files` is set here.
        readme: The model card, Markdown.
        training_films: SHA-256 (64 hexadecimal digits) of the films that the model was trained or selected on.
        records: Its evaluation, in the form of `records.check_records`; None writes none.
        lungs: The serialised lungs network in one piece, if `spec.lungs` describes one.

    Raises:
        NotWritableError: `out` is not a bundle, or cannot be written.
        DiskFullError: The disk is full. The older bundle is intact.
        BundleError: A network stores weights in another file, `lungs` and `spec.lungs` are not both given, `training_films` contains something else than hashes, or the
            records are invalid or belong to another model.
    """
    _check_replaceable(out)
    check_one_piece(onnx, out / MODEL)
    contents = {MODEL: onnx, CARD: readme.encode()}
    if (lungs is None) != (spec.lungs is None):
        raise BundleError(f"{out} needs both the lungs network and its description.", "Give both or none.")
    if lungs is not None:
        check_one_piece(lungs, out / LUNGS)
        contents[LUNGS] = lungs
    if training_films:
        contents[TRAINING_FILMS] = _hash_lines(training_films)
    if records is not None:
        contents[RECORDS] = records_text(records, spec).encode()
    _write(out, contents, spec)


def write_records(bundle: Bundle, records: Mapping[str, Any]) -> None:
    """Replace the records of a bundle. Its network, card and list of films stay the same bytes.

    Args:
        bundle: The bundle, whose folder is written again.
        records: The records in the form of `records.check_records`.

    Raises:
        NotWritableError, DiskFullError: The folder cannot be written. The bundle is unchanged.
        BundleError: A file of the bundle was changed since it was loaded, or the records are invalid or of another model.
    """
    _check_replaceable(bundle.path)
    kept = [name for name in bundle.spec.files if name != RECORDS]
    contents = {name: verified(bundle.path / name, bundle.spec) for name in kept}
    contents[RECORDS] = records_text(records, bundle.spec).encode()
    _write(bundle.path, contents, bundle.spec)


def write_regions(bundle: Bundle, regions: Mapping[str, Any]) -> None:
    """Replace `regions` in the description of a bundle. All other files stay the same bytes.

    Args:
        bundle: The bundle, whose folder is written again.
        regions: In the form of `checks.check_regions`.

    Raises:
        NotWritableError, DiskFullError: The folder cannot be written. The bundle is unchanged.
        BundleError: A file of the bundle was changed since it was loaded, or `regions` has another form.
    """
    _check_replaceable(bundle.path)
    contents = {name: verified(bundle.path / name, bundle.spec) for name in bundle.spec.files}
    _write(bundle.path, contents, replace(bundle.spec, regions=regions))


def _write(out: Path, contents: Mapping[str, bytes], spec: BundleSpec) -> None:
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    values = replace(spec, files=hashes, schema_version=SCHEMA_VERSION).to_json()
    make_folder(out.parent)
    with write_problems(out, creating=True):
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp"))
    try:
        for name, data in contents.items():
            write_atomic(temporary / name, data)
        write_json(temporary / SPEC, {**values, "checksum": checksum(values)})
        temporary.chmod(0o755)
        _take_name(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _hash_lines(hashes: Sequence[str]) -> bytes:
    for value in hashes:
        if not re.fullmatch(r"[0-9a-f]{64}", value):
            raise BundleError(
                f"{value!r} among the training films is not a SHA-256.", "Give 64 hexadecimal digits."
            )
    return "".join(f"{value}\n" for value in sorted(set(hashes))).encode()


def _check_replaceable(out: Path) -> None:
    if not (out.exists() or out.is_symlink()):
        return
    known = {SPEC} | REQUIRED | OPTIONAL
    if out.is_symlink() or not out.is_dir() or not {entry.name for entry in out.iterdir()} <= known:
        raise NotWritableError(
            f"{out} exists and contains other files than a model bundle.", "Choose another folder."
        )


def _take_name(temporary: Path, out: Path) -> None:
    """Rename the finished folder. An older bundle is moved aside first, and back if the renaming fails."""
    with write_problems(out):
        older = temporary.with_suffix(".old")
        if out.exists():
            out.rename(older)
        try:
            temporary.rename(out)
        except OSError:
            if older.exists():
                older.rename(out)
            raise
        sync_folder(out.parent)
        shutil.rmtree(older, ignore_errors=True)
