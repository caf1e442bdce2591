"""Keras's files, of its versions 1 to 3: ``.keras``, ``.h5`` and ``.weights.h5``."""

from __future__ import annotations

from gatewise.formats.keras.archive import KerasArchive, open_keras
from gatewise.formats.keras.reading import from_keras
from gatewise.formats.keras.writing import to_keras

__all__ = ["KerasArchive", "from_keras", "open_keras", "to_keras"]
