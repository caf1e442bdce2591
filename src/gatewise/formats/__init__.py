"""Other people's files and gatewise's own: read without any trust, and written."""

from __future__ import annotations

from gatewise.formats.containers import Arrays
from gatewise.formats.errors import FormatError
from gatewise.formats.keras import from_keras, to_keras
from gatewise.formats.models import load, load_metadata, save
from gatewise.formats.reading import load_arrays, open_arrays

__all__ = [
    "Arrays",
    "FormatError",
    "from_keras",
    "load",
    "load_arrays",
    "load_metadata",
    "open_arrays",
    "save",
    "to_keras",
]
