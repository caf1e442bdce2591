"""Zip archives that may be anything: every claim checked first, nothing put on the disk."""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterable
from typing import Any, BinaryIO

from gatewise.formats.archives.zip_members import (
    DEFLATED,
    STORED,
    Member,
    open_member,
    read_at,
)
from gatewise.formats.errors import FormatError
from gatewise.formats.limits import room

__all__ = ["Zip", "open_zip"]

# More than any network has arrays, and what a zip file without extensions can have.
_MOST_MEMBERS = 65_535
_LONGEST_DIRECTORY = 1 << 24
# No stream of deflate gives more bytes for one.
_LARGEST_RATIO = 1032

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
# Encryption, patches, strong encryption, and a directory that is encrypted itself.
_ENCRYPTED, _OTHER_FLAGS, _DESCRIPTOR, _UTF_8 = 0x2041, 0x20, 0x08, 0x800
_UNIX, _LINK = 3, 0xA
_IN_EXTRA_16, _IN_EXTRA_32 = 0xFFFF, 0xFFFF_FFFF
# Not "w:0", which is what TensorFlow calls a variable.
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_CONTROL = re.compile(r"[\0-\x1f\x7f]")


class Zip:
    """An open archive whose directory has been checked against all that is there.

    Attributes
    ----------
    names : tuple of str
        The files in it, in the order of the directory. Entries for folders are left out.
    """

    def __init__(self, file: BinaryIO, members: dict[str, Member]) -> None:
        self._file = file
        self._members = members
        self.names = tuple(members)

    def size(self, name: str) -> int:
        """Return how many bytes a member has once it is unpacked, as the archive says."""
        return self._members[name].size

    def is_stored(self, name: str) -> bool:
        """Whether a member stands in the file as it is, so that `open` gives all of it."""
        return self._members[name].method == STORED

    def open(self, name: str) -> io.BufferedReader:
        """Return a member to read from: what is stored can be sought in, the rest not.

        Reading raises a `FormatError` where the member is damaged: its checksum is compared
        when all of it has been read from beginning to end, and a deflated one gives no more
        than `size` bytes, whatever it holds. It reads from the archive's own file, so that
        has to stay open.
        """
        return open_member(self._file, name, self._members[name])

    def read_into(self, name: str, start: int, view: memoryview) -> None:
        """Read a part of a member that is stored, which is compared with nothing.

        Raises
        ------
        FormatError
            If the file ends early.
        """
        member = self._members[name]
        if member.method != STORED or not 0 <= start <= member.size - len(view):
            raise ValueError(f"{name!r} should be stored and have such a part")
        self._file.seek(member.start + start)
        done = 0
        while done < len(view):
            count = self._file.readinto(view[done:])  # type: ignore[attr-defined]
            if not count:
                raise FormatError(f"{name[:100]!r} is cut off")
            done += count

    def read(self, name: str) -> bytes:
        """Return all of a member.

        Raises
        ------
        FormatError
            If it is damaged.
        """
        with self.open(name) as stream:
            content = stream.read(self.size(name))
            # An empty one is only looked at when it is read from.
            if stream.read(1) or len(content) != self.size(name):
                raise FormatError(f"{name[:100]!r} ends early")
        return content


