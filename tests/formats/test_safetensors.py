"""safetensors: what the library writes is read, what is written the library reads."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.formats.safetensors import open_safetensors, write_safetensors
from gatewise.formats.small_floats import SMALL_FLOATS

DTYPES = ["?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d", "F"]
SHAPES = [(), (0,), (1,), (3,), (2, 3), (0, 5), (2, 0, 3), (2, 3, 4)]


def some(dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(3)
    values = random.integers(0, 2 if dtype == "?" else 100, shape)
    return np.asarray(values).astype(dtype)


ARRAYS = {f"{dtype}.{shape}": some(dtype, shape) for dtype in DTYPES for shape in SHAPES}


def written(arrays: Any, metadata: Any = ()) -> bytes:
    file = io.BytesIO()
    write_safetensors(file, arrays, dict(metadata))
    return file.getvalue()


def read(content: bytes) -> dict[str, Any]:
    container = open_safetensors(io.BytesIO(content))
    return {name: container.read(name) for name in container.headers}


def assert_same(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        # Bit for bit, NaN too.
        assert (
            found[name].tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()
        )


def with_header(header: object, data: bytes = b"", *, padding: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * padding
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str, shape: Any, begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_what_is_written_comes_back() -> None:
    metadata = {"author": "aé漢", "": "{}", "n": ""}
    content = written(ARRAYS, metadata)
    container = open_safetensors(io.BytesIO(content))
    assert container.metadata == metadata
    assert list(container.headers) == list(ARRAYS)
    assert_same(read(content), ARRAYS)
    assert written(ARRAYS, metadata) == content
    assert read(written({})) == {}


def test_every_array_stands_where_its_dtype_can_be_read() -> None:
    content = written(ARRAYS)
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    for name, said in json.loads(content[8 : 8 + length]).items():
        assert said["data_offsets"][0] % ARRAYS[name].dtype.itemsize == 0


def test_any_layout_and_byte_order_is_written() -> None:
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {
        "transposed": base.T,
        "strided": base[:, ::2, ::-1],
        "big": base.astype(">f4"),
        "broadcast": np.broadcast_to(np.float16(2), (3, 2)),
        "scalar": np.array(5, ">i8"),
    }
    assert_same(read(written(arrays)), {n: np.array(a) for n, a in arrays.items()})


def test_the_library_reads_what_is_written() -> None:
    library = pytest.importorskip("safetensors.numpy")
    arrays = {name: array for name, array in ARRAYS.items() if array.dtype.kind != "c"}
    assert_same(library.load(written(arrays, {"a": "b"})), arrays)


def test_the_library_knows_the_metadata(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    path = tmp_path / "file.safetensors"
    path.write_bytes(written({"x": np.ones(3)}, {"a": "b"}))
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"a": "b"}
        assert list(file.keys()) == ["x"]


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    arrays = {
        name: array
        for name, array in ARRAYS.items()
        # It loses the shape of an array without axes, and has no complex numbers.
        if array.dtype.kind != "c"
    }
    path = tmp_path / "file.safetensors"
    library.save_file(arrays, path, {"a": "b"})
    found = gatewise.load_arrays(path)
    assert_same(found, arrays)
    assert found.metadata == {"a": "b"}
    assert found.format == "safetensors"


def test_every_bfloat16_is_read_exactly() -> None:
    bits = np.arange(1 << 16, dtype="<u2")
    content = with_header({"x": entry("BF16", [1 << 16], 0, 1 << 17)}, bits.tobytes())
    container = open_safetensors(io.BytesIO(content))
    assert str(container.headers["x"]) == "BF16 (65536,)"
    assert container.headers["x"].dtype == np.float32
    np.testing.assert_array_equal(
        container.read("x").view(np.uint32), bits.astype(np.uint32) << 16
    )


# Of each format: bytes, and what they are by its definition.
SMALL = {
    "F8_E5M2": {0x00: 0, 0x01: 2**-16, 0x3C: 1, 0x7B: 57344, 0x7C: np.inf, 0xFC: -np.inf},
    "F8_E4M3": {0x00: 0, 0x01: 2**-9, 0x38: 1, 0x7E: 448, 0xFE: -448, 0x08: 2**-6},
    "F8_E8M0": {0x00: 2.0**-127, 0x7F: 1, 0x80: 2, 0xFE: 2.0**127},
    "F8_E5M2FNUZ": {0x00: 0, 0x01: 2**-17, 0x40: 1, 0x7F: 57344, 0xFF: -57344},
    "F8_E4M3FNUZ": {0x00: 0, 0x01: 2**-10, 0x40: 1, 0x7F: 240, 0xFF: -240},
}
NAN = {
    "F8_E5M2": [0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF],
    "F8_E4M3": [0x7F, 0xFF],
    "F8_E8M0": [0xFF],
    "F8_E5M2FNUZ": [0x80],
    "F8_E4M3FNUZ": [0x80],
}


def read_bytes_as(name: str) -> np.ndarray[Any, Any]:
    content = with_header({"x": entry(name, [256], 0, 256)}, bytes(range(256)))
    found: np.ndarray[Any, Any] = read(content)["x"]
    assert found.dtype == np.float32
    return found


@pytest.mark.parametrize("name", SMALL)
def test_floats_of_eight_bits_have_their_values(name: str) -> None:
    found = read_bytes_as(name)
    for code, value in SMALL[name].items():
        assert found[code] == np.float32(value), hex(code)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found)), NAN[name])
    assert SMALL.keys() == SMALL_FLOATS.keys() - {"BF16"}


@pytest.mark.parametrize("name", SMALL)
def test_floats_of_eight_bits_are_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    dtype = getattr(
        torch, {"F8_E4M3": "float8_e4m3fn", "F8_E8M0": "float8_e8m0fnu"}.get(name, ""), None
    ) or getattr(torch, "float" + name[1:].lower())
    expected = torch.arange(256, dtype=torch.uint8).view(dtype).float().numpy()
    np.testing.assert_array_equal(read_bytes_as(name), expected)


X = entry("F32", [1], 0, 4)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "header should end in the file"),
    "half a length": (b"\0\0\0", "header should end in the file"),
    "no header": (bytes(8), "should begin with"),
    "length past the end": ((99).to_bytes(8, "little") + b"{}", "should end in the file"),
    "greatest length": (b"\xff" * 8 + b"{}", "should end in the file"),
    "length of zero": (with_header(b"", bytes(4)), "should begin with"),
    "no dictionary": (with_header([X]), "should begin with"),
    "a space first": (with_header(b" {}"), "should begin with"),
    "no json": (with_header(b"{'x': 1}"), "no JSON"),
    "cut json": (with_header(b'{"x":'), "no JSON"),
    "two values": (with_header(b"{} {}"), "no JSON"),
    "no text": (with_header(b'{"\xff": 1}'), "no JSON"),
    "half a character": (
        with_header(b'{"\\ud800": %s}' % json.dumps(X).encode()),
        "no text",
    ),
    "twice": (
        with_header(b'{"x": %b, "x": %b}' % ((json.dumps(X).encode(),) * 2), bytes(4)),
        "'x' twice",
    ),
    "twice inside": (
        with_header(b'{"x": {"dtype": "F32", "dtype": "U8"}}'),
        "'dtype' twice",
    ),
    "deep": (with_header(b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "too deep"),
    "many": (with_header(b"{" + b"[]," * 3_000_000 + b"}"), "more than 4194304 entries"),
    "no number": (with_header(b'{"x": NaN}'), "NaN"),
    "infinite": (
        with_header(b'{"x": {"dtype":"F32","shape":[Infinity],"data_offsets":[0,4]}}'),
        "Infinity",
    ),
    "long number": (
        with_header(
            b'{"x": {"dtype":"F32","shape":[%b],"data_offsets":[0,4]}}' % (b"9" * 9999)
        ),
        "no JSON",
    ),
    "no entry": (with_header({"x": [1]}), "should be a dictionary"),
    "no dtype": (with_header({"x": {"shape": [1], "data_offsets": [0, 4]}}), "a dtype of"),
    "odd dtype": (with_header({"x": entry("F4", [1], 0, 4)}, bytes(4)), "a dtype of"),
    "listed dtype": (with_header({"x": X | {"dtype": ["F32"]}}, bytes(4)), "a dtype of"),
    "no shape": (with_header({"x": {"dtype": "F32", "data_offsets": [0, 4]}}), "a shape"),
    "negative shape": (with_header({"x": entry("F32", [-1], 0, 4)}, bytes(4)), "a shape"),
    "two negatives": (
        with_header({"x": entry("F32", [-1, -1], 0, 4)}, bytes(4)),
        "a shape",
    ),
    "true": (with_header({"x": entry("F32", [True], 0, 4)}, bytes(4)), "a shape"),
    "half": (with_header({"x": entry("F32", [1.0], 0, 4)}, bytes(4)), "a shape"),
    "no list": (with_header({"x": entry("F32", 1, 0, 4)}, bytes(4)), "a shape"),
    "axes": (with_header({"x": entry("F32", [1] * 33, 0, 4)}, bytes(4)), "33 axes"),
    "huge": (
        with_header({"x": entry("F32", [1 << 31], 0, 1 << 33)}),
        "arrays have 8589934592",
    ),
    "wraps around": (
        with_header({"x": entry("F32", [1 << 32, 1 << 32, 1 << 32], 0, 0)}),
        "no memory can hold",
    ),
    "empty but huge": (
        with_header({"x": entry("F32", [0, 1 << 62, 1 << 62], 0, 0)}),
        "no memory can hold",
    ),
    "wide once read": (
        with_header({"x": entry("F8_E5M2", [0, 1 << 62], 0, 0)}),
        "no memory can hold",
    ),
    "three offsets": (
        with_header({"x": X | {"data_offsets": [0, 4, 4]}}),
        "two data_offsets",
    ),
    "no offsets": (with_header({"x": X | {"data_offsets": None}}), "two data_offsets"),
    "negative": (
        with_header({"x": entry("F32", [1], -4, 0)}, bytes(4)),
        "two data_offsets",
    ),
    "backwards": (with_header({"x": entry("F32", [1], 4, 0)}, bytes(4)), "-4 by its data"),
    "fewer bytes": (
        with_header({"x": entry("F32", [2], 0, 4)}, bytes(4)),
        "8 bytes by its",
    ),
    "more bytes": (with_header({"x": entry("F32", [1], 0, 8)}, bytes(8)), "4 bytes by its"),
    "past the end": (
        with_header({"x": X}, bytes(3)),
        "arrays have 4 bytes, and 3 are there",
    ),
    "a rest": (with_header({"x": X}, bytes(5)), "arrays have 4 bytes, and 5 are there"),
    "only a rest": (with_header({}, bytes(5)), "arrays have 0 bytes, and 5 are there"),
    "far away": (with_header({"x": entry("F32", [1], 1 << 62, (1 << 62) + 4)}), "a gap"),
    "a gap": (
        with_header({"x": X, "y": entry("F32", [1], 8, 12)}, bytes(12)),
        "a gap with 'x'",
    ),
    "the same": (with_header({"x": X, "y": X}, bytes(4)), "'y' overlaps with 'x'"),
    "overlapping": (
        with_header({"x": entry("F32", [2], 0, 8), "y": entry("F32", [1], 4, 8)}, bytes(8)),
        "'y' overlaps with 'x'",
    ),
    "a number as metadata": (with_header({"__metadata__": {"a": 1}}), "should be texts"),
    "a text as metadata": (with_header({"__metadata__": "a"}), "should be texts"),
    "nested metadata": (with_header({"__metadata__": {"a": {}}}), "should be texts"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_files_are_refused_in_little_memory(how: str) -> None:
    content, message = HOSTILE[how]
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        with pytest.raises(gatewise.FormatError, match=message) as caught:
            open_safetensors(file)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(content) + (1 << 17)
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 500


def test_booleans_are_zero_or_one() -> None:
    content = with_header({"x": entry("BOOL", [3], 0, 3)}, bytes([0, 1, 2]))
    with pytest.raises(gatewise.FormatError, match="neither 0 nor 1"):
        read(content)


def test_what_the_format_lets_be_is_read() -> None:
    # Spaces after the header, null for no metadata, and what later versions may say.
    header = {"__metadata__": None, "x": entry("F32", [1], 0, 4) | {"more": [1]}}
    assert read(with_header(header, bytes(4), padding=13))["x"] == 0


def test_a_file_that_becomes_shorter_is_noticed() -> None:
    file = io.BytesIO(written({"x": np.ones(100)}))
    container = open_safetensors(file)
    file.truncate(200)
    with pytest.raises(gatewise.FormatError, match="cut off"):
        container.read("x")


def test_every_truncation_is_refused() -> None:
    content = written({"x": np.ones(3), "y": np.zeros((2, 2), np.int8)}, {"a": "b"})
    for size in range(len(content)):
        with pytest.raises(gatewise.FormatError):
            open_safetensors(io.BytesIO(content[:size]))


@pytest.mark.parametrize(
    ("arrays", "metadata", "error", "message"),
    [
        ({"x": np.array([None])}, {}, TypeError, "x should hold numbers, got dtype object"),
        ({"x": np.array("a")}, {}, TypeError, "x should hold numbers"),
        ({"x": np.ones(1, complex)}, {}, TypeError, "that safetensors has, got complex128"),
        ({"x": np.ones(1, "M8[s]")}, {}, TypeError, "x should hold numbers"),
        ({1: np.ones(1)}, {}, TypeError, "texts as names, got 1"),
        ({"__metadata__": np.ones(1)}, {}, ValueError, "which is taken"),
        ({"\ud800": np.ones(1)}, {}, ValueError, "surrogates"),
        ({}, {"a": 1}, TypeError, "metadata should hold texts only, got 'a': 1"),
    ],
)
def test_what_cannot_be_written_is_refused(
    arrays: Any, metadata: Any, error: type[Exception], message: str
) -> None:
    file = io.BytesIO()
    with pytest.raises(error, match=message):
        write_safetensors(file, arrays, metadata)
    assert not file.getvalue()
