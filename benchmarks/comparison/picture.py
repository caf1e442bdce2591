"""The ratios as a picture: one panel per kind of work, one line per shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

from comparison.outcome import Outcome
from comparison.report import Figure, best, full

COLOURS = {"lstm": "#1f5fa8", "gru": "#d1701c", "rnn": "#2f8f4e"}


class _Panel(NamedTuple):
    kind: str
    title: str
    figure: Figure

    def value(self, outcome: Outcome) -> float:
        """Where the outcome is drawn."""
        value = self.figure(outcome)
        assert value is not None
        return value


_BEST = "the best of ours against the best of everybody's"
_PANELS = [
    _Panel("inference", f"Inference, {_BEST}", best),
    _Panel("inference", "Inference, float32 against float32", full),
    _Panel("training", f"Forward and backward, {_BEST}", best),
    _Panel("training", "Forward and backward, float32 against float32", full),
    _Panel("real", f"Real networks, {_BEST}", best),
    _Panel("ragged", "Unequal lengths, against torch's PackedSequence", full),
    _Panel("float64", "float64, against torch", full),
]


def draw(outcomes: Sequence[Outcome], about: str, path: Path) -> None:
    """Write a PNG of how many times faster than the best peer every case runs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = {
        panel: _lines(shown)
        for panel in _PANELS
        if (shown := [o for o in outcomes if o.case.kind == panel.kind and panel.figure(o)])
    }
    if not lines:
        return
    columns = _columns(lines)
    heights = [sum(len(lines[panel]) + 2.5 for panel in column) for column in columns]
    size = (6.5 * len(columns), 1.2 + 0.26 * max(heights))
    figure = pyplot.figure(figsize=size, layout="constrained")
    grid: Any = figure.add_gridspec(1, len(columns))
    for place, column in zip(grid, columns, strict=True):
        sizes = [len(lines[panel]) + 2 for panel in column]
        inner = place.subgridspec(len(column), 1, height_ratios=sizes)
        for cell, panel in zip(inner, column, strict=True):
            _draw_panel(figure.add_subplot(cell), panel, lines[panel])
    title = ["How many times faster gatewise is", *wrap(about, 60 * len(columns))]
    figure.suptitle("\n".join(title), fontsize=9)
    figure.legend(
        handles=_legend(outcomes), loc="outside lower center", ncols=5, frameon=False
    )
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _lines(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes by shape, the cell left out where several share it."""
    lines: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        case = outcome.case
        label = case.name or str(case).removeprefix(f"{case.cell} ")
        lines.setdefault(label, []).append(outcome)
    return lines


def _columns(lines: dict[_Panel, dict[str, list[Outcome]]]) -> list[list[_Panel]]:
    """The panels in two columns of about the same height."""
    panels = list(lines)
    total = sum(len(lines[panel]) for panel in panels)
    first: list[_Panel] = []
    while panels and sum(len(lines[panel]) for panel in first) < total / 2:
        first.append(panels.pop(0))
    return [first, panels] if panels else [first]


def _draw_panel(axes: Any, panel: _Panel, lines: dict[str, list[Outcome]]) -> None:
    several = len({o.threads for outcomes in lines.values() for o in outcomes}) > 1
    for height, outcomes in enumerate(lines.values()):
        for outcome in outcomes:
            colour = COLOURS[outcome.case.cell]
            shift = 0.15 * (1 if outcome.threads > 1 else -1) if several else 0.0
            axes.plot(
                panel.value(outcome),
                height + shift,
                "o" if outcome.threads == 1 else "D",
                color=colour,
                markerfacecolor=colour if outcome.threads == 1 else "white",
                markersize=5,
            )
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    ratios = [panel.value(o) for outcomes in lines.values() for o in outcomes]
    axes.set_xlim(min(0.5, *ratios) / 1.1, max(2.0, *ratios) * 1.2)
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks([t for t in ticks if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(range(len(lines)), list(lines), fontsize=8)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(axis="x", linewidth=0.4)
    axes.set_title(panel.title, fontsize=9, loc="left")


def _legend(outcomes: Sequence[Outcome]) -> list[Any]:
    from matplotlib.lines import Line2D

    cells = [cell for cell in COLOURS if any(o.case.cell == cell for o in outcomes)]
    handles = [
        Line2D([], [], color=COLOURS[cell], marker="o", linestyle="", label=cell.upper())
        for cell in cells
    ]
    for threads in sorted({outcome.threads for outcome in outcomes}):
        handles.append(
            Line2D(
                [],
                [],
                color="grey",
                marker="o" if threads == 1 else "D",
                markerfacecolor="grey" if threads == 1 else "white",
                linestyle="",
                label=f"{threads} thread{'s' * (threads > 1)}",
            )
        )
    return handles
