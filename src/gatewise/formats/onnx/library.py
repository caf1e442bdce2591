"""The library that reads and writes ONNX's protobuf, which is an extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["library"]


def library(module: str = "onnx") -> Any:
    """Return the library, or a module of it.

    Raises
    ------
    ImportError
        If it is not installed; the error says how to get it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            "files of ONNX need the package onnx: pip install gatewise[onnx]"
        ) from error
