"""Weeks as a picture: scores, shares, objects and seconds, the reference weeks shaded and the weeks that differ marked."""

from collections.abc import Callable, Iterable, Sequence
from html import escape

from pneumoscan.apps.node.watch.watching import Watch
from pneumoscan.apps.node.watch.weeks import WeekFigures

_WIDTH, _LEFT, _RIGHT, _ROW, _GAP, _TOP = 960, 64, 150, 120, 46, 34
_INK, _SOFT, _LINE, _SHADE = "#e8ecf0", "#a9b4c0", "#28313c", "#151c25"
_SCORE, _UNSURE, _STRANGE, _REFUSED, _DIFFERS = "#7cc0ff", "#ecd37a", "#cbb5f5", "#c9bdb4", "#ffa26b"
_MOST_WEEKS = 26

Value = Callable[[WeekFigures], float | None]


def chart(watched: Watch) -> str:
    """Draw the last 26 weeks of all devices together; return SVG, empty where there are no weeks."""
    weeks = [week for week in watched.weeks if not week.device][-_MOST_WEEKS:]
    if not weeks:
        return ""
    rows = [_scores(weeks), _shares(weeks), _objects(weeks), _seconds(weeks)]
    height = _TOP + len(rows) * (_ROW + _GAP)
    parts = [_ground(weeks, watched, height)]
    for number, row in enumerate(rows):
        parts.append(f'<g transform="translate(0 {_TOP + number * (_ROW + _GAP)})">{row}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>{len(weeks)} weeks of the node</title>{"".join(parts)}</svg>'
    )


def _x(place: int, count: int) -> float:
    inner = _WIDTH - _LEFT - _RIGHT
    return _LEFT + inner * (place + 0.5) / count


