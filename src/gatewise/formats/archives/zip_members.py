"""The members of a zip archive as files to read from, each no longer than it said."""

from __future__ import annotations

import io
import os
import zlib
from typing import Any, BinaryIO, NamedTuple

from gatewise.formats.errors import FormatError

__all__ = ["DEFLATED", "STORED", "Member", "open_member", "read_at"]

STORED, DEFLATED = 0, 8
_CHUNK = 1 << 16
_LONGEST_OUTPUT = 1 << 20


class Member(NamedTuple):
    """Where a member is and how large, first as the directory says and then for sure.

    Its `checksum` is None where it has none.
    """

    raw_name: bytes
    flags: int
    method: int
    checksum: int | None
    packed: int
    size: int
    header: int
    start: int = 0


def open_member(file: BinaryIO, name: str, member: Member) -> io.BufferedReader:
    """Return a member to read from; only what is stored can be sought in."""
    kind = _Stored if member.method == STORED else _Deflated
    return io.BufferedReader(kind(file, name, member), _CHUNK)


def read_at(file: BinaryIO, place: int, length: int = -1) -> bytes:
    """Return so many bytes from a place in the file, or all from there."""
    file.seek(place)
    content = file.read(length)
    if length >= 0 and len(content) != length:
        raise FormatError("is cut off")
    return content


class _Bytes(io.RawIOBase):
    """The bytes of a member, from its beginning to its end."""

    def __init__(self, file: BinaryIO, name: str, member: Member) -> None:
        self._file = file
        self._name = name
        self._member = member
        # Of the bytes that are summed up already.
        self._position = 0
        self._checksum = 0

    def readable(self) -> bool:
        return True

    def _count(self, content: Any) -> None:
        """Sum up the next bytes, and compare when they are the last."""
        self._position += len(content)
        if self._member.checksum is None:
            return
        self._checksum = zlib.crc32(content, self._checksum)
        if self._position == self._member.size and self._checksum != self._member.checksum:
            raise FormatError(f"{self._name[:100]!r} is damaged: its checksum is another")


class _Stored(_Bytes):
    def __init__(self, file: BinaryIO, name: str, member: Member) -> None:
        super().__init__(file, name, member)
        self._place = 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._member.size}
        self._place = max(bases[whence] + offset, 0)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(self._member.size - self._place, 0))
        view = memoryview(buffer)[:wanted]
        self._file.seek(self._member.start + self._place)
        done = 0
        while done < wanted:
            got = self._file.readinto(view[done:])  # type: ignore[attr-defined]
            if not got:
                raise FormatError(f"{self._name[:100]!r} is cut off")
            done += got
        if self._place == self._position and (wanted or not self._member.size):
            self._count(view)
        self._place += wanted
        return wanted


class _Deflated(_Bytes):
    def __init__(self, file: BinaryIO, name: str, member: Member) -> None:
        super().__init__(file, name, member)
        self._unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
        # How much of the packed bytes has been taken.
        self._taken = 0

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._member.size - self._position, _LONGEST_OUTPUT)
        content = self._unpack(wanted) if wanted else b""
        if wanted and not content:
            raise FormatError(f"{self._name[:100]!r} ends early")
        buffer[: len(content)] = content
        if content or not self._member.size:
            self._count(content)
        if self._position == self._member.size and not self._unpacking.eof:
            if self._unpack(1):
                raise FormatError(f"{self._name[:100]!r} goes on after its end")
            if not self._unpacking.eof:
                raise FormatError(f"{self._name[:100]!r} is cut off")
        if self._unpacking.eof and (
            self._unpacking.unused_data or self._taken < self._member.packed
        ):
            raise FormatError(f"{self._name[:100]!r} has something else after its end")
        return len(content)

    def _unpack(self, most: int) -> bytes:
        """At least one more byte and at most so many; none at the end."""
        while not self._unpacking.eof:
            packed = self._unpacking.unconsumed_tail
            if not packed:
                length = min(_CHUNK, self._member.packed - self._taken)
                packed = read_at(self._file, self._member.start + self._taken, length)
                self._taken += length
            try:
                content = self._unpacking.decompress(packed, most)
            except zlib.error as error:
                raise FormatError(f"{self._name[:100]!r} is damaged: {error}") from None
            if content:
                return content
            if not packed:
                break
        return b""
