"""Other people's files and gatewise's own: read without any trust, and written."""

from __future__ import annotations

from gatewise.formats.containers import Arrays
from gatewise.formats.errors import FormatError
from gatewise.formats.inspection.inspecting import inspect
from gatewise.formats.json.nam import from_nam, to_nam
from gatewise.formats.json.networks import from_rtneural
from gatewise.formats.json.rtneural_writing import to_rtneural
from gatewise.formats.keras import from_keras, to_keras
from gatewise.formats.models import load, load_metadata, save
from gatewise.formats.onnx import from_onnx, to_onnx
from gatewise.formats.reading import load_arrays, open_arrays

__all__ = [
    "Arrays",
    "FormatError",
    "from_keras",
    "from_nam",
    "from_onnx",
    "from_rtneural",
    "inspect",
    "load",
    "load_arrays",
    "load_metadata",
    "open_arrays",
    "save",
    "to_keras",
    "to_nam",
    "to_onnx",
    "to_rtneural",
]
