"""Curves and tables in HTML and SVG, for notebooks, without anything installed."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["COLORS", "Curve", "svg", "table"]

# One for training and one for validation, which differ for the colour-blind too.
COLORS = {"training": "#0072b2", "validation": "#d55e00"}

_WIDTH, _HEIGHT = 320, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 24, 28
# How far apart the names of curves stand.
_LEGEND = 60
# So many rows of a table; more are left out in its middle.
_MOST_ROWS = 12


class Curve(NamedTuple):
    """What is measured on, and the values at every epoch."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def svg(title: str, curves: Sequence[Curve]) -> str:
    """Return a picture of curves over epochs, with axes, as an element for HTML."""
    finite = [v for curve in curves for v in curve.y if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    first, last = curves[0].x[0], curves[0].x[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first) if last > first else 0.5
        up = (y - low) / (high - low)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    shown = html.escape(title.replace("_", " "))
    parts = [
        f'<text x="8" y="15" font-weight="bold">{shown}</text>',
        f'<path d="M{_LEFT},{_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}" fill="none" '
        'stroke="currentColor" stroke-opacity="0.4"/>',
    ]
    for value in (low, high):
        _, y = place(first, value)
        parts.append(
            f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>'
        )
    for number in dict.fromkeys([first, last]):
        x, _ = place(number, low)
        parts.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{number:g}</text>'
        )
    for index, curve in enumerate(curves):
        color = COLORS.get(curve.name, "currentColor")
        points = [
            place(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.8"/>'
        )
        if len(points) == 1:
            [(x, y)] = points
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>')
        # Beside the title, where no curve comes.
        end = _WIDTH - _RIGHT - _LEGEND * (len(curves) - 1 - index)
        parts.append(
            f'<text x="{end}" y="15" text-anchor="end" fill="{color}">'
            f"{html.escape(curve.name)}</text>"
        )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'role="img" aria-label="{shown}" fill="currentColor" '
        f'font-family="sans-serif" font-size="11">{"".join(parts)}</svg>'
    )


def table(columns: Mapping[str, Sequence[Any]], best: int, stopped: str | None) -> str:
    """Return a table of epochs for HTML, the best one marked, long ones cut short."""
    right = ' style="text-align: right; padding: 0.1em 0.6em"'
    head = "".join(
        f"<th{right}>{html.escape(name.replace('_', ' '))}</th>" for name in columns
    )
    numbers = columns["epoch"]
    rows = range(len(numbers))
    if len(rows) > _MOST_ROWS:
        ends = {*rows[: _MOST_ROWS // 2], *rows[-_MOST_ROWS // 2 :]}
        kept = sorted(ends | {list(numbers).index(best)})
    else:
        kept = list(rows)
    body = []
    for before, row in zip([-1, *kept], kept, strict=False):
        if row > before + 1:
            body.append(f'<tr><td colspan="{len(columns)}">&#8230;</td></tr>')
        shown = [values[row] for values in columns.values()]
        cells = "".join(
            f"<td{right}>{value if isinstance(value, int) else format(value, '.4g')}</td>"
            for value in shown
        )
        mark = ' style="font-weight: bold"' if numbers[row] == best else ""
        body.append(f"<tr{mark}>{cells}</tr>")
    said = "" if stopped is None else f"<p>stopped: {html.escape(stopped)}</p>"
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{said}"
    )
