"""What every reader of a file gives: what arrays there are, and each on demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

__all__ = ["Arrays", "Container", "Header"]


class Header(NamedTuple):
    """What a file says of an array, as it will be once read.

    `stored` is the file's own word for the dtype where NumPy has none of that kind, as for
    bfloat16, which is read as float32.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    stored: str = ""

    def __str__(self) -> str:
        return f"{self.stored or self.dtype} {self.shape}"


class Container(Protocol):
    """An open file of which only what it says of its arrays has been read.

    Attributes
    ----------
    format : str
        What the file is, such as ``"safetensors"``.
    headers : dict of str to Header
        Checked: an array that is here has all of its bytes in the file.
    metadata : dict
        What else the file says, in Python's plain types.
    """

    format: str
    headers: Mapping[str, Header]
    metadata: Mapping[str, Any]

    def read(self, name: str) -> Array:
        """Return the array `name`, which is nobody else's.

        Raises
        ------
        FormatError
            If it is damaged.
        """


class Arrays(dict[str, Array]):
    """Arrays by name, as they came out of a file, with what else it says.

    Attributes
    ----------
    format : str
        What the file was, such as ``"safetensors"``.
    metadata : dict
        What it says beside the arrays, in Python's plain types.
    """

    def __init__(
        self, arrays: Mapping[str, Array], *, format: str, metadata: Mapping[str, Any]
    ) -> None:
        super().__init__(arrays)
        self.format = format
        self.metadata = dict(metadata)
