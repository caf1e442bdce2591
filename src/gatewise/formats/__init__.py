"""Other people's files and gatewise's own: read without any trust, and written."""

from __future__ import annotations

from gatewise.formats.errors import FormatError
from gatewise.formats.onnx import from_onnx, to_onnx

__all__ = ["FormatError", "from_onnx", "to_onnx"]
