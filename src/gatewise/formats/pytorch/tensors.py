"""PyTorch's tensors in its files: views of storages, checked before anything is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np

from gatewise.formats.containers import Array, Header
from gatewise.formats.errors import FormatError
from gatewise.formats.pytorch.dtypes import DTYPES, STORAGES, Kind
from gatewise.formats.pytorch.pickle_numpy import NumpyArray, checked_shape
from gatewise.formats.pytorch.pickle_values import (
    Builders,
    Entries,
    Leaf,
    Placeholder,
    Unread,
    kind_of,
)

__all__ = ["TORCH", "Record", "Storage", "Tensor", "as_text", "storage_kind"]


_MOST_EXTRA = 100


class Record(Protocol):
    """The bytes of a storage in a file.

    Attributes
    ----------
    size : int
        How many there are.
    order : str
        Of the bytes of a number, ``"<"`` or ``">"``.
    """

    size: int
    order: Literal["<", ">"]

    def read_into(self, start: int, view: memoryview) -> None:
        """Read the bytes from `start` on; raises FormatError if they are damaged."""

    def content(self) -> bytes:
        """Return all bytes, which are then kept: for views that have gaps."""


class Storage(Leaf):
    """What tensors are views of: numbers of one kind, somewhere in a record.

    Parameters
    ----------
    record : Record
    kind : Kind
    start : int
        In bytes.
    length : int
        In elements.
    """

    __slots__ = ("kind", "length", "record", "start")

    def __init__(self, record: Record, kind: Kind, start: int, length: int) -> None:
        self.record = record
        self.kind = kind
        self.start = start
        self.length = length

    @property
    def unread(self) -> str:
        """Why it cannot be read, or nothing."""
        return self._all().unread

    @property
    def header(self) -> Header:
        """What it will be by itself, in one dimension."""
        return self._all().header

    def read(self) -> Array:
        """Return all of its numbers."""
        return self._all().read()

    def _all(self) -> Tensor:
        return Tensor(self, self.kind, 0, (self.length,), (1,))


class Tensor(Leaf):
    """A view of a storage; itself only a description.

    Parameters
    ----------
    storage : Storage
    kind : Kind
        The storage's own, unless that only says how many bytes it has.
    offset : int
        Of the first element, in elements.
    shape, strides : tuple of int
    is_conjugate, is_negative : bool
        What is yet to be done to the numbers.

    Raises
    ------
    FormatError
        If it reaches beyond its storage.
    """

    __slots__ = (
        "_count",
        "_last",
        "conjugate",
        "kind",
        "negative",
        "offset",
        "shape",
        "storage",
        "strides",
    )

    def __init__(
        self,
        storage: Storage,
        kind: Kind,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        is_conjugate: bool = False,
        is_negative: bool = False,
    ) -> None:
        self.storage = storage
        self.kind = kind
        self.offset = offset
        self.shape = checked_shape(shape, max(kind.size, 16))
        self.strides = checked_shape(strides, 0)
        self.conjugate = is_conjugate
        self.negative = is_negative
        if is_negative and kind.name == "bool":
            raise FormatError("a tensor of bools has no negative")
        if len(shape) != len(strides):
            raise FormatError(f"{len(shape)} strides should be there, got {len(strides)}")
        self._last = offset + sum(
            (size - 1) * stride for size, stride in zip(shape, strides, strict=True)
        )
        length = storage.length * storage.kind.size // kind.size
        self._count = math.prod(self.shape)
        if self._count and not 0 <= offset <= self._last < length:
            raise FormatError(
                f"a tensor should lie in the {length} elements of its storage, got one "
                f"from {offset} to {self._last}"
            )

    @property
    def unread(self) -> str:
        """Why it cannot be read, or nothing."""
        return "" if self.kind.dtype else f"a tensor of dtype {self.kind.name} is not read"

    @property
    def header(self) -> Header:
        """What it will be; raises FormatError unless the file has all of it."""
        assert self.kind.dtype is not None
        if self._count:
            end = self.storage.start + (self._last + 1) * self.kind.size
            if end > self.storage.record.size:
                raise FormatError(
                    f"a storage of {end} bytes or more should be there, got "
                    f"{self.storage.record.size}"
                )
        return Header(self.kind.dtype, self.shape, self.kind.stored)

    def read(self) -> Array:
        """Return the numbers.

        Raises
        ------
        FormatError
            If the file is damaged.
        """
        dtype = self.header.dtype
        if not self._count:
            return np.empty(self.shape, dtype)
        raw = self.kind.raw.newbyteorder(self.storage.record.order)
        numbers = self._raw(raw).reshape(-1)
        if self.kind.widen is not None:
            numbers = self.kind.widen(numbers)
        elif not raw.isnative:
            numbers = numbers.astype(dtype)
        if self.conjugate:
            numbers = np.conjugate(numbers)
        if self.negative:
            numbers = np.negative(numbers)
        return numbers.reshape(self.shape)

    def _raw(self, raw: np.dtype[Any]) -> Array:
        """The numbers as they are in the file, in an array of their own."""
        span = self._last + 1 - self.offset
        start = self.storage.start + self.offset * self.kind.size
        strides = tuple(stride * raw.itemsize for stride in self.strides)
        if span > 2 * self._count:
            # What lies between is many times what is wanted, and read once for all views.
            content = memoryview(self.storage.record.content())
            part = np.frombuffer(content[start : start + span * raw.itemsize], raw)
            return np.array(_view(part, self.shape, strides), order="C")
        numbers = np.empty(span, raw)
        self.storage.record.read_into(start, numbers.view(np.uint8).data)
        viewed = _view(numbers, self.shape, strides)
        return viewed if viewed.flags.c_contiguous else np.array(viewed, order="C")


def _view(numbers: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    # Strides of what is there once only are never taken, and may be anything.
    taken = [step if n > 1 else 0 for n, step in zip(shape, strides, strict=True)]
    if math.prod(shape) == len(numbers) and _is_plain(shape, taken, numbers.itemsize):
        return numbers.reshape(shape)
    return np.lib.stride_tricks.as_strided(numbers, shape, taken, writeable=False)


def _is_plain(shape: tuple[int, ...], strides: list[int], itemsize: int) -> bool:
    step = itemsize
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != step:
            return False
        step *= size
    return True


def storage_kind(value: Any) -> Kind:
    """Return what the elements of a storage are, given its class.

    Raises
    ------
    FormatError
        If it is no class of storages.
    """
    if isinstance(value, Placeholder) and value.module.split(".")[0] == "torch":
        kind = STORAGES.get(value.name.lstrip("_"))
        if kind is not None:
            return kind
    raise FormatError(f"a class of storages should be given, got {kind_of(value)}")


def as_text(value: Any) -> Any:
    """Return what may have been text in Python 2 as text."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _tensor(arguments: tuple[Any, ...]) -> Any:
    """With or without requires_grad and hooks, and what is yet to be done to it."""
    match arguments:
        case (Storage() as storage, offset, shape, strides, *rest) if len(rest) <= 3:
            return _made(storage, storage.kind, offset, shape, strides, rest[2:])
    raise _wrong("a tensor", arguments)