def open_zip(file: BinaryIO, *, deflated: bool = True, zero_is_none: bool = False) -> Zip:
    """Look at a zip archive, and at nothing but its directory and headers.

    Accepted is what the programs that save networks write: members stored or deflated, in
    one file that ends with the directory, zip64 too. Refused are
    members that overlap, that are there twice, encrypted, packed in another way, symbolic
    links, or named so that they would lie outside of a folder; headers that contradict the
    directory; more than 65,535 members or a directory of more than 16 MiB; a comment. The
    members may unpack to 64 MiB together or to 32 times the size of the file, whichever is
    more, and none to more than deflate can: weights shrink to half at most, bombs to a
    thousandth.

    Parameters
    ----------
    file : binary file
        That can be sought in, and stays open as long as the archive is used.
    deflated : bool, default True
        Whether members may be deflated at all.
    zero_is_none : bool, default False
        Whether a checksum of zero stands for none, as PyTorch writes it where it is told
        not to make any.

    Returns
    -------
    Zip

    Raises
    ------
    FormatError
        If anything of that is wrong.

    References
    ----------
    PKWARE, ".ZIP File Format Specification", version 6.3.10 (2022).

    Examples
    --------
    >>> import io, zipfile
    >>> from gatewise.formats.archives.zips import open_zip
    >>> file = io.BytesIO()
    >>> with zipfile.ZipFile(file, "w") as written:
    ...     written.writestr("weights/0", "abcd")
    >>> archive = open_zip(file)
    >>> archive.names, archive.size("weights/0"), archive.read("weights/0")
    (('weights/0',), 4, b'abcd')
    """
    size = file.seek(0, os.SEEK_END)
    count, length, start = _find_directory(file, size)
    directory = read_at(file, start, length)
    members: dict[str, Member] = {}
    place = 0
    for _ in range(count):
        raw, place = _take_entry(directory, place)
        name = _checked_name(raw, _as_member(raw))
        if name is None:
            continue
        if name in members:
            raise FormatError(f"{name[:100]!r} is there twice")
        members[name] = _checked_member(name, _as_member(raw), deflated)
    if place != length:
        raise FormatError("its directory has other members than it says")
    found = {name: _located(file, name, each, start) for name, each in members.items()}
    if zero_is_none:
        found = {
            name: each._replace(checksum=each.checksum or None)
            for name, each in found.items()
        }
    _check_apart(found)
    _check_unpacked(members.values(), file)
    return Zip(file, found)


def _find_directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """How many members the directory has, its length and its place."""
    if size < _END.size:
        raise FormatError("is no zip file, or one that is cut off")
    place = size - _END.size
    end = _END.unpack(read_at(file, place, _END.size))
    if end[0] != b"PK\5\6":
        tail = read_at(file, max(size - (1 << 16) - _END.size, 0))
        if b"PK\5\6" in tail:
            raise FormatError("has a comment, or something else after its directory")
        raise FormatError("has no directory: is no zip file, or one that is cut off")
    disk, first_disk, here, count, length, start, comment = end[1:]
    if comment:
        raise FormatError("has a comment")
    if place >= _LOCATOR.size:
        locator = _LOCATOR.unpack(read_at(file, place - _LOCATOR.size, _LOCATOR.size))
        if locator[0] == b"PK\6\7":
            place -= _LOCATOR.size
            place, wide = _find_wide(file, place, locator)
            narrow = (disk, first_disk, here, count, length, start)
            limits = (_IN_EXTRA_16,) * 4 + (_IN_EXTRA_32,) * 2
            for short, long, limit in zip(narrow, wide, limits, strict=True):
                if short not in (long, limit):
                    raise FormatError("has two ends that contradict each other")
            disk, first_disk, here, count, length, start = wide
    if disk or first_disk or here != count:
        raise FormatError("is one part of an archive in several files")
    if count > _MOST_MEMBERS or length > _LONGEST_DIRECTORY:
        raise FormatError(
            f"its list of members has {length} bytes for {count} members, and at most "
            f"{_LONGEST_DIRECTORY} for {_MOST_MEMBERS} are read"
        )
    if start + length != place:
        raise FormatError("its directory is not where it should be")
    return count, length, start


def _find_wide(file: BinaryIO, place: int, locator: tuple[Any, ...]) -> Any:
    """Where the end of zip64 is, and what it says."""
    _, disk, start, disks = locator
    if disk or disks > 1:
        raise FormatError("is one part of an archive in several files")
    if start + _END_64.size != place:
        raise FormatError("its directory of zip64 is not where it should be")
    end = _END_64.unpack(read_at(file, start, _END_64.size))
    if end[0] != b"PK\6\6" or end[1] != _END_64.size - 12:
        raise FormatError("its end of zip64 is none")
    return start, end[4:]


def _take_entry(directory: bytes, place: int) -> tuple[tuple[Any, ...], int]:
    """One entry of the directory, with its name and its extra field, and its end."""
    if place + _CENTRAL.size > len(directory):
        raise FormatError("its directory has fewer members than it says")
    entry = _CENTRAL.unpack_from(directory, place)
    if entry[0] != b"PK\1\2":
        raise FormatError("its directory is damaged")
    place += _CENTRAL.size
    ends = [place]
    for length in entry[10:13]:
        ends.append(ends[-1] + length)
    if ends[-1] > len(directory):
        raise FormatError("its directory is cut off")
    name, extra = directory[ends[0] : ends[1]], directory[ends[1] : ends[2]]
    return (*entry, name, extra), ends[-1]


