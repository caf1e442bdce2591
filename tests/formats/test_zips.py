"""Zip archives: what programs write is read, and tricks with their parts are refused."""

from __future__ import annotations

import io
import os
import random
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest

import gatewise
from gatewise.formats.archives.zips import open_zip
from gatewise.formats.errors import FormatError

CONTENTS = {"a": b"", "b/c": random.Random(1).randbytes(1000) + bytes(100_000), "d é": b"x"}
CENTRAL, LOCAL, END = b"PK\1\2", b"PK\3\4", b"PK\5\6"


def zipped(
    contents: Any = CONTENTS, method: int = 0, write: Callable[..., Any] | None = None
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression=method) as archive:
        for name, content in dict(contents).items():
            archive.writestr(name, content)
        if write is not None:
            write(archive)
    return file.getvalue()


def read(content: bytes) -> dict[str, bytes]:
    archive = open_zip(io.BytesIO(content))
    return {name: archive.read(name) for name in archive.names}


def read_all(file: io.BytesIO) -> None:
    archive = open_zip(file)
    for name in archive.names:
        archive.read(name)


class Unseekable:
    """What makes zipfile write sizes after a member and not before."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, content: Any) -> int:
        self.content += content
        return len(content)

    def flush(self) -> None:
        pass


def streamed() -> bytes:
    out = Unseekable()
    with zipfile.ZipFile(out, "w", compression=8) as archive:  # type: ignore[call-overload]
        for name, content in CONTENTS.items():
            archive.writestr(name, content)
    return bytes(out.content)


def wide() -> bytes:
    def write(archive: zipfile.ZipFile) -> None:
        with archive.open("wide", "w", force_zip64=True) as member:
            member.write(b"abc")

    return zipped(write=write)


@pytest.mark.parametrize(
    "content",
    [zipped(), zipped(method=8), streamed(), wide(), zipped({})],
    ids=["stored", "deflated", "streamed", "zip64", "empty"],
)
def test_what_zipfile_writes_is_read(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        expected = {name: archive.read(name) for name in archive.namelist()}
    assert read(content) == expected


def test_an_archive_of_zip64_is_read() -> None:
    """With the second end, which PyTorch writes however small a file is."""
    content = zipped()
    end = content.rindex(END)
    count, length, start = struct.unpack("<HLL", content[end + 10 : end + 20])
    wide_end = struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start
    )
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    assert read(content[:end] + wide_end + locator + content[end:]) == CONTENTS
    # Where the old end says that the new one knows.
    narrow = END + b"\0\0\0\0" + b"\xff" * 12 + b"\0\0"
    assert read(content[:end] + wide_end + locator + narrow) == CONTENTS
    other = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, length, start)
    with pytest.raises(gatewise.FormatError, match="contradict"):
        open_zip(io.BytesIO(content[:end] + other + locator + content[end:]))


def test_folders_are_passed_over() -> None:
    content = zipped(write=lambda archive: archive.writestr("folder/", b""))
    assert open_zip(io.BytesIO(content)).names == tuple(CONTENTS)


def test_a_colon_in_a_name_is_no_drive() -> None:
    assert open_zip(io.BytesIO(zipped({"w:0": b"x"}))).read("w:0") == b"x"


@pytest.mark.parametrize("method", [0, 8])
def test_a_checksum_of_zero_can_stand_for_none(method: int) -> None:
    content = both(zipped({"a": b"xyz"}, method), 16, 14, b"\0\0\0\0")
    with pytest.raises(FormatError, match="its checksum is another"):
        open_zip(io.BytesIO(content)).read("a")
    assert open_zip(io.BytesIO(content), zero_is_none=True).read("a") == b"xyz"
    wrong = both(content, 16, 14, b"\1\0\0\0")
    with pytest.raises(FormatError, match="its checksum is another"):
        open_zip(io.BytesIO(wrong), zero_is_none=True).read("a")


def test_a_stored_member_can_be_sought_in() -> None:
    archive = open_zip(io.BytesIO(zipped()))
    assert archive.is_stored("b/c")
    assert archive.size("b/c") == len(CONTENTS["b/c"])
    with archive.open("b/c") as stream:
        stream.seek(-50, os.SEEK_END)
        assert stream.read() == bytes(50)
        stream.seek(10)
        assert stream.read(20) == CONTENTS["b/c"][10:30]
        # Out of order, so nothing can be summed up; nor does it go wrong.
        stream.seek(0)
        assert stream.read() == CONTENTS["b/c"]
    deflated = open_zip(io.BytesIO(zipped(method=8)))
    assert not deflated.is_stored("b/c")
    with deflated.open("b/c") as stream:
        assert not stream.seekable()


def replaced(content: bytes, what: bytes, place: int, by: bytes, which: int = 0) -> bytes:
    """The same with some bytes after a signature replaced."""
    at = -1
    for _ in range(which + 1):
        at = content.index(what, at + 1)
    return content[: at + place] + by + content[at + place + len(by) :]


def both(content: bytes, central: int, local: int, by: bytes) -> bytes:
    return replaced(replaced(content, CENTRAL, central, by), LOCAL, local, by)


def link() -> bytes:
    def write(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("link")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")

    return zipped(write=write)


def bomb() -> bytes:
    return zipped({"a": bytes(80 << 20)}, 8)


def overlapping() -> bytes:
    """Members that are a bomb together, since they share their bytes."""
    content = zipped({"a" * 3: bytes(50_000), "b" * 3: b""})
    content = content.replace(b"b" * 3, b"a" * 3)
    first = content.index(CENTRAL)
    entry = bytearray(content[first : first + 46 + 3])
    second = content.index(CENTRAL, first + 1)
    entry[46:49] = b"bbb"
    content = content[:second] + bytes(entry) + content[second + 49 :]
    # Both point to the same header, which can have one name only; so does a quoted one.
    return content


def quoted() -> bytes:
    """A member whose bytes are a whole other member."""
    inner = zipped({"in": bytes(1000)})
    inner = inner[: inner.index(CENTRAL)]
    content = zipped({"out": inner})
    place = content.rindex(LOCAL)
    entry_of_inner = zipped({"in": bytes(1000)})
    entry = entry_of_inner[entry_of_inner.index(CENTRAL) : entry_of_inner.index(END)]
    entry = entry[:42] + place.to_bytes(4, "little") + entry[46:]
    end = content.index(END)
    directory = content.index(CENTRAL)
    length = end + len(entry) - directory
    tail = struct.pack("<4s4H2LH", END, 0, 0, 2, 2, length, directory, 0)
    return content[:end] + entry + tail


def crowded() -> bytes:
    entry = struct.pack("<4s6H3L5H2L", CENTRAL, *[0] * 9, 1, *[0] * 6) + b"a"
    entries = entry * 10**5
    end = struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, len(entries), 0, 0)
    return entries + end


def many() -> bytes:
    """More members than are read, said by zip64."""
    wide_end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 10**9, 10**9, 0, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    return wide_end + locator + END + bytes(4) + b"\xff" * 12 + b"\0\0"


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "no zip file"),
    "no zip": (lambda: b"hello" * 100, "no zip file"),
    "comment": (
        lambda: zipped(write=lambda a: setattr(a, "comment", b"hello")),
        "a comment",
    ),
    "a rest": (lambda: zipped() + b"x", "something else after"),
    "in front": (lambda: b"x" * 100 + zipped(), "not where it should be"),
    "encrypted": (lambda: both(zipped(), 8, 6, b"\1\0"), "encrypted"),
    "strongly": (lambda: both(zipped(), 8, 6, b"\x40\0"), "encrypted"),
    "patched": (lambda: both(zipped(), 8, 6, b"\x20\0"), "in a way that is not read"),
    "lzma": (lambda: zipped(method=zipfile.ZIP_LZMA), "in a way that is not read"),
    "bzip2": (lambda: zipped(method=zipfile.ZIP_BZIP2), "in a way that is not read"),
    "two sizes": (
        lambda: replaced(zipped({"a": b"xyz"}), CENTRAL, 24, b"\2"),
        "has two sizes",
    ),
    "other size": (
        lambda: replaced(
            replaced(zipped({"a": b"xyz"}), LOCAL, 18, b"\2"), LOCAL, 22, b"\2"
        ),
        "differ",
    ),
    "other name": (lambda: replaced(zipped({"a": b"xyz"}), LOCAL, 30, b"b"), "differ"),
    "other method": (lambda: replaced(zipped({"a": b"xyz"}), LOCAL, 8, b"\x08"), "differ"),
    "other checksum": (lambda: both(zipped({"a": b"xyz"}), 16, 14, b"\0\0"), "checksum"),
    "link": (link, "symbolic link"),
    "outside": (lambda: zipped({"../a": b""}), "no file in an archive"),
    "outside within": (lambda: zipped({"a/../../b": b""}), "no file in an archive"),
    "outside on Windows": (lambda: zipped({"a\\..\\b": b""}), "no file in an archive"),
    "absolute": (lambda: zipped({"/a": b""}), "no file in an archive"),
    "drive": (lambda: zipped({"C:/a": b""}), "no file in an archive"),
    "drive of Windows": (lambda: zipped({"C:\\a": b""}), "no file in an archive"),
    "zero in a name": (
        lambda: zipped({"abc": b"x"}).replace(b"abc", b"a\0c"),
        "no file in an archive",
    ),
    "twice": (
        lambda: zipped({"aa": b"x", "ab": b"y"}).replace(b"ab", b"aa"),
        "there twice",
    ),
    "header elsewhere": (
        lambda: replaced(zipped({"a": b"xyz"}), CENTRAL, 42, b"\xff\xff"),
        "not in the file",
    ),
    "header in data": (
        lambda: replaced(zipped({"a": b"xyz"}), CENTRAL, 42, b"\2"),
        "no header",
    ),
    "overlapping": (overlapping, "differ|overlap"),
    "quoted": (quoted, "overlap"),
    "bomb": (bomb, "unpacks to 83886080 bytes, and at most 67108864 are read"),
    "lying bomb": (
        lambda: both(zipped({"a": bytes(100)}, 8), 24, 22, b"\0\0\0\1"),
        "cannot unpack to 16777216",
    ),
    "crowded": (
        crowded,
        "fewer members|other members|not in the file|no header|there twice",
    ),
    "many": (many, "for 1000000000 members"),
    "two disks": (lambda: replaced(zipped(), END, 4, b"\1"), "several files"),
    "more entries": (lambda: replaced(zipped(), END, 8, b"\4\0\4\0"), "fewer members"),
    "fewer entries": (lambda: replaced(zipped(), END, 8, b"\2\0\2\0"), "other members"),
    "no text": (
        lambda: zipped({"é": b"x"}).replace("é".encode(), b"\xff\xff"),
        "no text",
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("how", HOSTILE)
def test_tricks_are_refused_quickly_and_in_little_memory(how: str) -> None:
    make, message = HOSTILE[how]
    content = make()
    file = io.BytesIO(content)
    tracemalloc.start()
    began = time.monotonic()
    try:
        with pytest.raises(gatewise.FormatError, match=message):
            read_all(file)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(content) + (1 << 20)
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 10


def test_a_member_gives_no_more_than_it_says() -> None:
    content = zipped({"a": bytes(1000)}, 8)
    # Says that it has 999 bytes, twice.
    content = both(content, 24, 22, (999).to_bytes(4, "little"))
    archive = open_zip(io.BytesIO(content))
    with pytest.raises(gatewise.FormatError, match=r"checksum|goes on"):
        archive.read("a")
    content = both(zipped({"a": bytes(1000)}, 8), 24, 22, (1001).to_bytes(4, "little"))
    with pytest.raises(gatewise.FormatError, match="ends early"):
        open_zip(io.BytesIO(content)).read("a")


@pytest.mark.parametrize("method", [0, 8])
def test_damage_is_noticed_by_whoever_reads_to_the_end(method: int) -> None:
    expected = random.Random(2).randbytes(500)
    content = zipped({"a": expected}, method)
    noticed = 0
    for place in range(31, 500, 7):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        try:
            found = read(bytes(damaged))["a"]
        except gatewise.FormatError:
            noticed += 1
        else:
            # Some bits of deflate mean nothing.
            assert found == expected
    assert noticed > 60


def test_a_member_is_all_that_its_bytes_say() -> None:
    packed = zlib.compressobj(wbits=-15)
    stream = packed.compress(b"abc") + packed.flush()
    content = zipped({"a": stream + b"more"})
    # Deflated, so that the rest is no part of it.
    content = both(content, 10, 8, b"\x08")
    content = both(content, 24, 22, b"\3")
    content = both(content, 16, 14, zlib.crc32(b"abc").to_bytes(4, "little"))
    with pytest.raises(gatewise.FormatError, match="something else after its end"):
        read(content)


def test_every_truncation_is_refused() -> None:
    content = zipped({"a": b"xyz", "b": b""}, 8)
    for size in range(len(content)):
        with pytest.raises(gatewise.FormatError):
            open_zip(io.BytesIO(content[:size]))


def test_deflated_members_can_be_refused() -> None:
    with pytest.raises(gatewise.FormatError, match="is compressed"):
        open_zip(io.BytesIO(zipped(method=8)), deflated=False)
