"""Parts of a mask and their outlines: connected runs of pixels, holes, and the border as a smooth curve. Numpy alone."""

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
_SMOOTHINGS = 5


def pieces_of(mask: Mask) -> list[tuple[Mask, npt.NDArray[np.float64]]]:
    """Return the connected pieces of a mask in reading order, their holes filled, each with its closed outline.

    Args:
        mask: bool (h, w). Pixels that touch at a corner are connected.

    Returns:
        For each piece its mask, bool (h, w), and its outline, float64 (n, 2): x and y as shares of the width and height.
    """
    numbers, lengths, count, _ = parts_of(mask, diagonal=True)
    order = np.repeat(numbers, lengths)
    pieces = []
    for number in range(count):
        piece = np.zeros(mask.shape, np.bool_)
        piece[mask] = order == number
        piece = filled(piece)
        pieces.append((piece, outline_of(piece)))
    return pieces


def filled(mask: Mask) -> Mask:
    """Return a mask whose holes are filled: background that no path connects with the film's edge."""
    outside = np.ones((mask.shape[0] + 2, mask.shape[1] + 2), np.bool_)
    outside[1:-1, 1:-1] = ~mask
    numbers, lengths, count, _ = parts_of(outside, diagonal=False)
    if count == 1:
        return mask
    # The first part is the one around the film.
    outside[outside] = np.repeat(numbers == 0, lengths)
    return ~outside[1:-1, 1:-1]


def parts_of(mask: Mask, *, diagonal: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int, int]:
    """Return the connected parts of a mask, as runs of pixels in a row, of which an outline has a few hundred.

    Args:
        mask: bool (h, w).
        diagonal: Whether pixels that touch at a corner are connected.

    Returns:
        int64 (runs,): the part of each run, numbered in reading order; int64 (runs,): its length; the number of parts; the
        number of holes in them, by Euler's formula.
    """
    height, width = mask.shape
    framed = np.zeros((height, width + 2), np.bool_)
    framed[:, 1:-1] = mask
    rows, places = np.divmod(np.flatnonzero(framed[:, 1:] != framed[:, :-1]), width + 1)
    first = np.searchsorted(rows[::2], np.arange(height + 1)).tolist()
    starts, ends = places[::2], places[1::2]
    # Runs that touch are united. The root of a part is its earliest run.
    low, high = (starts - diagonal).tolist(), (ends + diagonal).tolist()
    left, right = starts.tolist(), ends.tolist()
    parent = list(range(len(left)))
    contacts = 0
    for row in range(1, height):
        above, last = first[row - 1], first[row]
        for run in range(last, first[row + 1]):
            while above < last and right[above] <= low[run]:
                above += 1
            root, over = run, above
            while over < last and left[over] < high[run]:
                other = over
                while parent[other] != other:
                    parent[other] = other = parent[parent[other]]
                if other < root:
                    parent[root] = root = other
                else:
                    parent[other] = root
                over += 1
            contacts += over - above
    numbers: list[int] = []
    count = 0
    for run, above in enumerate(parent):
        # A parent comes before its run, so its number is known.
        numbers.append(count if above == run else numbers[above])
        count += above == run
    return np.asarray(numbers, np.int64), ends - starts, count, contacts - len(parent) + count


def outline_of(mask: Mask) -> npt.NDArray[np.float64]:
    """Follow the outer border of a mask without holes; see `Lungs.outlines`."""
    height, width = mask.shape
    framed = np.zeros((height + 2, width + 2), np.bool_)
    framed[1:-1, 1:-1] = mask
    # Corners of pixels, with the mask on the right hand; every corner leads to the next one.
    after: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for dx, dy, edge, (x0, y0) in (
        (1, 0, framed[1:] & ~framed[:-1], (-1, 0)),
        (-1, 0, framed[:-1] & ~framed[1:], (0, 0)),
        (0, -1, framed[:, 1:] & ~framed[:, :-1], (0, 0)),
        (0, 1, framed[:, :-1] & ~framed[:, 1:], (0, -1)),
    ):
        for y, x in zip(*(axis.tolist() for axis in np.nonzero(edge)), strict=True):
            after.setdefault((x + x0, y + y0), []).append((x + x0 + dx, y + y0 + dy))
    start = min(after)
    path = [start]
    while True:
        x, y = path[-1]
        ways = after[x, y]
        if len(ways) > 1:
            # Two pixels touch at this corner: the left turn, which comes last, goes on to the other pixel.
            dx, dy = x - path[-2][0], y - path[-2][1]
            ways.sort(key=lambda to, x=x, y=y, dx=dx, dy=dy: dy * (to[0] - x) - dx * (to[1] - y))  # type: ignore[misc]
        path.append(ways.pop())
        if path[-1] == start:
            break
    corners = np.asarray(path[:-1], np.float64)
    # The middles of the sides, smoothed over two or three pixels, so that the border is no staircase; every second is enough.
    middles = (corners + np.roll(corners, -1, axis=0)) / 2
    for _ in range(_SMOOTHINGS):
        middles = (np.roll(middles, 1, axis=0) + 2 * middles + np.roll(middles, -1, axis=0)) / 4
    return middles[:: 2 if len(middles) > 8 else 1] / (width, height)
