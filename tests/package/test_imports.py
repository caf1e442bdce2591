"""Imports run downwards only: which room may import which, and nothing in a circle.

Every import statement in Python counts, those in functions and under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import gatewise

# What each room may import beside itself and Python's library: rooms and other packages.
# "gatewise" stands for its public names.
RULES: dict[str, set[str]] = {
    "kernels": {"numpy"},
    "gates": {"numpy", "kernels"},
    "weights": {"numpy", "kernels"},
    "stretch": {"numpy", "kernels", "weights"},
    "direction": {"numpy", "kernels", "stretch", "weights"},
    "_checks": {"numpy"},
    "notebook": {"numpy", "kernels", "direction", "_checks"},
    "layers": {"numpy", "kernels", "gates", "direction", "_checks"},
    "formats": {"numpy", "kernels", "gates", "direction", "layers", "h5py", "onnx"},
    "training": {"numpy", "kernels", "layers", "formats"},
    "_config": {"numpy", "kernels"},
    "_program": set(),
    "gatewise": {
        "_config",
        "_program",
        "formats",
        "gates",
        "kernels",
        "layers",
        "notebook",
        "training",
    },
    "cli": {"formats", "training", "gatewise"},
    "__main__": {"cli"},
    # What stands on the public names.
    "sklearn": {"numpy", "gatewise", "sklearn"},
    # But for this: on the layers, every call would look at its arguments twice, copy the
    # weights into a snapshot, and draw dropout from another generator than PyTorch's.
    "torch": {"numpy", "gatewise", "torch", "kernels", "weights", "stretch", "direction"},
    "dask": {"numpy", "gatewise", "dask"},
}
# Imports that neither rules nor circles count, each with what makes it harmless.
EXCEPTIONS = {
    ("gatewise._config", "gatewise"): "the version, read when somebody asks",
    ("gatewise.formats.own", "gatewise"): "the version, which it writes into a file",
    ("gatewise.kernels.threadpoolctl", "gatewise"): "the version, read when somebody asks",
}


def sources() -> dict[str, str]:
    """The text of every module by its full name."""
    root = Path(gatewise.__file__).parent
    found = {}
    for path in root.rglob("*.py"):
        name = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


@functools.cache
def statements(source: str) -> list[ast.Import | ast.ImportFrom]:
    """The import statements of a module, wherever in it they stand."""
    nodes = ast.walk(ast.parse(source))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def imports(name: str, source: str, names: Mapping[str, str]) -> Iterator[str]:
    """What a module imports, modules of gatewise by their full names."""
    for node in statements(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            assert not node.level, f"{name} should import by full names"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in names else str(node.module)


def room(name: str) -> str:
    """The room of one of gatewise's modules, or the package of another."""
    first, *rest = name.split(".")
    return rest[0] if first == "gatewise" and rest else first


def broken_rules(texts: Mapping[str, str]) -> list[str]:
    """Every import that `RULES` do not allow, and every room that they do not know."""
    found = []
    for name, source in texts.items():
        if room(name) not in RULES:
            found.append(f"{name} is in no room of RULES")
            continue
        own = RULES[room(name)] | {room(name)}
        # Python has modules whose names are those of rooms, so whose they are counts.
        others = own | sys.stdlib_module_names
        for imported in imports(name, source, texts):
            allowed = own if imported.split(".")[0] == "gatewise" else others
            if room(imported) not in allowed and (name, imported) not in EXCEPTIONS:
                found.append(f"{name} imports {imported}")
    return sorted(found)


def circle(texts: Mapping[str, str]) -> list[str]:
    """The modules of a circle of imports, or nothing."""
    graph = {
        name: {
            imported
            for imported in imports(name, source, texts)
            if imported in texts and imported != name and (name, imported) not in EXCEPTIONS
        }
        for name, source in texts.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_every_import_is_allowed() -> None:
    assert not broken_rules(sources())


def test_no_import_runs_in_a_circle() -> None:
    texts = sources()
    assert not circle(texts)
    for name, imported in EXCEPTIONS:
        assert imported in imports(name, texts[name], texts)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("gatewise.kernels.cells", "from gatewise.layers import GRU"),
        ("gatewise.kernels.cells", "import gatewise"),
        ("gatewise.kernels.cells", "def f():\n    from gatewise import direction"),
        ("gatewise.kernels.cells", "import scipy.special"),
        ("gatewise.direction", "import gatewise.layers.module"),
        ("gatewise.notebook._run", "from gatewise.layers.gru import GRU"),
        ("gatewise.layers.gru", "from gatewise import notebook"),
        ("gatewise.layers.gru", "if TYPE_CHECKING:\n    from gatewise.training import fit"),
        ("gatewise.layers.gru", "from gatewise import GRU"),
        ("gatewise.training.fit", "from gatewise.notebook import _run"),
        ("gatewise.formats.onnx", "from gatewise.training import fit"),
        ("gatewise.formats.onnx", "import torch"),
        ("gatewise.sklearn.estimators", "from gatewise.layers.gru import GRU"),
        ("gatewise.sklearn.estimators", "from gatewise import layers"),
        ("gatewise.torch.modules", "from gatewise.layers.gru import GRU"),
        ("gatewise.torch.modules", "import sklearn"),
        ("gatewise.attic", ""),
    ],
)
def test_a_broken_rule_is_found(name: str, line: str) -> None:
    assert len(broken_rules(sources() | {name: line})) == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "gatewise.kernels.cells",
            "import numpy.typing, os.path, gatewise.kernels",
        ),
        ("gatewise.torch.modules", "import gatewise\nfrom gatewise import GRU, Linear"),
        ("gatewise.formats.onnx", "from gatewise.layers import GRU\nimport onnx"),
        ("gatewise.torch.modules", "import torch"),
    ],
)
def test_what_is_allowed_is_not_found(name: str, line: str) -> None:
    assert not broken_rules(sources() | {name: line})


@pytest.mark.parametrize(
    "line",
    [
        "import gatewise.layers.quantized",
        "from gatewise.layers import quantized",
        "def f():\n    from gatewise.layers.quantized import scales",
        "if TYPE_CHECKING:\n    from gatewise.layers.quantized import scales",
    ],
)
def test_a_circle_is_found(line: str) -> None:
    texts = sources()
    texts["gatewise.layers.masks"] += f"\n{line}\n"
    assert not circle(texts)
    texts["gatewise.layers.quantized"] += "\nfrom gatewise.layers.masks import Mask\n"
    found = circle(texts)
    assert {"gatewise.layers.masks", "gatewise.layers.quantized"} == set(found)