def _tensor_of_dtype(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (Storage() as storage, offset, shape, strides, _, _, dtype, *rest) if (
            len(rest) <= 1
        ):
            kind = DTYPES.get(dtype.name) if isinstance(dtype, Placeholder) else None
            if kind is None:
                return Unread(f"a tensor of dtype {kind_of(dtype)} is not read")
            return _made(storage, kind, offset, shape, strides, rest)
    raise _wrong("a tensor", arguments)


def _made(
    storage: Storage, kind: Kind, offset: Any, shape: Any, strides: Any, rest: list[Any]
) -> Tensor:
    if type(offset) is not int or not all(
        isinstance(v, tuple | list) for v in (shape, strides)
    ):
        raise FormatError("a tensor should have an offset, a shape and strides")
    extra = rest[0] if rest and isinstance(rest[0], Entries) else Entries()
    if len(extra.pairs) > _MOST_EXTRA:
        # Each tensor that means it looks through it.
        raise FormatError(f"{len(extra.pairs)} things are said of a tensor")
    return Tensor(
        storage,
        kind,
        offset,
        shape,
        strides,
        is_conjugate=extra.get("conj") is True,
        is_negative=extra.get("neg") is True,
    )


def _first(arguments: tuple[Any, ...]) -> Any:
    """A tensor with something around it that does not matter."""
    match arguments:
        case (Tensor() | Unread() | NumpyArray() as tensor, *_):
            return tensor
    return NotImplemented


def _tensor_of_type(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (Placeholder(module=module, name=name), _, tuple() as inner, *_):
            builder = TORCH.get((module, name))
            if builder is not None and builder is not _tensor_of_type:
                return builder(inner)
    return NotImplemented


def _size(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (tuple() | list() as sizes,):
            return sizes
    return NotImplemented


def _device(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (str() as kind,):
            return kind
        case (str() as kind, int() as index) if len(kind) < 100:
            return f"{kind}:{index}"
    return NotImplemented


def _listed(arguments: tuple[Any, ...]) -> Any:
    """What TorchScript says the type of, beside it."""
    return (
        arguments[0]
        if arguments and isinstance(arguments[0], list | Entries)
        else NotImplemented
    )


def _refusing(what: str) -> Callable[[tuple[Any, ...]], Any]:
    return lambda _: Unread(f"a {what} is not read")


def _wrong(wanted: str, arguments: tuple[Any, ...]) -> FormatError:
    kinds = ", ".join(kind_of(argument) for argument in arguments[:10])
    return FormatError(f"{wanted} should be made, got the arguments ({kinds})")


TORCH: Builders = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): _first,
    ("torch._utils", "_rebuild_device_tensor_from_numpy"): _first,
    ("torch._utils", "_rebuild_xla_tensor"): _first,
    ("torch._tensor", "_rebuild_from_type"): _tensor_of_type,
    ("torch._tensor", "_rebuild_from_type_v2"): _tensor_of_type,
    ("torch.tensor", "_rebuild_from_type"): _tensor_of_type,
    ("torch.nn.parameter", "Parameter"): _first,
    ("torch.nn.parameter", "Buffer"): _first,
    ("torch.autograd.variable", "Variable"): _first,
    ("torch._utils", "_rebuild_qtensor"): _refusing("quantized tensor"),
    ("torch._utils", "_rebuild_sparse_tensor"): _refusing("sparse tensor"),
    ("torch._utils", "_rebuild_sparse_csr_tensor"): _refusing("sparse tensor"),
    ("torch._utils", "_rebuild_nested_tensor"): _refusing("nested tensor"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _refusing(
        "tensor without content"
    ),
    ("torch._utils", "_rebuild_wrapper_subclass"): _refusing("tensor that wraps another"),
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("torch.jit._pickle", "restore_type_tag"): _listed,
} | {
    ("torch.jit._pickle", f"build_{kind}list"): _listed
    for kind in ("int", "double", "bool", "tensor", "complex")
}
