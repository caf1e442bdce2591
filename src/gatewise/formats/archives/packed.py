"""A file of arrays inside a tar archive or compressed by gzip, unpacked in memory alone."""

from __future__ import annotations

import math
import os
import re
import zlib
from typing import Any, BinaryIO

from gatewise.formats.containers import Container
from gatewise.formats.errors import FormatError
from gatewise.formats.limits import Unpacked, room, weight
from gatewise.formats.recognising import opener, recognised

__all__ = ["open_packed"]

_BLOCK = 512
_MOST_MEMBERS = 10_000
_LONGEST_NAME = 1 << 16
_MOST_RECORDS = 100
# Files of arrays, of which one is wanted.
_MOST_FOUND = 5
# Files of long names, and of what else there is to say: for the next file, or for all.
_LONG_NAME, _PAX, _PAX_ALL = b"L", b"x", b"g"
_FILES, _FOLDER = (b"0", b"\0", b"7"), b"5"
_CHUNK = 1 << 20
# What PyTorch's files consisted of at first.
_OLDEST_PYTORCH = {"pickle", "storages", "tensors"}


def open_packed(file: BinaryIO) -> Container:
    """Open the one file of arrays in a tar archive, or one that is compressed alone.

    Other files in the archive, such as a description, are passed over. Nothing is put on
    the disk; what is unpacked may take 64 MiB, or 32 times the size of the file, whichever
    is more.

    Parameters
    ----------
    file : binary file
        A tar archive, compressed by gzip or not; or any file that is.

    Returns
    -------
    Container
        Of the file inside.

    Raises
    ------
    FormatError
        If no file of a known format is in it or several are; if a member is a link or a
        device, or has a name that would lie outside of a folder; if it is damaged, or
        unpacks to too much.

    References
    ----------
    "pax", The Open Group Base Specifications Issue 7, IEEE Std 1003.1-2017.

    Examples
    --------
    >>> import io, tarfile
    >>> import numpy as np
    >>> from gatewise.formats.archives.packed import open_packed
    >>> inner, file = io.BytesIO(), io.BytesIO()
    >>> np.savez(inner, weight=np.ones(3))
    >>> with tarfile.open(fileobj=file, mode="w:gz") as archive:
    ...     member = tarfile.TarInfo("model/weights.npz")
    ...     member.size = inner.tell()
    ...     _ = inner.seek(0)
    ...     archive.addfile(member, inner)
    >>> open_packed(file).read("weight")
    array([1., 1., 1.])
    """
    stream = _Stream(file)
    start = stream.read(_BLOCK)
    if start[257:262] != b"ustar":
        return _open_inner(stream.rest(start), "the file in it")
    found: dict[str, BinaryIO] = {}
    members = _members(stream, start)
    if {name for name, _ in members} >= _OLDEST_PYTORCH:
        raise FormatError(
            "is a file of torch before 0.1.10, which is not read: load it with a torch "
            "that does, and save it again"
        )
    reason = "it is empty"
    json_only: dict[str, BinaryIO] = {}
    for name, content in members:
        if len(found) == _MOST_FOUND:
            break
        try:
            kind = recognised(content, name, by_fields=False)
        except FormatError as error:
            # Of a description or the like; what is known by name is worth saying.
            reason = f"{name[:100]!r} {error}"
            continue
        (json_only if kind == "json" else found)[name] = content
    # JSON beside another file of arrays is a description of it.
    found = found or json_only
    if len(found) != 1:
        names = ", ".join(repr(name[:100]) for name in found)
        said = f"it has {names}" if found else f"has none: {reason}"
        raise FormatError(f"should have one file of arrays in it, and {said}")
    ((name, content),) = found.items()
    return _open_inner(content, repr(name[:100]))


def _open_inner(content: BinaryIO, shown: str) -> Container:
    try:
        inner = recognised(content, "")
        if inner in ("tar", "gzip"):
            raise FormatError("is packed a second time")
        container = opener(inner)(content)
        claimed = sum(
            math.prod(header.shape) * header.dtype.itemsize
            for header in container.headers.values()
        )
        most, why = room(content)
        if claimed > most:
            raise FormatError(
                f"its arrays take {claimed} bytes, and at most {most} are read: {why}"
            )
    except FormatError as error:
        raise FormatError(f"{shown}: {error}") from None
    return container


