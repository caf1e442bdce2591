"""Curves drawn with matplotlib, which is imported when somebody asks for a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from gatewise.training.charts import COLORS, Curve

__all__ = ["draw"]


def draw(plots: Mapping[str, Sequence[Curve]], best: int) -> Any:
    """Return a figure with one plot for each name, side by side, the best epoch marked.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError(
            "plot() needs matplotlib, which pip install 'gatewise[plot]' brings"
        ) from error

    class Shown(Figure):  # type: ignore[misc, unused-ignore]
        """A figure that notebooks show without pyplot, too."""

        def _repr_png_(self) -> bytes:
            content = io.BytesIO()
            self.savefig(content, format="png")
            return content.getvalue()

    figure: Any = Shown(figsize=(4.8 * len(plots), 3.4), layout="constrained")
    axes = figure.subplots(1, len(plots), squeeze=False)[0]
    for axis, (name, curves) in zip(axes, plots.items(), strict=True):
        for curve in curves:
            alone = len(curve.x) == 1
            axis.plot(
                curve.x,
                curve.y,
                color=COLORS.get(curve.name),
                label=curve.name,
                marker="o" if alone else None,
            )
        if len(curves[0].x) > 1:
            axis.axvline(best, color="0.6", linewidth=1, linestyle=":", label="best epoch")
        axis.set_title(name.replace("_", " "))
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(curves[0].x) == 1:
            axis.set_xticks(curves[0].x)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    return figure
