"""PyTorch's dtypes: what stands in a storage, and what it is read as."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gatewise.formats.containers import Array
from gatewise.formats.small_floats import SMALL_FLOATS, widened

__all__ = ["DTYPES", "STORAGES", "Kind"]


class Kind(NamedTuple):
    """A dtype of PyTorch's.

    Attributes
    ----------
    name : str
        Without ``torch.``.
    size : int
        Of an element, in bytes.
    dtype : numpy.dtype or None
        What it is read as; None where it is not read.
    raw : numpy.dtype
        What its bytes are taken for first, in the file's byte order.
    widen : callable or None
        What turns those into `dtype`, exactly, where it is not the same.
    """

    name: str
    size: int
    dtype: np.dtype[Any] | None
    raw: np.dtype[Any]
    widen: Callable[[Array], Array] | None = None

    @property
    def stored(self) -> str:
        """The name where NumPy has no such dtype."""
        return self.name if self.dtype != self.raw and self.name != "bool" else ""


def _complex32(raw: Array) -> Array:
    halves = raw.view(np.dtype("f2").newbyteorder(raw.dtype.byteorder))
    return halves.astype(np.float32).view(np.complex64)


def _small(name: str, stored: str) -> Kind:
    """A float that NumPy has none of, by PyTorch's name and by that in safetensors."""
    widen = partial(widened, name=stored)
    return _read_as(name, "f4", SMALL_FLOATS[stored].lstrip("<"), widen)


def _same(name: str) -> Kind:
    dtype = np.dtype(name)
    return Kind(name, dtype.itemsize, dtype, dtype)


def _read_as(name: str, dtype: str, raw: str, widen: Callable[[Array], Array]) -> Kind:
    return Kind(name, np.dtype(raw).itemsize, np.dtype(dtype), np.dtype(raw), widen)


def _not_read(name: str, size: int) -> Kind:
    return Kind(name, size, None, np.dtype("u1"))


_KINDS = (
    *map(_same, ("float64", "float32", "float16", "complex64", "complex128")),
    *map(_same, ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8")),
    _read_as("bool", "?", "u1", lambda raw: raw != 0),
    _small("bfloat16", "BF16"),
    _read_as("complex32", "c8", "u4", _complex32),
    _small("float8_e4m3fn", "F8_E4M3"),
    _small("float8_e4m3fnuz", "F8_E4M3FNUZ"),
    _small("float8_e5m2", "F8_E5M2"),
    _small("float8_e5m2fnuz", "F8_E5M2FNUZ"),
    _small("float8_e8m0fnu", "F8_E8M0"),
    *(_not_read(name, 1) for name in ("float4_e2m1fn_x2", "qint8", "quint8")),
    *(_not_read(name, 1) for name in ("quint4x2", "quint2x4")),
    _not_read("qint32", 4),
)

DTYPES = {kind.name: kind for kind in _KINDS}
STORAGES = {
    f"{name}Storage": DTYPES[dtype]
    for name, dtype in (
        ("Double", "float64"),
        ("Float", "float32"),
        ("Half", "float16"),
        ("BFloat16", "bfloat16"),
        ("Long", "int64"),
        ("Int", "int32"),
        ("Short", "int16"),
        ("Char", "int8"),
        ("Byte", "uint8"),
        ("Bool", "bool"),
        ("ComplexFloat", "complex64"),
        ("ComplexDouble", "complex128"),
        ("Untyped", "uint8"),
        ("QInt8", "qint8"),
        ("QUInt8", "quint8"),
        ("QInt32", "qint32"),
        ("QUInt4x2", "quint4x2"),
        ("QUInt2x4", "quint2x4"),
    )
}