def _members(stream: _Stream, header: bytes) -> list[tuple[str, BinaryIO]]:
    """The names and contents of all files, up to the two empty blocks at the end."""
    found: list[tuple[str, BinaryIO]] = []
    said: dict[str, str] = {}
    for _ in range(_MOST_MEMBERS):
        if not header.strip(b"\0"):
            return found
        if len(header) != _BLOCK or header[257:262] != b"ustar":
            raise FormatError("is a tar archive that is cut off or damaged")
        signed = header[:148] + b" " * 8 + header[156:]
        if sum(signed) != _octal(header[148:156]):
            raise FormatError("is a damaged tar archive: a checksum is another")
        kind, size = header[156:157], _octal(header[124:136])
        if kind in (_LONG_NAME, _PAX, _PAX_ALL):
            if size > _LONGEST_NAME:
                raise FormatError(f"a name in it has {size} bytes")
            content = stream.padded(size)
            if kind == _LONG_NAME:
                said["path"] = content.rstrip(b"\0").decode("utf-8", "replace")
            elif kind == _PAX:
                said |= _records(content)
        else:
            name = said.pop("path", None) or _name(header)
            size = int(said.pop("size")) if said.get("size", "").isdigit() else size
            _check_name(name)
            if kind in _FILES:
                found.append((name, stream.file(size)))
            elif kind != _FOLDER:
                raise FormatError(f"{name[:100]!r} is a link or a device")
            said = {}
        header = stream.read(_BLOCK)
    raise FormatError(f"has more than {_MOST_MEMBERS} members")


def _octal(field: bytes) -> int:
    """A number as tar has it: octal digits or, with the first bit set, plain bytes."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise FormatError("is a damaged tar archive: a number is none")
    return int(digits or b"0", 8)


def _name(header: bytes) -> str:
    parts = (
        [header[345:500], header[:100]] if header[257:263] == b"ustar\0" else [header[:100]]
    )
    texts = [part.partition(b"\0")[0].decode("utf-8", "replace") for part in parts]
    return "/".join(text for text in texts if text)


def _records(content: bytes) -> dict[str, str]:
    """What pax says of the next file: lines of a length, a name and a value."""
    found: dict[str, str] = {}
    place = 0
    for _ in range(_MOST_RECORDS):
        if place >= len(content):
            return found
        match = re.compile(rb"(\d{1,6}) ([^=\n]+)=").match(content, place)
        if match is None:
            raise FormatError("is a damaged tar archive: a record is none")
        end = place + int(match[1])
        found[match[2].decode("utf-8", "replace")] = content[match.end() : end - 1].decode(
            "utf-8", "replace"
        )
        if end <= match.end():
            raise FormatError("is a damaged tar archive: a record is none")
        place = end
    raise FormatError(f"has more than {_MOST_RECORDS} things to say of a member")


def _check_name(name: str) -> None:
    if not name or name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name):
        raise FormatError(f"a member is no file in an archive: {name[:100]!r}")


class _Stream:
    """What comes out of a file, if it is compressed, from beginning to end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._packed = weight(file)
        self._left, self._why = room(file)
        self._most = self._left
        file.seek(0)
        self._waiting = b""
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        self._unpacking = _unpacker() if compressed else None
        self._begun = False

    def read(self, size: int) -> bytes:
        """Return so many bytes, or fewer at the end."""
        parts = []
        while size:
            part = self._some(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def rest(self, start: bytes) -> BinaryIO:
        """Return as a file all that is left, behind what was read."""
        whole = Unpacked(start, self._packed)
        whole.seek(0, os.SEEK_END)
        while part := self._some(_CHUNK):
            whole.write(part)
        return whole

    def padded(self, size: int) -> bytes:
        """Return a file of this size in a tar archive, past the end of its last block."""
        if size > self._left:
            raise self._too_much()
        content = self.read(size)
        filling = -size % _BLOCK
        if len(content) != size or len(self.read(filling)) != filling:
            raise FormatError("is a tar archive that is cut off")
        return content

    def file(self, size: int) -> BinaryIO:
        """The same as a file."""
        return Unpacked(self.padded(size), self._packed)

    def _some(self, most: int) -> bytes:
        found = self._unpack(min(most, _CHUNK))
        self._left -= len(found)
        if self._left < 0:
            raise self._too_much()
        return found

    def _unpack(self, most: int) -> bytes:
        if self._unpacking is None:
            return self._file.read(most)
        while True:
            packed = (
                self._unpacking.unconsumed_tail or self._waiting or self._file.read(_CHUNK)
            )
            self._waiting = b""
            if not packed:
                if self._begun and not self._unpacking.eof:
                    raise FormatError("is compressed by gzip, and cut off")
                return b""
            try:
                found: bytes = self._unpacking.decompress(packed, most)
            except zlib.error as error:
                raise FormatError(f"is compressed by gzip, and damaged: {error}") from None
            self._begun = True
            if self._unpacking.eof:
                # Several may stand one after the other, and zeros after them.
                self._waiting = self._unpacking.unused_data.lstrip(b"\0")
                self._unpacking, self._begun = _unpacker(), False
            if found:
                return found

    def _too_much(self) -> FormatError:
        return FormatError(f"unpacks to more than {self._most} bytes: {self._why}")


def _unpacker() -> Any:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)
