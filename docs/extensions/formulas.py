"""Formulas as MathML, which browsers draw by themselves: no script, nothing to fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator


NAMES = "{http://www.w3.org/1998/Math/MathML}"
ElementTree.register_namespace("", NAMES[1:-1])
LOGGER = logging.getLogger(__name__)


def mathml(node: nodes.math | nodes.math_block, as_block: bool) -> str:
    """Return a formula as MathML; one that cannot be read is a warning."""
    try:
        return _indexed(latex2mathml.tex2mathml(node.astext(), as_block=as_block))
    except MathError as error:
        LOGGER.warning(
            "formula should be one that docutils reads: %s", error, location=node
        )
        return ""


def _indexed(formula: str) -> str:
    """Put an index beside a letter with an accent, where it would stand below it."""
    # The one entity that XML does not know.
    root = ElementTree.fromstring(formula.replace("&ApplyFunction;", "&#x2061;"))
    for node in root.iter(f"{NAMES}munderover"):
        letter, index, accent = node
        if accent.text in ("~", "\N{MODIFIER LETTER CIRCUMFLEX ACCENT}"):
            node.tag = f"{NAMES}msub"
            node[:] = [ElementTree.Element(f"{NAMES}mover", accent="true"), index]
            node[0].extend([letter, accent])
    return ElementTree.tostring(root, "unicode", short_empty_elements=False)


def inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula that stands alone, its lines aligned at ``&``."""
    translator.body.append(f'<div class="formula">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Let Sphinx have a renderer of formulas of this name."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