def _as_member(entry: tuple[Any, ...]) -> Member:
    flags, method, checksum, packed, size = entry[3], entry[4], *entry[7:10]
    disk, header, name, extra = entry[13], *entry[16:19]
    size, packed, header = _wide_sizes(extra, [size, packed, header])
    if disk:
        raise FormatError("is one part of an archive in several files")
    return Member(name, flags, method, checksum, packed, size, header)


def _wide_sizes(extra: bytes, sizes: list[int]) -> list[int]:
    """The sizes with those of zip64 in place of what says that they are there."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        place += 4
        if kind == 1:
            wide = extra[place : place + length]
            for index, size in enumerate(sizes):
                if size != _IN_EXTRA_32:
                    continue
                if len(wide) < 8:
                    raise FormatError("a size of zip64 is missing")
                sizes[index] = int.from_bytes(wide[:8], "little")
                wide = wide[8:]
            return sizes
        place += length
    return sizes


def _checked_name(entry: tuple[Any, ...], member: Member) -> str | None:
    """A member's name; None for a folder, which holds nothing itself."""
    try:
        name = member.raw_name.decode("utf-8" if member.flags & _UTF_8 else "cp437")
    except UnicodeDecodeError:
        raise FormatError(f"a name is no text: {member.raw_name[:100]!r}") from None
    is_link = entry[1] >> 8 == _UNIX and entry[15] >> 28 == _LINK
    if is_link:
        raise FormatError(f"{name[:100]!r} is a symbolic link")
    parts = re.split(r"[/\\]", name)
    if (
        not name
        or _CONTROL.search(name)
        or ".." in parts
        or not parts[0]
        or _DRIVE.match(name)
    ):
        raise FormatError(f"a member is no file in an archive: {name[:100]!r}")
    return None if name.endswith("/") and not member.size and not member.packed else name


def _checked_member(name: str, member: Member, deflated: bool) -> Member:
    shown = repr(name[:100])
    if member.flags & _ENCRYPTED:
        raise FormatError(f"{shown} is encrypted")
    if member.flags & _OTHER_FLAGS or member.method not in (STORED, DEFLATED):
        raise FormatError(f"{shown} is compressed in a way that is not read")
    if member.method == DEFLATED and not deflated:
        raise FormatError(f"{shown} is compressed")
    if member.method == STORED and member.packed != member.size:
        raise FormatError(f"{shown} has two sizes")
    if member.size > member.packed * _LARGEST_RATIO:
        raise FormatError(
            f"{shown} has {member.packed} bytes, which cannot unpack to {member.size}"
        )
    return member


def _check_unpacked(members: Iterable[Member], file: BinaryIO) -> None:
    unpacked, (most, why) = sum(each.size for each in members), room(file)
    if unpacked > most:
        raise FormatError(
            f"unpacks to {unpacked} bytes, and at most {most} are read: {why}"
        )


def _located(file: BinaryIO, name: str, member: Member, end: int) -> Member:
    """The same with where its bytes begin, once its own header agrees with the directory.

    `end` is where the directory begins.
    """
    shown = repr(name[:100])
    if member.header + _LOCAL.size > end:
        raise FormatError(f"{shown} is not in the file")
    header = _LOCAL.unpack(read_at(file, member.header, _LOCAL.size))
    if header[0] != b"PK\3\4":
        raise FormatError(f"{shown} has no header")
    raw_name = read_at(file, member.header + _LOCAL.size, header[9])
    extra = read_at(file, member.header + _LOCAL.size + header[9], header[10])
    size, packed = _wide_sizes(extra, [header[8], header[7]])
    flags, method, checksum = header[2], header[3], header[6]
    says_later = flags & _DESCRIPTOR
    if (raw_name, method, flags) != (member.raw_name, member.method, member.flags) or (
        not says_later
        and (checksum, packed, size) != (member.checksum, member.packed, member.size)
    ):
        raise FormatError(f"{shown} and its entry in the directory differ")
    start = member.header + _LOCAL.size + header[9] + header[10]
    if start + member.packed > end:
        raise FormatError(f"{shown} is cut off")
    return member._replace(start=start)


def _check_apart(members: dict[str, Member]) -> None:
    before, last = 0, ""
    for name, member in sorted(members.items(), key=lambda item: item[1].header):
        if member.header < before:
            raise FormatError(f"{name[:100]!r} and {last[:100]!r} overlap")
        before, last = member.start + member.packed, name
