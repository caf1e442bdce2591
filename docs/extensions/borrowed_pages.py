"""Pages whose text stands elsewhere in the repository, and links between the two places.

The pages of ``docs/`` and those beside it are read in the repository as well, and link to
each other by the paths that they have there. On the site such a link leads to the page of
the site, and a link to what is no page shows the file's name alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent.parent
ROOT = DOCS.parent

# The pages of the site that are files beside `docs/`.
BORROWED = {
    "performance": "PERFORMANCE.md",
    "architecture": "ARCHITECTURE.md",
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "security": "SECURITY.md",
}
# Stands in a list of pages for all pages of this folder that no list has.
OTHERS = "% all others"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s:]+)(#[^)]*)?\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s:]+)\)")


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Give a page the text that it borrows, and links that lead where they should."""
    place = Path(app.env.doc2path(page))
    if place.suffix != ".md":
        return
    home = place.parent
    if page in BORROWED and (ROOT / BORROWED[page]).is_file():
        borrowed = ROOT / BORROWED[page]
        app.env.note_dependency(str(borrowed))
        source[0], home = borrowed.read_text("utf-8"), ROOT
    here = place.parent
    if OTHERS in source[0]:
        source[0] = source[0].replace(OTHERS, "\n".join(others()))
    if home != here:
        source[0] = PICTURE.sub(lambda m: _picture(m, home, here), source[0])
    source[0] = LINK.sub(lambda m: _link(m, home, here), source[0])


def others() -> list[str]:
    """Return the names of the pages in this folder that no list of pages names."""
    pages = [*DOCS.glob("*.md"), *DOCS.glob("*/index.md")]
    listed = "\n".join(page.read_text("utf-8") for page in pages)
    named = {line.rpartition("/")[2] for line in re.findall(r"^[\w/.]+$", listed, re.M)}
    return sorted({page.stem for page in DOCS.glob("*.md")} - named - {"index"})


def _picture(match: re.Match[str], home: Path, here: Path) -> str:
    path = os.path.relpath(home / match[2], here)
    return f"![{match[1]}]({path})"


def _link(match: re.Match[str], home: Path, here: Path) -> str:
    text, path, place = match[1], match[2], match[3] or ""
    target = Path(os.path.normpath(home / path))
    for page, name in BORROWED.items():
        if target == ROOT / name:
            target = DOCS / f"{page}.md"
    if target == ROOT / "README.md":
        target = DOCS / "index.md"
    if DOCS in target.parents:
        return f"[{text}]({os.path.relpath(target, here)}{place})"
    return text


def setup(app: Sphinx) -> dict[str, Any]:
    """Read pages through this."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
