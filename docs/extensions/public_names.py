"""Which names in docstrings are links.

Docstrings have one kind of quotes for arguments and for public names. A public name that
leads nowhere is a warning; anything else in these quotes is code and no link.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

MODULES = (
    "gatewise",
    "gatewise.training",
    "gatewise.layers",
    "gatewise.formats",
    "gatewise.notebook",
    "gatewise.gates",
    "gatewise.testing",
)


@cache
def public() -> frozenset[str]:
    """All public names of all public modules."""
    return frozenset(n for m in MODULES for n in import_module(m).__all__)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contents: nodes.Element
) -> nodes.Node | None:
    """Return a link to the object of this name, or the name as code, or None to warn."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or node.get("reftype") != "obj":
        return None
    objects = env.domains.python_domain.objects
    last = target.rpartition(".")[2]
    found = sorted(
        (len(name), name)
        for name in objects
        if name == target or name.endswith(f".{target}") or _is_alias(name, target, last)
    )
    if found:
        name = found[0][1]
        home, anchor = objects[name].docname, objects[name].node_id
        uri = app.builder.get_relative_uri(str(node["refdoc"]), home)
        link = nodes.reference("", "", internal=True, refuri=f"{uri}#{anchor}")
        link += contents.deepcopy()
        return link
    return None if last in public() else contents.deepcopy()


def _is_alias(name: str, target: str, last: str) -> bool:
    """Whether a full name of where something is defined means what is described here."""
    return target.startswith("gatewise.") and name.rpartition(".")[2] == last


def skip(
    app: Sphinx, kind: str, name: str, member: object, skipped: bool, options: object
) -> bool | None:
    """Leave out what scikit-learn adds to every estimator, and describes itself."""
    return True if re.fullmatch(r"set_\w+_request|get_metadata_routing", name) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Ask this where Sphinx finds nothing."""
    app.connect("autodoc-skip-member", skip)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
