"""Copies of films: the same file, the same pixels, or a near copy.

The thresholds of near copies were chosen on the 5,232 real films of train and val:

- Candidates differ in at most 24 of the 256 bits of a difference hash (each cell of 16×17 against its right
  neighbour). The search is exhaustive: every pair is compared. 400 films saved again as JPEG of quality 50 and 20, halved in
  size, with gamma 0.7 and 1.3, with more contrast or with noise of 5 grey levels differ from their originals in 19 bits
  at most; about 1,600 pairs of the set are candidates.
- A candidate is a near copy if the *detail* of the two films (64×64 thumbnails minus their 7×7 local mean)
  correlates at 0.85 or more. The copies named above have 0.957 or more (0.98 at the median), those of JPEG quality 10
  have 0.886; the two different films that are most alike, of two patients, have 0.754, and the two films of one patient
  that are most alike 0.627. Plain thumbnails separate less well: any two chests correlate up to 0.970, and a copy with
  gamma 0.7 has 0.988.

Films of the same patient are therefore well below the threshold. Mirrored copies, and copies cropped by more than about 1%
of a side, are not detected.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pneumoscan.audit.scan import Scan
from pneumoscan.bundle.spec import CLASS_NAMES
from pneumoscan.data.manifest import FilmRecord, Manifest

MAX_BITS = 24
MIN_CORRELATION = 0.85
_HASH_BITS = 256
_BLOCK = 512
_WINDOW = 7

Kind = Literal["same_file", "same_pixels", "near_copy"]
Pair = tuple[int, int, float]


@dataclass(frozen=True)
class DuplicateGroup:
    """Films that show the same image.

    Attributes:
        kind: `same_file` (equal bytes), `same_pixels` (equal once decoded) or `near_copy`.
        films: Two or more rows, in the order of the manifest.
        correlation: Lowest correlation of detail among the pairs that connect near copies; 1 for other kinds.
    """

    kind: Kind
    films: tuple[FilmRecord, ...]
    correlation: float

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the films, sorted."""
        return tuple(sorted({film.split for film in self.films}))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels of the films, sorted."""
        return tuple(sorted({CLASS_NAMES[film.label] for film in self.films}))

    @property
    def across_splits(self) -> bool:
        """Whether the films are in more than one split."""
        return len(self.splits) > 1

    @property
    def contradictory(self) -> bool:
        """Whether the films have more than one label."""
        return len(self.class_names) > 1

    @property
    def same_patient(self) -> bool:
        """Whether the films belong to one patient."""
        return len({film.patient_id for film in self.films}) == 1


@dataclass(frozen=True)
class Duplicates:
    """All groups, most severe first, and the margin of the threshold.

    Attributes:
        groups: Contradictory ones first, then those across splits, then by kind.
        n_candidates: Pairs of different films whose hashes are within `MAX_BITS`.
        closest_below: Highest correlation of a candidate that is not a near copy; None without one.
    """

    groups: tuple[DuplicateGroup, ...]
    n_candidates: int
    closest_below: float | None

    def of_kind(self, kind: Kind) -> tuple[DuplicateGroup, ...]:
        """Return the groups of one kind."""
        return tuple(group for group in self.groups if group.kind == kind)

    @property
    def n_redundant(self) -> int:
        """Number of films that remain redundant if one of each group with equal pixels is kept."""
        return sum(len(group.films) - 1 for group in self.groups if group.kind != "near_copy")


def find_duplicates(scan: Scan, manifest: Manifest) -> Duplicates:
    """Find the films that are in a set more than once."""
    identical = _identical(scan)
    firsts = np.array([rows[0] for rows in identical], dtype=np.int64)
    candidates = list(candidate_pairs(scan.hash_bits[firsts], scan.detail[firsts]))
    near = [pair for pair in candidates if pair[2] >= MIN_CORRELATION]
    below = [pair[2] for pair in candidates if pair[2] < MIN_CORRELATION]
    groups = [_group(scan, manifest, rows) for rows in identical if len(rows) > 1]
    for members, correlation in _components(len(identical), near):
        rows = [row for member in members for row in identical[member]]
        groups.append(DuplicateGroup("near_copy", _records(scan, manifest, rows), correlation))
    return Duplicates(tuple(sorted(groups, key=_order)), len(candidates), max(below, default=None))


def _identical(scan: Scan) -> list[list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, facts in enumerate(scan.facts):
        rows[facts.pixels_sha256].append(row)
    return list(rows.values())


def _group(scan: Scan, manifest: Manifest, rows: Sequence[int]) -> DuplicateGroup:
    contents = {scan.facts[row].content_sha256 for row in rows}
    return DuplicateGroup(
        "same_file" if len(contents) == 1 else "same_pixels", _records(scan, manifest, rows), 1.0
    )


def _records(scan: Scan, manifest: Manifest, rows: Iterable[int]) -> tuple[FilmRecord, ...]:
    return tuple(manifest.films[scan.facts[row].index] for row in sorted(rows))


def _order(group: DuplicateGroup) -> tuple[bool, bool, int, str]:
    kinds = ("same_file", "same_pixels", "near_copy")
    return not group.contradictory, not group.across_splits, kinds.index(group.kind), group.films[0].path


def candidate_pairs(hash_bits: npt.NDArray[np.uint8], detail: npt.NDArray[np.uint8]) -> Iterable[Pair]:
    """Yield (i, j, correlation of detail) with i < j for every pair whose hashes differ in at most `MAX_BITS` bits.

    Args:
        hash_bits: uint8 (n, 32), packed.
        detail: uint8 (n, 64, 64) thumbnails.
    """
    signs = np.unpackbits(hash_bits, axis=1).astype(np.float32) * 2 - 1
    for start in range(0, len(signs), _BLOCK):
        # For vectors of ±1 the product is bits minus twice the Hamming distance, so a matrix product counts a block.
        products = signs[start : start + _BLOCK] @ signs[start:].T
        first, second = np.nonzero(products >= _HASH_BITS - 2 * MAX_BITS)
        keep = second > first
        yield from _correlated(detail, first[keep] + start, second[keep] + start)


def _correlated(
    detail: npt.NDArray[np.uint8], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> Iterable[Pair]:
    if not len(first):
        return
    rows, row_of = np.unique(first, return_inverse=True)
    columns, column_of = np.unique(second, return_inverse=True)
    # A product of the concerned films costs no more than all pairs, even if many films look alike.
    correlation = (unit_detail(detail[rows]) @ unit_detail(detail[columns]).T)[row_of, column_of]
    yield from zip(first.tolist(), second.tolist(), correlation.tolist(), strict=True)


def unit_detail(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return thumbnails minus their 7×7 local mean, as rows of length 1.

    Args:
        thumbnails: uint8 (n, 64, 64).

    Returns:
        float32 (n, 4096); a thumbnail without any detail becomes zeros.
    """
    values = thumbnails.astype(np.float32)
    half = _WINDOW // 2
    padded = np.pad(values, ((0, 0), (half, half), (half, half)), mode="edge")
    side = values.shape[1]
    local = np.zeros_like(values)
    for i in range(_WINDOW):
        for j in range(_WINDOW):
            local += padded[:, i : i + side, j : j + side]
    rest = (values - local / np.float32(_WINDOW**2)).reshape(len(values), -1)
    rest -= rest.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    return np.asarray(rest / np.maximum(length, np.float32(1e-3)), dtype=np.float32)


def _components(n: int, pairs: Sequence[Pair]) -> list[tuple[list[int], float]]:
    """Return the connected components of two or more of n films, each with its lowest correlation."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for first, second, _ in pairs:
        parent[root(second)] = root(first)
    members: dict[int, set[int]] = defaultdict(set)
    least: dict[int, float] = defaultdict(lambda: 1.0)
    for first, second, correlation in pairs:
        top = root(first)
        members[top] |= {first, second}
        least[top] = min(least[top], correlation)
    return [(sorted(rows), least[top]) for top, rows in members.items()]
