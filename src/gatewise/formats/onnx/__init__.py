"""ONNX: arrays out of its files, layers out of them and into them, and its operators.

`run_node` needs NumPy alone; the rest needs the package onnx, which ``pip install
gatewise[onnx]`` brings. `Backend` is a class that ONNX's own tools take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.formats.onnx.backend import backend_class
from gatewise.formats.onnx.container import open_onnx
from gatewise.formats.onnx.node import Node
from gatewise.formats.onnx.reading import from_onnx
from gatewise.formats.onnx.run import run_node
from gatewise.formats.onnx.writing import to_onnx

__all__ = ["Backend", "Node", "from_onnx", "open_onnx", "run_node", "to_onnx"]

if TYPE_CHECKING:
    Backend: Any
else:
    # Made when it is asked for, since the class that it is one of is the library's.

    def __getattr__(name: str) -> Any:
        if name == "Backend":
            return backend_class()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
