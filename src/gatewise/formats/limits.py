"""How much memory a file may take: more than it has bytes, yet not without bound."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

__all__ = ["Unpacked", "room", "weight"]

# What any file may take, and how many times its size a larger one may: weights shrink to
# half at most where they are packed, bombs to a thousandth.
_LEAST_ROOM = 64 << 20
_RATIO = 32


class Unpacked(io.BytesIO):
    """A file that was packed in another, whose size is what counts.

    Parameters
    ----------
    content : bytes
    packed : int
        The size of the other file.
    """

    def __init__(self, content: bytes, packed: int) -> None:
        super().__init__(content)
        self.packed = packed


def weight(file: BinaryIO) -> int:
    """Return how many bytes a file has on the disk, packed if it was.

    Examples
    --------
    >>> import io
    >>> from gatewise.formats.limits import Unpacked, weight
    >>> weight(io.BytesIO(bytes(1000))), weight(Unpacked(bytes(1000), 30))
    (1000, 30)
    """
    if isinstance(file, Unpacked):
        return min(file.packed, file.seek(0, os.SEEK_END))
    return file.seek(0, os.SEEK_END)


def room(file: BinaryIO) -> tuple[int, str]:
    """Return how many bytes a file may take in memory, and why that many.

    Examples
    --------
    >>> import io
    >>> from gatewise.formats.limits import room
    >>> room(io.BytesIO(bytes(1000)))
    (67108864, '64 MiB, or 32 times the 1000 bytes of the file')
    """
    size = weight(file)
    most = max(_LEAST_ROOM, _RATIO * size)
    return most, f"64 MiB, or {_RATIO} times the {size} bytes of the file"
