"""Draws the pictures of cells before the pages are read, into ``docs/drawn``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cells

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def draw(app: Sphinx) -> None:
    """Draw them all."""
    folder = Path(app.srcdir) / "drawn"
    folder.mkdir(exist_ok=True)
    for name, figure in cells.figures().items():
        # No date, so that the same build gives the same bytes.
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def setup(app: Sphinx) -> dict[str, Any]:
    """Draw at the beginning."""
    app.connect("builder-inited", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
