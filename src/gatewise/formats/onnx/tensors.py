"""Arrays out of ONNX's tensors, of every dtype that numbers can have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Header
from gatewise.formats.errors import FormatError

Array = NDArray[Any]

__all__ = ["header", "name_of", "number_of", "read"]

_MOST_AXES = 32
_MOST_BYTES = 2**62


class _Kind(NamedTuple):
    """How ONNX keeps a dtype.

    `stored` is its name; `bits` is what an element takes in `raw_data`, whose units are of
    the dtype `raw`; `field` has them otherwise. `convert` makes numbers of `dtype` of
    units, if that is to be done.
    """

    stored: str
    dtype: str
    raw: str
    field: str
    bits: int
    convert: Callable[[Array], Array] | None = None


def _plain(name: str, field: str, raw: str | None = None) -> _Kind:
    return _Kind(name, name, raw or name, field, np.dtype(name).itemsize * 8)


def _from_bfloat16(units: Array) -> Array:
    return (units.astype(np.uint32) << 16).view(np.float32)


def _small_floats(
    exponent: int, fraction: int, bias: int, special: dict[int, float], sign: int = 1
) -> Callable[[Array], Array]:
    """Widen floating numbers of at most a byte by a table of all that there are."""
    bits = sign + exponent + fraction
    units = np.arange(2**bits)
    exponents = units >> fraction & (2**exponent - 1)
    fractions = (units & (2**fraction - 1)) / 2**fraction
    sizes = np.ldexp(
        np.where(exponents > 0, 1 + fractions, fractions), np.maximum(exponents, 1) - bias
    )
    signs = np.where(units >> (exponent + fraction) & sign, -1.0, 1.0)
    table = (signs * sizes).astype(np.float32)
    for unit, value in special.items():
        table[unit] = value
    return lambda given: table[given]


def _powers_of_two(units: Array) -> Array:
    table = np.append(np.ldexp(1.0, np.arange(255) - 127), np.nan).astype(np.float32)
    widened: Array = table[units]
    return widened


def _signed(bits: int) -> Callable[[Array], Array]:
    half = 2 ** (bits - 1)
    return lambda units: ((units.astype(np.int8) ^ half) - half).astype(np.int8)


_INF, _NAN = math.inf, math.nan
# By the numbers that TensorProto.DataType gives them; 8 are strings.
_KINDS = {
    1: _plain("float32", "float_data"),
    2: _plain("uint8", "int32_data"),
    3: _plain("int8", "int32_data"),
    4: _plain("uint16", "int32_data"),
    5: _plain("int16", "int32_data"),
    6: _plain("int32", "int32_data"),
    7: _plain("int64", "int64_data"),
    9: _Kind("bool", "bool", "uint8", "int32_data", 8, lambda units: units != 0),
    10: _Kind(
        "float16", "float16", "uint16", "int32_data", 16, lambda u: u.view(np.float16)
    ),
    11: _plain("float64", "double_data"),
    12: _plain("uint32", "uint64_data"),
    13: _plain("uint64", "uint64_data"),
    14: _plain("complex64", "float_data"),
    15: _plain("complex128", "double_data"),
    16: _Kind("bfloat16", "float32", "uint16", "int32_data", 16, _from_bfloat16),
    17: _Kind(
        "float8_e4m3fn",
        "float32",
        "uint8",
        "int32_data",
        8,
        _small_floats(4, 3, 7, {0x7F: _NAN, 0xFF: _NAN}),
    ),
    18: _Kind(
        "float8_e4m3fnuz",
        "float32",
        "uint8",
        "int32_data",
        8,
        _small_floats(4, 3, 8, {0x80: _NAN}),
    ),
    19: _Kind(
        "float8_e5m2",
        "float32",
        "uint8",
        "int32_data",
        8,
        _small_floats(
            5,
            2,
            15,
            {0x7C: _INF, 0xFC: -_INF}
            | {unit + sign: _NAN for unit in (0x7D, 0x7E, 0x7F) for sign in (0, 0x80)},
        ),
    ),
    20: _Kind(
        "float8_e5m2fnuz",
        "float32",
        "uint8",
        "int32_data",
        8,
        _small_floats(5, 2, 16, {0x80: _NAN}),
    ),
    21: _Kind("uint4", "uint8", "uint8", "int32_data", 4, lambda units: units),
    22: _Kind("int4", "int8", "uint8", "int32_data", 4, _signed(4)),
    23: _Kind(
        "float4_e2m1", "float32", "uint8", "int32_data", 4, _small_floats(2, 1, 1, {})
    ),
    24: _Kind("float8_e8m0", "float32", "uint8", "int32_data", 8, _powers_of_two),
    25: _Kind("uint2", "uint8", "uint8", "int32_data", 2, lambda units: units),
    26: _Kind("int2", "int8", "uint8", "int32_data", 2, _signed(2)),
}
_FIELDS = (
    "float_data",
    "int32_data",
    "int64_data",
    "double_data",
    "uint64_data",
    "string_data",
)


def number_of(dtype: np.dtype[Any]) -> int:
    """Return ONNX's number for a dtype of NumPy's."""
    return next(
        number
        for number, kind in _KINDS.items()
        if kind.stored == kind.dtype == np.dtype(dtype).name
    )


def name_of(number: int) -> str | None:
    """Return what ONNX's number stands for; None for what holds no numbers."""
    return _KINDS[number].stored if number in _KINDS else None


