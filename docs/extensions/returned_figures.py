"""Shows figures in the gallery that are the value of a block, as a notebook does."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

# A value stands until another block has one.
SHOWN: set[Figure] = set()


def scrape(block: Any, variables: dict[str, Any], gallery: dict[str, Any]) -> str:
    """Keep the figure that a block ended with, unless it is pyplot's, which has its own."""
    figure = variables["example_globals"].get("___")
    if not isinstance(figure, Figure) or figure in SHOWN or hasattr(figure, "number"):
        return figure_rst([], gallery["src_dir"])
    SHOWN.add(figure)
    path = next(variables["image_path_iterator"])
    figure.savefig(path)
    return figure_rst([path], gallery["src_dir"])


def _get_sg_image_scraper() -> Any:
    return scrape
