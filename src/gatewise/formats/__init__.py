"""Other people's files and gatewise's own: read without any trust, and written."""

from __future__ import annotations

from gatewise.formats.errors import FormatError
from gatewise.formats.keras import from_keras, to_keras

__all__ = ["FormatError", "from_keras", "to_keras"]
