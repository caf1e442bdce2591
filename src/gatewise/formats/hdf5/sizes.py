"""The bytes of an HDF5 file, of which nobody takes more than there can be reason to."""

from __future__ import annotations

import os
from typing import BinaryIO

from gatewise.formats.errors import FormatError
from gatewise.formats.limits import room

__all__ = ["UNDEFINED", "Block", "Bytes"]

# An address of nothing.
UNDEFINED = (1 << 64) - 1


class Block:
    """Some bytes, taken one number after the other.

    Parameters
    ----------
    content
        The bytes.
    what
        What they are, for errors.
    """

    def __init__(self, content: bytes, what: str) -> None:
        self.content = content
        self.place = 0
        self._what = what

    @property
    def left(self) -> int:
        """How many bytes have not been taken."""
        return len(self.content) - self.place

    def take(self, length: int) -> bytes:
        """Return the next bytes.

        Raises
        ------
        FormatError
            If there are fewer.
        """
        if length > self.left:
            raise FormatError(f"is damaged: {self._what} is cut off")
        self.place += length
        return self.content[self.place - length : self.place]

    def integer(self, length: int) -> int:
        """Return the next bytes as a whole number."""
        return int.from_bytes(self.take(length), "little")

    def text(self, length: int) -> bytes:
        """Return the next bytes up to the first that is zero."""
        return self.take(length).split(b"\0", 1)[0]

    def align(self) -> None:
        """Pass over what fills up to a multiple of eight."""
        self.take(min(-self.place % 8, self.left))


class Bytes:
    """A file from which parts are read by their addresses, each a few times at most.

    Parameters
    ----------
    file : binary file
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = file.seek(0, os.SEEK_END)
        self.room = room(file)[0]
        # Without damage each byte is read about once.
        self._left = (1 << 22) + 16 * self.size
        self._entries_left = (1 << 16) + self.size // 4

    def count(self, what: str) -> None:
        """Take note of an entry of a list, none of which has fewer than four bytes.

        Raises
        ------
        FormatError
            If there were more than the file has room for, each in one place.
        """
        self._entries_left -= 1
        if self._entries_left < 0:
            raise FormatError(f"is damaged: {what} is read again and again")

    def at(self, place: int, length: int, what: str) -> Block:
        """Return the bytes at an address.

        Raises
        ------
        FormatError
            If they are not in the file, or too many have been read.
        """
        if place == UNDEFINED or place + length > self.size:
            raise FormatError(f"is damaged: {what} is not in the file")
        self._left -= length + 64
        if self._left < 0:
            raise FormatError("is damaged: its parts refer to each other again and again")
        self.file.seek(place)
        content = self.file.read(length)
        if len(content) != length:
            raise FormatError(f"is damaged: {what} is cut off")
        return Block(content, what)