def header(tensor: Any, name: str) -> Header:
    """Return what a tensor is, once its data are known to be as many as its shape says.

    Parameters
    ----------
    tensor : TensorProto
    name
        What the errors call it.

    Raises
    ------
    FormatError
        If they are not, or are no numbers, or stand in another file.
    """
    kind = _kind(tensor, name)
    shape = tuple(tensor.dims)
    largest = math.prod(max(size, 1) for size in shape) * 16
    if len(shape) > _MOST_AXES or min(shape, default=0) < 0 or largest > _MOST_BYTES:
        raise FormatError(f"{name!r} should have a shape that is possible, got {shape}")
    fields = [field for field in _FIELDS if len(getattr(tensor, field))]
    raw = tensor.HasField("raw_data")
    if len(fields) + raw > 1 or (fields and fields != [kind.field]):
        raise FormatError(
            f"{name!r} should have its {kind.stored} data in one field, "
            f"got {', '.join([*fields, *(['raw_data'] if raw else [])])}"
        )
    count, unit = math.prod(shape), np.dtype(kind.raw).itemsize
    if raw:
        needed, there = -(-count * kind.bits // 8), len(tensor.raw_data)
    else:
        # Complex numbers are two each; of those of less than a byte, a byte is full.
        pairs = 2 if kind.raw.startswith("complex") else 1
        needed = -(-count * pairs * kind.bits // (8 * unit))
        there = len(getattr(tensor, kind.field))
    if needed != there:
        raise FormatError(
            f"{name!r} should have {needed} {'bytes' if raw else 'numbers'} for "
            f"{kind.stored} {shape}, got {there}"
        )
    stored = "" if kind.stored == kind.dtype else kind.stored
    return Header(np.dtype(kind.dtype), shape, stored)


def read(tensor: Any, name: str) -> Array:
    """Return a tensor as an array of its own; the arguments are those of `header`.

    Raises
    ------
    FormatError
        If `header` finds something wrong, or a number is out of its dtype's range.
    """
    found, kind = header(tensor, name), _kind(tensor, name)
    if tensor.HasField("raw_data"):
        raw = np.dtype(kind.raw).newbyteorder("<")
        units = np.frombuffer(tensor.raw_data, raw).astype(kind.raw)
    else:
        units = _from_field(getattr(tensor, kind.field), kind, name)
    if kind.bits < 8:
        units = _unpacked(units, kind.bits)[: math.prod(found.shape)]
    values = units if kind.convert is None else kind.convert(units)
    return np.ascontiguousarray(values, found.dtype).reshape(found.shape)


def _from_field(values: Any, kind: _Kind, name: str) -> Array:
    wide: dict[str, str] = {
        "float_data": "float32",
        "double_data": "float64",
        "int32_data": "int32",
        "int64_data": "int64",
        "uint64_data": "uint64",
    }
    found = np.fromiter(values, wide[kind.field], len(values))
    if kind.raw.startswith("complex"):
        return found.view(kind.raw)
    with np.errstate(all="ignore"):
        units = found.astype(kind.raw)
    if found.dtype.kind in "iu" and not np.array_equal(units, found):
        raise FormatError(f"{name!r} should hold {kind.stored}, got numbers out of range")
    return units


def _unpacked(units: Array, bits: int) -> Array:
    """The numbers of less than a byte in each byte, the lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    unpacked: Array = (units[:, None] >> shifts & (2**bits - 1)).reshape(-1)
    return unpacked


def _kind(tensor: Any, name: str) -> _Kind:
    if tensor.data_location or len(tensor.external_data):
        raise FormatError(f"{name!r} should have its data in this file, got external data")
    if tensor.HasField("segment"):
        raise FormatError(f"{name!r} should be one piece, got a segment of it")
    if tensor.data_type not in _KINDS:
        got = "strings" if tensor.data_type == 8 else f"data type {tensor.data_type}"
        raise FormatError(f"{name!r} should hold numbers, got {got}")
    return _KINDS[tensor.data_type]
