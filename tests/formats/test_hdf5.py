"""HDF5 files: what h5py writes is read as h5py reads it, and everything else refused."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatewise.formats.errors import FormatError
from gatewise.formats.hdf5.reading import open_hdf5
from tests.formats.keras_files import examples

h5py = pytest.importorskip("h5py")

SHAPES = [(), (1,), (5, 7), (33, 1), (2, 3, 4), (0, 3)]
DTYPES = ["f2", "f4", ">f8", "i1", ">i2", "u4", "i8", "?", ">u8"]
PACKED: list[dict[str, Any]] = [
    {},
    {"compression": "gzip"},
    {"shuffle": True},
    {"fletcher32": True},
    {"compression": "gzip", "shuffle": True, "fletcher32": True},
]


def written(write: Callable[[Any], None], **options: Any) -> io.BytesIO:
    content = io.BytesIO()
    with h5py.File(content, "w", **options) as file:
        write(file)
    return content


def check(content: io.BytesIO) -> None:
    """Whether all arrays are read as h5py reads them."""
    found = open_hdf5(content)
    with h5py.File(content, "r") as file:
        names: list[str] = []
        file.visititems(
            lambda name, thing: names.append(name) if hasattr(thing, "dtype") else None
        )
        assert sorted(found.headers) == sorted(names)
        for name in names:
            wanted, array = file[name][()], found.read(name)
            assert (
                array.dtype == wanted.dtype.newbyteorder("=") == found.headers[name].dtype
            )
            assert array.shape == wanted.shape == found.headers[name].shape
            np.testing.assert_array_equal(array, wanted)
            assert array.flags.writeable


def test_arrays_are_those_that_h5py_reads() -> None:
    generator = np.random.default_rng(0)

    def write(file: Any) -> None:
        for shape in SHAPES:
            for dtype in DTYPES:
                values = (generator.normal(size=shape) * 9).astype(dtype)
                file[f"plain/{shape}{dtype[-2:]}"] = values
        for number, options in enumerate(PACKED):
            for shape in SHAPES[1:5]:
                chunks = tuple(n // 2 + 1 for n in shape)
                values = generator.normal(size=shape)
                name = f"packed/{number}{shape}"
                file.create_dataset(name, data=values, chunks=chunks, **options)

    check(written(write))


@pytest.mark.parametrize("libver", ["v108", "latest"])
def test_small_files_of_newer_layouts_are_read_too(libver: str) -> None:
    values = np.random.default_rng(0).normal(size=(8, 3))

    def write(file: Any) -> None:
        for dtype in ("f2", ">f8", "?"):
            file[f"few/{dtype[-2:]}"] = values.astype(dtype)
        options = {"chunks": (8, 3), "shuffle": True}
        file.create_dataset("one", data=values, compression="gzip", **options)
        file.create_dataset("same", data=values, chunks=(8, 3))
        file.attrs["text"] = "a"
        file.attrs["texts"] = ["a", "bc"]

    content = written(write, libver=libver)
    check(content)
    assert open_hdf5(content).metadata["texts"] == ["a", "bc"]


def test_many_chunks_and_many_names() -> None:
    values = np.arange(5000.0).reshape(50, 100)

    def write(file: Any) -> None:
        file.create_dataset("chunks", data=values, chunks=(3, 3), compression="gzip")
        for number in range(700):
            file[f"group/{number}"] = number

    found = open_hdf5(written(write))
    np.testing.assert_array_equal(found.read("chunks"), values)
    assert [int(found.read(f"group/{n}")) for n in range(700)] == list(range(700))


def test_attributes_are_pythons_own() -> None:
    values = {
        "text": "été",
        "bytes": np.bytes_(b"ab"),
        "texts": ["a", "bb", ""],
        "padded": np.array([b"ab", b"c"]),
        "grid": [["a", "b"], ["c", "d"]],
        "number": 3,
        "numbers": np.arange(3, dtype=">i4"),
        "real": np.float32(0.5),
        "yes": True,
        "nothing": h5py.Empty("f4"),
    }

    def write(file: Any) -> None:
        for name, value in values.items():
            file.attrs[name] = value
        file.create_group("a/b").attrs["long"] = "x" * 60_000

    metadata = open_hdf5(written(write)).metadata
    assert metadata.pop("groups") == {"a/b": {"long": "x" * 60_000}}
    assert metadata == values | {
        "bytes": "ab",
        "padded": ["ab", "c"],
        "numbers": [0, 1, 2],
        "nothing": None,
    }
    assert type(metadata["yes"]) is bool
    assert type(metadata["number"]) is int


def test_bfloat16_as_keras_writes_it() -> None:
    upper = np.array([0x3F80, 0xC000, 0x7F80], "<u2")

    def write(file: Any) -> None:
        data = file.create_dataset("vars/0", data=upper.view("V2"))
        data.attrs["dtype"] = "bfloat16"
        file.create_dataset("vars/1", data=upper[0].view("V2")).attrs["dtype"] = "bfloat16"

    found = open_hdf5(written(write))
    assert str(found.headers["vars/0"]) == "bfloat16 (3,)"
    assert found.read("vars/0").tolist() == [1, -2, np.inf]
    assert found.read("vars/1").shape == ()


def soft(file: Any) -> None:
    file["kernel"] = h5py.SoftLink("/etc/passwd")


def external_link(file: Any) -> None:
    file["kernel"] = h5py.ExternalLink("other.h5", "/kernel")


def external_storage(file: Any) -> None:
    file.create_dataset("k", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "k", (4,))
    file.create_virtual_dataset("k", layout)


def cycle(file: Any) -> None:
    file.create_group("a/b")
    file["a/b/up"] = file["a"]


def loop(file: Any) -> None:
    file.create_group("a")
    file["a/a"] = file["a"]


def twice(file: Any) -> None:
    file["a"] = np.ones(3)
    file["b"] = file["a"]


def references(file: Any) -> None:
    file["a"] = 1.0
    file.create_dataset("r", data=np.array([file["a"].ref], h5py.ref_dtype))


def region(file: Any) -> None:
    file["a"] = np.ones(4)
    kind = h5py.regionref_dtype
    file.create_dataset("r", data=np.array([file["a"].regionref[:2]], kind))


def reference_attribute(file: Any) -> None:
    file["a"] = 1.0
    file.attrs["r"] = file["a"].ref


def records(file: Any) -> None:
    file["r"] = np.zeros(3, [("a", "f4"), ("b", "i8")])


def texts(file: Any) -> None:
    file["r"] = np.array([b"abc"])


def varying_texts(file: Any) -> None:
    file["r"] = "abc"


def lists(file: Any) -> None:
    file.create_dataset("r", (3,), h5py.vlen_dtype("f4"))


def named_type(file: Any) -> None:
    file["type"] = np.dtype("f4")


def array_of_named_type(file: Any) -> None:
    file["type"] = np.dtype("f4")
    file.create_dataset("a", (3,), file["type"])


def odd_float(file: Any) -> None:
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(30, 22, 8, 0, 22)
    space = h5py.h5s.create_simple((3,))
    h5py.h5d.create(file.id, b"a", kind, space)


def lzf(file: Any) -> None:
    file.create_dataset("a", data=np.ones(99), compression="lzf")


def scale_offset(file: Any) -> None:
    file.create_dataset("a", data=np.arange(99), scaleoffset=0)


def never_written(file: Any) -> None:
    file.create_dataset("a", (1 << 31,), "f4")


def never_written_chunks(file: Any) -> None:
    file.create_dataset("a", (1 << 31,), "f4", chunks=(1 << 20,), compression="gzip")


def small_never_written(file: Any) -> None:
    file.create_dataset("a", (4,), "f4")


def some_chunks(file: Any) -> None:
    file.create_dataset("a", (100,), "f4", chunks=(10,))[:30] = 1


def huge_chunk(file: Any) -> None:
    options = {"chunks": (1 << 29,), "maxshape": (None,), "compression": 9}
    data = file.create_dataset("a", (4,), "f4", **options)
    data.id.write_direct_chunk((0,), zlib.compress(bytes(16)))


def many_small_arrays(file: Any) -> None:
    packed = zlib.compress(bytes(4 << 20), 9)
    for number in range(40):
        shape = (1 << 20,)
        data = file.create_dataset(f"a{number}", shape, "f4", chunks=shape, compression=9)
        data.id.write_direct_chunk((0,), packed)


def huge_and_empty(file: Any) -> None:
    file.create_dataset("a", (0, 1 << 62), "f4")


def bomb(file: Any) -> None:
    """A chunk of 40 bytes that unpacks to twenty megabytes."""
    data = file.create_dataset("a", (10,), "f4", chunks=(10,), compression=9)
    data.id.write_direct_chunk((0,), zlib.compress(bytes(20 << 20)))


def long_chunks(file: Any) -> None:
    """Each unpacks to a thousand times its size, nearly all of it beyond the array."""
    packed, length = zlib.compress(bytes(4 << 20), 9), 1 << 20
    options = {"chunks": (1, length), "maxshape": (None, None), "compression": 9}
    data = file.create_dataset("a", (20, 1), "f4", **options)
    for row in range(20):
        data.id.write_direct_chunk((row, 0), packed)


def no_shape(file: Any) -> None:
    file["a"] = h5py.Empty("f4")


def no_text(file: Any) -> None:
    file.attrs["model_config"] = np.bytes_(b"\xff\xfe")


def no_json(file: Any) -> None:
    file.attrs["model_config"] = "{'a': 1}"


def deep_json(file: Any) -> None:
    file.attrs["model_config"] = "[" * 100_000


def deep(file: Any) -> None:
    file["/".join(["a"] * 100)] = 1.0


def odd_name(file: Any) -> None:
    file[".."] = 1.0


HOSTILE: dict[str, tuple[Callable[[Any], None], dict[str, Any], str]] = {
    "soft": (soft, {}, "soft link"),
    "soft_latest": (soft, {"libver": "latest"}, "soft link"),
    "external_link": (external_link, {}, "link"),
    "external_link_latest": (external_link, {"libver": "latest"}, "external link"),
    "external_storage": (external_storage, {}, "other files"),
    "virtual": (virtual, {}, "other arrays"),
    "cycle": (cycle, {}, "twice, under two names"),
    "loop": (loop, {}, "twice, under two names"),
    "twice": (twice, {}, "twice, under two names"),
    "references": (references, {}, "got references"),
    "region": (region, {}, "got references"),
    "reference_attribute": (reference_attribute, {}, "got references"),
    "records": (records, {}, "got records"),
    "texts": (texts, {}, "got text"),
    "varying_texts": (varying_texts, {}, "got texts"),
    "lists": (lists, {}, "got lists"),
    "named_type": (named_type, {}, "neither a group nor an array"),
    "array_of_named_type": (array_of_named_type, {}, "named type"),
    "odd_float": (odd_float, {}, "got another type"),
    "lzf": (lzf, {}, "other filters"),
    "scale_offset": (scale_offset, {}, "other filters"),
    "never_written": (never_written, {}, "more memory"),
    "never_written_chunks": (never_written_chunks, {}, "more memory"),
    "small_never_written": (small_never_written, {}, "not in the file"),
    "some_chunks": (some_chunks, {}, "should have 10 chunks, got 3"),
    "huge_chunk": (huge_chunk, {}, "more memory"),
    "many_small_arrays": (many_small_arrays, {}, "more memory"),
    "huge_and_empty": (huge_and_empty, {}, "more memory"),
    "bomb": (bomb, {}, "of more than 40 bytes"),
    "long_chunks": (long_chunks, {}, "would give more than"),
    "no_shape": (no_shape, {}, "without any shape"),
    "no_text": (no_text, {}, "holds no text"),
    "no_json": (no_json, {}, "no JSON"),
    "deep_json": (deep_json, {}, "model_config"),
    "deep": (deep, {}, "nested too deep"),
    "odd_name": (odd_name, {}, "a name that is none"),
    "userblock": (lambda file: None, {"userblock_size": 512}, "before its beginning"),
    "ordered": (
        lambda file: [file.create_group(f"g{n}") for n in range(20)] and None,
        {"libver": "latest"},
        "names in a heap",
    ),
}


def read_all(content: io.BytesIO) -> int:
    found = open_hdf5(content)
    return sum(found.read(name).size for name in found.headers)


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_refused(case: str) -> None:
    write, options, said = HOSTILE[case]
    content = written(write, **options)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=said):
            read_all(content)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def small() -> bytes:
    def write(file: Any) -> None:
        file["layers/lstm/vars/0"] = np.ones((2, 3), "f4")
        file.create_dataset("packed", data=np.ones((4, 4)), chunks=(2, 2), compression=1)
        file.attrs["layer_names"] = ["lstm", "gru"]

    return written(write).getvalue()


def test_a_file_cut_off_anywhere_is_refused() -> None:
    whole = small()
    wanted = read_all(io.BytesIO(whole))
    for end in range(len(whole)):
        with pytest.raises(FormatError):
            open_hdf5(io.BytesIO(whole[:end]))
    # The same where its beginning says nothing of it.
    for end in range(0, len(whole), 5):
        cut = bytearray(whole[:end])
        cut[40:48] = struct.pack("<Q", end)[: max(0, min(8, end - 40))]
        with contextlib.suppress(FormatError):
            assert read_all(io.BytesIO(bytes(cut))) == wanted


def changed(source: random.Random, content: bytes) -> bytes:
    """The same with some bytes changed, mostly where there are no zeros."""
    found = bytearray(content)
    for _ in range(source.choice([1, 1, 2, 3, 8])):
        place = source.randrange(len(found) - 8)
        for _ in range(50):
            if found[place] or source.random() < 0.01:
                break
            place = source.randrange(len(found) - 8)
        kind = source.randrange(4)
        if kind == 0:
            found[place] ^= 1 << source.randrange(8)
        elif kind == 1:
            numbers = [
                0,
                1,
                len(found),
                2**31,
                2**63,
                2**64 - 1,
                source.randrange(len(found)),
            ]
            found[place : place + 8] = struct.pack("<Q", source.choice(numbers))
        elif kind == 2:
            other = source.randrange(len(found) - 64)
            length = source.choice([2, 8, 16, 64])
            found[place : place + length] = found[other : other + length]
        else:
            found[place] = source.randrange(256)
    return bytes(found)


def test_changed_files_are_read_or_refused() -> None:
    source = random.Random(0)
    files = [small(), *(each for each in examples() if each[:4] == b"\x89HDF")]
    refused = 0
    for _ in range(150):
        try:
            read_all(io.BytesIO(changed(source, source.choice(files))))
        except FormatError:
            refused += 1
    assert 30 < refused < 150


def test_arrays_that_share_their_bytes_are_refused() -> None:
    def write(file: Any) -> None:
        for name in "abc":
            file[name] = np.full(10_000, ord(name), "f4")

    content = written(write)
    with h5py.File(content, "r") as file:
        first, *others = (file[name].id.get_offset() for name in "abc")
    changed = content.getvalue()
    for other in others:
        changed = changed.replace(struct.pack("<Q", other), struct.pack("<Q", first))
    # Without the bytes of the last, which nothing else stands behind.
    changed = changed[:-40_000]
    changed = changed[:40] + struct.pack("<Q", len(changed)) + changed[48:]
    with pytest.raises(FormatError, match="overlaps others"):
        open_hdf5(io.BytesIO(changed))


def test_one_chunk_is_not_read_for_many() -> None:
    """With many more, each as long as the file, to read all would take a day."""

    def write(file: Any) -> None:
        data = file.create_dataset("a", (40,), "u1", chunks=(1,), compression=1)
        data[:] = 1
        file["b"] = np.zeros(1 << 16, "u1")

    content = written(write)
    changed = bytearray(content.getvalue())
    with h5py.File(content, "r") as file:
        info = [file["a"].id.get_chunk_info(index) for index in range(40)]
    for each in info:
        key = struct.pack("<IIQQ", each.size, 0, each.chunk_offset[0], 0)
        place = changed.find(key + struct.pack("<Q", each.byte_offset))
        long = struct.pack("<I", 1 << 16)
        changed[place : place + 4] = long
        changed[place + 24 : place + 32] = struct.pack("<Q", len(changed) - (1 << 16))
    with pytest.raises(FormatError, match="overlaps others"):
        open_hdf5(io.BytesIO(bytes(changed)))


def test_a_header_of_nothing_is_not_read_again_and_again() -> None:
    nothing = b"OCHK" + bytes(1 << 19) + bytes(4)
    place = 400
    # Parts of the header that are all the same one.
    again = struct.pack("<BHBQQ", 0x10, 16, 0, place, len(nothing)) * 12
    links = struct.pack("<BHB", 2, 18, 0) + bytes(2) + b"\xff" * 16
    messages = again + links
    header = b"OHDR" + struct.pack("<BBI", 2, 2, len(messages)) + messages + bytes(4)
    size = place + len(nothing)
    begin = b"\x89HDF\r\n\x1a\n" + struct.pack(
        "<4B4QI", 2, 8, 8, 0, 0, 2**64 - 1, size, 48, 0
    )
    content = (begin + header).ljust(place, b"\0") + nothing
    with pytest.raises(FormatError, match="a header is read again and again"):
        open_hdf5(io.BytesIO(content))


def test_a_heap_is_not_read_again_and_again() -> None:
    count, size = 16, 1 << 19
    entry = struct.pack("<HHIQ", 2, 1, 0, 0)

    def write(file: Any) -> None:
        file.attrs.create("x", ["text"] * count, dtype=h5py.string_dtype())
        file["heap"] = np.frombuffer(entry * (size // 16), "u1")

    content = bytearray(written(write).getvalue())
    heap = content.index(entry * 99)
    reference = struct.pack("<IQ", 4, content.index(b"GCOL"))
    for number in range(count):
        # Each passes over the beginnings of the others, and has all that follows them.
        head = b"GCOL" + struct.pack("<IQ", 1, size - 32 * number)
        head += struct.pack("<HHIQ", 1, 1, 0, 32 * (count - number - 1))
        place = heap + 32 * number
        content[place : place + 32] = head
        struct.pack_into("<IQI", content, content.index(reference), 4, place, 1)
    # The last one passes over nothing, and has no text.
    struct.pack_into("<I", content, content.index(struct.pack("<QI", place, 1)) - 4, 0)
    with pytest.raises(FormatError, match="a heap of texts is read again and again"):
        open_hdf5(io.BytesIO(content))


def test_long_names_are_refused() -> None:
    with pytest.raises(FormatError, match="a name of 2000 letters"):
        open_hdf5(written(lambda file: file.create_group("a" * 2000) and None))


def test_a_missing_array_is_a_key_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        open_hdf5(io.BytesIO(small())).read("nothing")
