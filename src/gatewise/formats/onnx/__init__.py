"""ONNX: arrays out of its files, layers out of them and into them, and its operators.

`run_node` needs NumPy alone; the rest needs the package onnx, which ``pip install
gatewise[onnx]`` brings.
"""

from __future__ import annotations

from gatewise.formats.onnx.node import Node
from gatewise.formats.onnx.run import run_node

__all__ = ["Node", "run_node"]
