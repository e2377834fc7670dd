"""Images of the page: a diverging colour map, and bar charts as inline SVG. Names in them are escaped."""

from html import escape

import numpy as np
import numpy.typing as npt

from pneumoscan.audit.counts import SplitCounts
from pneumoscan.audit.shortcuts import Probe

NORMAL_COLOUR, PNEUMONIA_COLOUR = "#7a9cc6", "#b5473c"
# Ends of the diverging map: blue for darker PNEUMONIA, red for brighter; distinct with colour blindness.
_BLUE, _WHITE, _RED = (33, 102, 172), (247, 247, 247), (178, 24, 43)


def diverging(values: npt.NDArray[np.float32], limit: float) -> npt.NDArray[np.uint8]:
    """Colour values from −limit (blue) over 0 (white) to +limit (red): uint8 (height, width, 3)."""
    place = np.clip(values / max(limit, 1e-6), -1, 1)[..., None]
    end = np.where(place < 0, np.array(_BLUE), np.array(_RED))
    return np.asarray(np.rint(np.array(_WHITE) + np.abs(place) * (end - np.array(_WHITE))), dtype=np.uint8)


def colour_scale(limit: float) -> str:
    """Draw the scale of `diverging` with ends, centre and unit."""
    stops = "".join(
        f'<stop offset="{offset}" stop-color="rgb{colour}"/>'
        for offset, colour in ((0, _BLUE), (0.5, _WHITE), (1, _RED))
    )
    ticks = "".join(
        f'<text x="{x}" y="32" text-anchor="{anchor}">{label}</text>'
        for x, anchor, label in (
            (1, "start", f"−{limit:.0f} darker"),
            (120, "middle", "0"),
            (239, "end", f"+{limit:.0f} brighter"),
        )
    )
    return (
        '<svg class="scale" viewBox="0 0 240 38" role="img" aria-label="Colour scale in grey levels">'
        f'<defs><linearGradient id="diverging">{stops}</linearGradient></defs>'
        '<rect x="1" y="2" width="238" height="14" fill="url(#diverging)" stroke="#8a8f98" stroke-width="0.6"/>'
        f"{ticks}</svg>"
    )


def class_shares(splits: tuple[SplitCounts, ...]) -> str:
    """Draw one bar per split, divided into NORMAL and PNEUMONIA."""
    rows = "".join(_share_row(split, 8 + 34 * i) for i, split in enumerate(splits))
    description = "; ".join(f"{split.split} {split.pneumonia_share:.1%}" for split in splits)
    height = 34 * len(splits) + 10
    return (
        f'<svg class="chart" viewBox="0 0 620 {height}" role="img" '
        f'aria-label="Share of PNEUMONIA by split: {escape(description)}">{rows}</svg>'
    )


def _share_row(split: SplitCounts, y: int) -> str:
    left, full = 60, 550
    share = split.pneumonia_share
    width = full * (1 - share)
    parts = [
        f'<text x="{left - 10}" y="{y + 16}" text-anchor="end">{escape(split.split)}</text>',
        f'<rect x="{left}" y="{y}" width="{width:.1f}" height="24" fill="{NORMAL_COLOUR}"/>',
        f'<rect x="{left + width:.1f}" y="{y}" width="{full - width:.1f}" height="24" fill="{PNEUMONIA_COLOUR}"/>',
    ]
    if share < 0.9:
        parts.append(f'<text x="{left + 8}" y="{y + 16}" fill="#10243c">NORMAL {1 - share:.1%}</text>')
    if share > 0.1:
        text = f"PNEUMONIA {share:.1%}"
        parts.append(f'<text x="{left + full - 8}" y="{y + 16}" text-anchor="end" fill="#fff">{text}</text>')
    return "".join(parts)


def auc_chart(probes: tuple[Probe, ...]) -> str:
    """Draw one bar per probe on an axis from 0.5 (chance) to 1 (perfect), with folds as small marks."""
    height = 32 * len(probes) + 50
    grid = "".join(_grid_line(value / 10, height) for value in range(5, 11))
    rows = "".join(_auc_row(probe, 8 + 32 * i) for i, probe in enumerate(probes))
    description = "; ".join(f"{probe.title} {probe.roc_auc:.3f}" for probe in probes)
    return (
        f'<svg class="chart" viewBox="0 0 620 {height}" role="img" aria-label="AUC by shortcut: {escape(description)}">'
        f"{grid}{rows}</svg>"
    )


def _auc_x(auc: float) -> float:
    return 170 + 380 * (min(1.0, max(0.5, auc)) - 0.5) / 0.5


def _grid_line(value: float, height: int) -> str:
    x = _auc_x(value)
    note = {0.5: "guessing", 1.0: "always right"}.get(value, "")
    dash = "" if note else ' stroke-dasharray="2 4"'
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{height - 40}" stroke="#9aa1ab"{dash}/>'
        f'<text x="{x:.1f}" y="{height - 24}" text-anchor="middle">{value:.1f}</text>'
        f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{note}</text>'
    )


def _auc_row(probe: Probe, y: int) -> str:
    start, end = _auc_x(0.5), _auc_x(probe.roc_auc)
    marks = "".join(
        f'<line x1="{_auc_x(auc):.1f}" x2="{_auc_x(auc):.1f}" y1="{y + 4}" y2="{y + 18}" stroke="#1d2733"/>'
        for auc in probe.fold_aucs
    )
    label = "same for all" if probe.constant else f"{probe.roc_auc:.3f}"
    after = max([end, *(_auc_x(auc) for auc in probe.fold_aucs)])
    return (
        f'<text x="{start - 10:.1f}" y="{y + 15}" text-anchor="end">{escape(probe.title)}</text>'
        f'<rect x="{start:.1f}" y="{y}" width="{end - start:.1f}" height="22" fill="{_severity(probe.roc_auc)}"/>'
        f'{marks}<text class="value" x="{after + 7:.1f}" y="{y + 15}">{label}</text>'
    )


def _severity(auc: float) -> str:
    return "#b5473c" if auc >= 0.8 else "#d89b3a" if auc >= 0.65 else "#8fa3b8"
