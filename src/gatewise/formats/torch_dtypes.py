"""PyTorch's dtypes: what stands in a storage, and what it is read as."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from gatewise.formats.containers import Array

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


def _bfloat16(raw: Array) -> Array:
    """Half of a float32, the upper one."""
    wide = raw.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)


def _complex32(raw: Array) -> Array:
    halves = raw.view(np.dtype("f2").newbyteorder(raw.dtype.byteorder))
    return halves.astype(np.float32).view(np.complex64)


def _small_float(exponent_bits: int, bias: int, *, like: str) -> Callable[[Array], Array]:
    """One of the floats of eight bits, looked up."""

    @cache
    def table() -> Array:
        codes = np.arange(256)
        fraction_bits = 7 - exponent_bits
        sign = np.where(codes >> 7, np.float32(-1), np.float32(1))
        exponent = (codes >> fraction_bits) & ((1 << exponent_bits) - 1)
        fraction = (codes & ((1 << fraction_bits) - 1)) / (1 << fraction_bits)
        is_normal = exponent > 0
        power = np.where(is_normal, exponent, 1) - bias
        value: Array = (sign * np.ldexp(fraction + is_normal, power)).astype(np.float32)
        if like == "ieee":
            top = exponent == (1 << exponent_bits) - 1
            value[top] = np.where(fraction[top], np.nan, sign[top] * np.inf)
        elif like == "finite":
            value[[0x7F, 0xFF]] = np.nan
        else:
            # Where others have a negative zero.
            value[0x80] = np.nan
        return value

    return lambda raw: np.take(table(), raw)


def _exponents(raw: Array) -> Array:
    """Powers of two and nothing else."""
    value = np.ldexp(np.float32(1), raw.astype(np.int32) - 127)
    return np.where(raw == 255, np.float32(np.nan), value).astype(np.float32)


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
    _read_as("bfloat16", "f4", "u2", _bfloat16),
    _read_as("complex32", "c8", "u4", _complex32),
    _read_as("float8_e4m3fn", "f4", "u1", _small_float(4, 7, like="finite")),
    _read_as("float8_e5m2", "f4", "u1", _small_float(5, 15, like="ieee")),
    _read_as("float8_e4m3fnuz", "f4", "u1", _small_float(4, 8, like="unsigned zero")),
    _read_as("float8_e5m2fnuz", "f4", "u1", _small_float(5, 16, like="unsigned zero")),
    _read_as("float8_e8m0fnu", "f4", "u1", _exponents),
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
