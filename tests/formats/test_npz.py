"""``.npz`` and ``.npy``: all that NumPy writes, and nothing that only looks like it."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.formats.npz import open_npy, open_npz

DTYPES = ["?", "b", "B", *(o + c for c in "hiqHIQefdFD" for o in "<>")]
SHAPES = [(), (0,), (3,), (2, 3), (0, 2), (2, 3, 4)]


def some(dtype: str, shape: tuple[int, ...], order: Any) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(0).integers(0, 2 if dtype == "?" else 100, shape)
    return np.asarray(values).astype(dtype, order=order)


def npy(header: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header if isinstance(header, bytes) else header.encode()
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def described(descr: str = "'<f4'", order: str = "False", shape: str = "(1,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_array_of_numbers_comes_back(dtype: str, order: str) -> None:
    for shape in SHAPES:
        array = some(dtype, shape, order)
        for save in (np.savez, np.savez_compressed):
            file = io.BytesIO()
            save(file, **{"a/b c": array})
            container = open_npz(file)
            found = container.read("a/b c")
            assert container.headers["a/b c"] == (found.dtype, found.shape, "")
            assert found.dtype == array.dtype.newbyteorder("=")
            np.testing.assert_array_equal(found, array)
            assert found.shape == array.shape
            assert found.flags.writeable
        for version in ((1, 0), (2, 0), (3, 0)):
            file = io.BytesIO()
            np.lib.format.write_array(file, array, version=version)
            np.testing.assert_array_equal(open_npy(file).read("arr_0"), array)


def test_files_are_told_by_their_content(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    np.savez(tmp_path / "b.npz", x=np.arange(3))
    (tmp_path / "b.npz").rename(tmp_path / "b")
    assert gatewise.load_arrays(tmp_path / "a.npy").format == "npy"
    found = gatewise.load_arrays(tmp_path / "b")
    assert found.format == "npz"
    np.testing.assert_array_equal(found["x"], np.arange(3))


def test_texts_are_metadata() -> None:
    file = io.BytesIO()
    np.savez(file, a="abc", b=[["x", "yé"], ["漢", ""]], c=np.array([b"q"]), n=np.ones(1))
    container = open_npz(file)
    assert list(container.headers) == ["n"]
    assert container.metadata == {"a": "abc", "b": [["x", "yé"], ["漢", ""]], "c": ["q"]}


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1L,), }",
        '{"shape": (1,), "fortran_order": False, "descr": "<f4"}',
        "{'descr':'<f4','fortran_order':False,'shape':(1,)}   \n",
        "{ 'descr' : '<f4' , 'fortran_order' : False , 'shape' : ( 1 , ) , }",
    ],
)
def test_headers_of_other_writers_are_read(header: str) -> None:
    file = io.BytesIO(npy(header, struct.pack("<f", 2.5)))
    np.testing.assert_array_equal(open_npy(file).read("arr_0"), [2.5])


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("sprung",)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([Trap()]), "objects of Python's, which could run code"),
        (np.zeros(3, "f4,i4"), "fields or sub-arrays"),
        (np.zeros(2, "M8[s]"), "no array of numbers: its dtype is"),
        (np.zeros(2, "V3"), "no array of numbers: its dtype is"),
    ],
)
def test_what_is_no_number_is_refused(array: Any, message: str) -> None:
    file = io.BytesIO()
    np.savez(file, good=np.ones(3), a=array)
    with pytest.raises(gatewise.FormatError, match=f"'a'.*{message}"):
        open_npz(file)


F4 = bytes(4)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no header of NumPy's"),
    "half": (b"\x93NUMPY\1", "no header of NumPy's"),
    "version": (npy(described(), F4, (4, 0)), "version 4.0"),
    "long": (npy(b" " * 70_000, version=(2, 0)), "header of 70000 bytes"),
    "longer than the file": (
        b"\x93NUMPY\2\0\xff\xff\xff\xff",
        "header of 4294967295 bytes",
    ),
    "no text": (npy(b"\xff\xfe", F4, (3, 0)), "no text"),
    "expression": (npy("(" * 5000 + ")" * 5000), "no array of numbers: its header"),
    "call": (npy(described(shape="(int(1),)"), F4), "no array of numbers: its header"),
    "product": (npy(described(shape="(1*1,)"), F4), "no array of numbers: its header"),
    "negative": (npy(described(shape="(-1,)"), F4), "no array of numbers: its header"),
    "a number": (npy(described(shape="(1)"), F4), "no array of numbers: its header"),
    "two commas": (npy(described(shape="(1,,)"), F4), "no array of numbers: its header"),
    "twice": (
        npy(described().replace("'fortran_order'", "'descr'"), F4),
        "no array of numbers: its header",
    ),
    "missing": (
        npy("{'descr': '<f4', 'shape': (1,)}", F4),
        "no array of numbers: its header",
    ),
    "more": (
        npy(described().replace("}", "'a': 1}"), F4),
        "no array of numbers: its header",
    ),
    "mixed up": (
        npy("{'descr': True, 'fortran_order': (1,), 'shape': '<f4'}", F4),
        "no array of numbers: its header",
    ),
    "odd dtype": (npy(described("'<f3'"), F4), "its dtype is '<f3'"),
    "longdouble": (npy(described("'<f16'"), bytes(16)), "other machines have not"),
    "aligned": (npy(described("'<c32'"), bytes(32)), "other machines have not"),
    "empty texts": (npy(described("'<U0'", shape="(99999999999999,)")), "dtype is '<U0'"),
    "huge": (npy(described(shape="(99999999999,)"), F4), "399999999996"),
    "wraps around": (
        npy(described(shape=f"({1 << 32}, {1 << 32}, 4)")),
        "no memory can hold",
    ),
    "empty but huge": (npy(described(shape=f"(0, {1 << 62})")), "no memory can hold"),
    "axes": (npy(described(shape=f"({'1, ' * 40})"), F4), "40 axes"),
    "cut off": (npy(described(), F4[:3]), "more bytes than its shape says, or fewer"),
    "a rest": (npy(described(), F4 + b"x"), "more bytes than its shape says, or fewer"),
    "texts": (npy(described("'<U1'"), F4), "texts, not of numbers"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_headers_are_refused_in_little_memory(how: str) -> None:
    content, message = HOSTILE[how]
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        with pytest.raises(gatewise.FormatError, match=message) as caught:
            open_npy(file)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 500


def test_texts_that_would_take_too_much_are_refused() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, a=np.zeros(1 << 17, "S1"))
    with pytest.raises(gatewise.FormatError, match="131072 texts"):
        open_npz(file)
    text = npy(described("'<U1'"), b"\xff\xff\xff\xff")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", text)
    with pytest.raises(gatewise.FormatError, match="no text"):
        open_npz(file)


def test_booleans_are_zero_or_one() -> None:
    with pytest.raises(gatewise.FormatError, match="neither 0 nor 1"):
        open_npy(io.BytesIO(npy(described("'|b1'"), b"\2"))).read("arr_0")


def test_reading_takes_no_more_memory_than_the_array() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, a=np.zeros((1000, 2000)))
    container = open_npz(file)
    tracemalloc.start()
    try:
        container.read("a")
        assert tracemalloc.get_traced_memory()[1] < 16_000_000 + (4 << 20)
    finally:
        tracemalloc.stop()