def _ground(weeks: Sequence[WeekFigures], watched: Watch, height: int) -> str:
    """Draw the shade of the reference weeks, the marks of weeks that differ, and the names of weeks."""
    count, step = len(weeks), (_WIDTH - _LEFT - _RIGHT) / len(weeks)
    differ = {one.week for one in watched.drift.comparisons if one.differs}
    parts = []
    for place, week in enumerate(weeks):
        left = _LEFT + step * place
        if week.week in watched.drift.reference:
            parts.append(
                f'<rect x="{left:.1f}" y="0" width="{step:.1f}" height="{height - 22}" fill="{_SHADE}"/>'
            )
        if week.week in differ:
            shade = f'fill="{_DIFFERS}" fill-opacity="0.14"'
            parts.append(f'<rect x="{left:.1f}" y="0" width="{step:.1f}" height="{height - 22}" {shade}/>')
            if place == 0 or weeks[place - 1].week not in differ:
                parts.append(_text(left + 2, 14, "differs", _DIFFERS))
        if place % -(-count // 9) == 0:
            parts.append(_text(_x(place, count), height - 6, week.week, _SOFT, "middle"))
    if weeks[0].week in watched.drift.reference:
        parts.append(_text(_LEFT + 6, 14, "reference weeks", _SOFT))
    return "".join(parts)


def _scores(weeks: Sequence[WeekFigures]) -> str:
    def quantile(at: int) -> Value:
        return lambda week: week.score_quantiles[at] if week.score_quantiles else None

    band = _band(weeks, quantile(0), quantile(4), 0.16) + _band(weeks, quantile(1), quantile(3), 0.3)
    legend = _legend([("median", _SCORE), ("half of the films", _SCORE), ("nine tenths", _SCORE)])
    return (
        _frame("Score: probability of pneumonia", 1.0, "{:.1f}")
        + band
        + _line(weeks, quantile(2), 1.0, _SCORE)
        + legend
    )


def _shares(weeks: Sequence[WeekFigures]) -> str:
    lines: list[tuple[str, Value, str]] = [
        ("UNSURE", lambda week: week.unsure_share, _UNSURE),
        ("NOT_A_CHEST_FILM", lambda week: week.not_a_chest_film_share, _STRANGE),
        ("refused", lambda week: week.refused_share, _REFUSED),
    ]
    top = _nice(value(week) for _, value, _ in lines for week in weeks)
    drawn = "".join(_line(weeks, value, top, ink) for _, value, ink in lines)
    return _frame("Shares", top, "{:.0%}") + drawn + _legend([(name, ink) for name, _, ink in lines])


def _objects(weeks: Sequence[WeekFigures]) -> str:
    top = _nice(float(week.found) for week in weeks)
    step = (_WIDTH - _LEFT - _RIGHT) / len(weeks) * 0.62
    bars = ""
    for place, week in enumerate(weeks):
        for count, ink, opacity in ((week.found, _REFUSED, 0.45), (week.read, _SCORE, 0.9)):
            height = _ROW * count / top
            bars += (
                f'<rect x="{_x(place, len(weeks)) - step / 2:.1f}" y="{_ROW - height:.1f}" width="{step:.1f}" '
                f'height="{height:.1f}" fill="{ink}" fill-opacity="{opacity}"/>'
            )
    return _frame("Objects", top, "{:.0f}") + bars + _legend([("read", _SCORE), ("found", _REFUSED)])


def _seconds(weeks: Sequence[WeekFigures]) -> str:
    lines: list[tuple[str, Value, str]] = [
        ("median", lambda week: week.seconds_median, _SCORE),
        ("95%", lambda week: week.seconds_95, _UNSURE),
    ]
    top = _nice(value(week) for _, value, _ in lines for week in weeks)
    drawn = "".join(_line(weeks, value, top, ink) for _, value, ink in lines)
    return (
        _frame("Seconds from arrival to the end", top, "{:.3g}")
        + drawn
        + _legend([(name, ink) for name, _, ink in lines])
    )


def _frame(title: str, top: float, form: str) -> str:
    parts = [_text(_LEFT, -6, title, _INK)]
    for part in (0.0, 0.5, 1.0):
        y = _ROW * (1 - part)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="{_LINE}"/>')
        parts.append(_text(_LEFT - 8, y + 4, form.format(top * part), _SOFT, "end"))
    return "".join(parts)


def _line(weeks: Sequence[WeekFigures], value: Value, top: float, ink: str) -> str:
    """Draw a line through the weeks that have a value, and a dot for each."""
    points = [(_x(at, len(weeks)), _ROW * (1 - one / top)) for at, one in _known(weeks, value)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{ink}"/>' for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{ink}" stroke-width="1.8"/>{dots}'


def _band(weeks: Sequence[WeekFigures], low: Value, high: Value, opacity: float) -> str:
    count = len(weeks)
    upper = [f"{_x(at, count):.1f},{_ROW * (1 - one):.1f}" for at, one in _known(weeks, high)]
    lower = [f"{_x(at, count):.1f},{_ROW * (1 - one):.1f}" for at, one in _known(weeks, low)]
    return (
        f'<polygon points="{" ".join([*upper, *reversed(lower)])}" fill="{_SCORE}" fill-opacity="{opacity}"/>'
    )


def _known(weeks: Sequence[WeekFigures], value: Value) -> list[tuple[int, float]]:
    return [(at, found) for at, week in enumerate(weeks) if (found := value(week)) is not None]


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    left = _WIDTH - _RIGHT + 14
    return "".join(
        f'<rect x="{left}" y="{18 * at + 2}" width="10" height="10" rx="2" fill="{ink}" fill-opacity="{1 - 0.32 * at if len({i for _, i in entries}) == 1 else 1}"/>'
        + _text(left + 17, 18 * at + 11, name, _SOFT)
        for at, (name, ink) in enumerate(entries)
    )


def _text(x: float, y: float, text: str, ink: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{ink}">{escape(text)}</text>'


def _nice(values: Iterable[float | None]) -> float:
    """Return a round number at or above all values."""
    most = max((value for value in values if value is not None), default=0.0)
    for size in (10.0**power * factor for power in range(-3, 8) for factor in (1, 2, 5)):
        if size >= most:
            return size
    return most
