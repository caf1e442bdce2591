"""Draws pictures before the pages are read, into ``docs/drawn``.

Those of the cells, and what *Fifteen minutes* draws: its own blocks are run for that.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
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
    page = Path(app.srcdir) / "fifteen_minutes.md"
    figure = ran(page)["history"].plot()
    figure.savefig(folder / "history.svg", metadata={"Date": None})


def ran(page: Path) -> dict[str, Any]:
    """Run the blocks of a page one after the other, and return what they leave."""
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    code = compile("".join(blocks), str(page), "exec")
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        exec(code, names)
    return names


def setup(app: Sphinx) -> dict[str, Any]:
    """Draw at the beginning."""
    app.connect("builder-inited", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
