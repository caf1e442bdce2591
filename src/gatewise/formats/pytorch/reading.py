"""PyTorch's files, read without PyTorch and without running what is in them."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal

from gatewise.formats.archives.zips import Zip, open_zip
from gatewise.formats.containers import Array, Container, Header
from gatewise.formats.errors import FormatError
from gatewise.formats.limits import room, weight
from gatewise.formats.pytorch.dtypes import Kind
from gatewise.formats.pytorch.pickle_numpy import NUMPY
from gatewise.formats.pytorch.pickle_tree import Tree, find_arrays
from gatewise.formats.pytorch.pickle_values import PYTHON, Placeholder, kind_of
from gatewise.formats.pytorch.pickles import load_pickle
from gatewise.formats.pytorch.tensors import TORCH, Storage, as_text, storage_kind

__all__ = ["open_pytorch"]

_KNOWN = {**PYTHON, **NUMPY, **TORCH}
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# What an array takes beside its numbers.
_EACH = 512
# A pickle may have so many steps, or so many for each byte of the file.
_FEW_OPERATIONS = 1 << 21
_VERY_FEW_OPERATIONS = 1000
_OPERATIONS_RATIO = 1.25


def open_pytorch(file: BinaryIO) -> Container:
    """Open what ``torch.save`` or ``torch.jit.save`` wrote, in PyTorch 0.1.10 or later.

    No code of the file is run, whatever it names. An array's name is made of the keys that
    lead to it, joined by dots: those of a state_dict as they are, and those of a checkpoint
    such as ``"model.weight_ih_l0"`` or ``"optimizer.state.0.exp_avg"``. Whole modules give
    the names of their state_dict; those of TorchScript may have more tensors, since its
    files do not tell parameters from others. Everything else, such as numbers and what is
    left of objects of unknown classes, is in the metadata.

    float16 stays what it is; bfloat16, complex32 and the floats of eight bits are read as
    float32 and complex64, exactly. Quantized, sparse and nested tensors, and tensors
    without content, are not read: the metadata say so, and `read` refuses them.

    Parameters
    ----------
    file : binary file
        That can be sought in, and stays open as long as arrays are read.

    Returns
    -------
    Container

    Raises
    ------
    FormatError
        If it is no such file, is damaged, or has tensors that reach beyond their storages
        or are many times as large as the file.

    References
    ----------
    ``torch/serialization.py`` and ``torch/_utils.py`` of PyTorch 2.13.

    Examples
    --------
    >>> import io, pickle, zipfile
    >>> from gatewise.formats.pytorch.reading import open_pytorch
    >>> file = io.BytesIO()
    >>> with zipfile.ZipFile(file, "w") as archive:
    ...     archive.writestr("net/data.pkl", pickle.dumps({"epoch": 3}))
    >>> opened = open_pytorch(file)
    >>> opened.headers, opened.metadata
    ({}, {'epoch': 3})
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    if start[:2] == b"PK":
        return _open_zip(file)
    if start[:1] == b"\x80":
        return _open_stream(file, size)
    raise FormatError("is no file of PyTorch: begins neither as a zip file nor as a pickle")


class _PyTorch:
    """The arrays of a file of PyTorch's."""

    def __init__(self, kind: str, tree: Tree, file: BinaryIO) -> None:
        headers: dict[str, Header] = {}
        for name, array in tree.arrays.items():
            with _within(repr(name)):
                headers[name] = array.header
        self.format = kind
        self.headers: Mapping[str, Header] = headers
        self.metadata: Mapping[str, Any] = tree.metadata
        self._arrays = tree.arrays
        self._unread = tree.unread
        claimed = sum(
            math.prod(header.shape) * header.dtype.itemsize + _EACH
            for header in headers.values()
        )
        # One storage may be there under several names, or repeated by strides of zero.
        most, why = room(file)
        if claimed > most:
            raise FormatError(
                f"its {len(headers)} arrays take {claimed} bytes, and at most {most} are "
                f"read: {why}"
            )

    def read(self, name: str) -> Array:
        """Return the array `name`; raises FormatError also for one that is never read."""
        if name in self._unread:
            raise FormatError(f"{name!r} is {self._unread[name]}")
        with _within(repr(name)):
            return self._arrays[name].read()


@contextmanager
def _within(part: str) -> Iterator[None]:
    """Say in which part of the file the errors of the block are."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{part}: {error}") from None


class _Member:
    """A storage that is a member of a zip archive."""

    def __init__(self, archive: Zip, name: str, order: Literal["<", ">"]) -> None:
        self.size = archive.size(name)
        self.order = order
        self._archive = archive
        self._name = name
        self._content: bytes | None = None
        # Whether all of it has been compared with its checksum.
        self._is_checked = False

    def read_into(self, start: int, view: memoryview) -> None:
        if len(view) == self.size and not self._is_checked:
            with self._archive.open(self._name) as member:
                _fill(member, view)
            self._is_checked = True
        elif self._archive.is_stored(self._name):
            self._archive.read_into(self._name, start, view)
        else:
            view[:] = self.content()[start : start + len(view)]

    def content(self) -> bytes:
        if self._content is None:
            self._content = self._archive.read(self._name)
        return self._content


class _Stretch:
    """A storage that is a stretch of a file; which one is told after the pickle."""

    order: Literal["<", ">"] = "<"

    def __init__(self, file: BinaryIO, kind: Kind, length: int) -> None:
        self.size = length * kind.size
        self.kind = kind
        self.length = length
        self.start: int | None = None
        self._file = file
        self._content: bytes | None = None

    def read_into(self, start: int, view: memoryview) -> None:
        assert self.start is not None
        self._file.seek(self.start + start)
        _fill(self._file, view)

    def content(self) -> bytes:
        if self._content is None:
            content = bytearray(self.size)
            self.read_into(0, memoryview(content))
            self._content = bytes(content)
        return self._content


def _fill(file: BinaryIO | io.BufferedReader, view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = file.readinto(view[done:])  # type: ignore[union-attr]
        if not count:
            raise FormatError("is cut off")
        done += count


def _open_zip(file: BinaryIO) -> Container:
    archive = open_zip(file, zero_is_none=True)
    names = set(archive.names)
    tops = [
        name.removesuffix("data.pkl")
        for name in archive.names
        if name.count("/") <= 1 and name.split("/")[-1] == "data.pkl"
    ]
    if len(tops) != 1:
        raise FormatError(
            "should hold one data.pkl, as files of torch.save do, got "
            f"{len(tops)} beside {', '.join(archive.names[:5])[:200]!r}"
        )
    top = tops[0]
    order = _byte_order(archive, f"{top}byteorder") if f"{top}byteorder" in names else "<"
    members: dict[str, _Member] = {}

    def persistent(name: Any) -> Any:
        match name:
            case (kind, storage, key, _, int() as length) if as_text(kind) == "storage":
                member = f"{top}data/{_checked_key(key)}"
                if member not in members:
                    if member not in names:
                        raise FormatError(f"{member[:100]!r} is not there")
                    members[member] = _Member(archive, member, order)
                return _checked_storage(members[member], storage_kind(storage), length)
        raise FormatError("what lies outside should be a storage")

    with _within(repr(f"{top}data.pkl")):
        pickle = load_pickle(
            io.BytesIO(archive.read(f"{top}data.pkl")),
            known=_KNOWN,
            persistent=persistent,
            most_operations=_most_operations(file),
        )
        tree = find_arrays(pickle)
    is_script = f"{top}constants.pkl" in names
    return _PyTorch("torchscript" if is_script else "pytorch", tree, file)


def _most_operations(file: BinaryIO) -> int:
    """How many steps the pickle in a file may have.

    That is more than those of torch.save have: a pair of numbers, most for its length, has
    ten bytes and counts as eleven.
    """
    return max(_FEW_OPERATIONS, int(_OPERATIONS_RATIO * weight(file)))


def _byte_order(archive: Zip, name: str) -> Literal["<", ">"]:
    said = archive.read(name) if archive.size(name) < 10 else b"another"
    if said not in (b"little", b"big"):
        raise FormatError(f"{name!r} should be little or big, got {said!r}")
    return "<" if said == b"little" else ">"


def _checked_key(key: Any) -> str:
    key = as_text(key)
    if not isinstance(key, str) or not 0 < len(key) <= 100:
        raise FormatError(
            f"the name of a storage should be a short text, got a {kind_of(key)}"
        )
    return key


def _checked_storage(record: _Member, kind: Kind, length: int) -> Storage:
    if not 0 <= length * kind.size <= record.size:
        raise FormatError(
            f"a storage of {length} {kind.name} should be there, got {record.size} bytes"
        )
    return Storage(record, kind, 0, length)


def _open_stream(file: BinaryIO, size: int) -> Container:
    """The older format: pickles one after the other, then the storages."""
    most_operations = _most_operations(file)
    file.seek(0)
    for wanted, what in ((_MAGIC, "magic number"), (_PROTOCOL, "version of its format")):
        value = load_pickle(file, most_operations=_VERY_FEW_OPERATIONS).value
        if type(value) is not int or value != wanted:
            raise FormatError(f"is a pickle, but none of PyTorch's: its {what} is missing")
    load_pickle(file, most_operations=_VERY_FEW_OPERATIONS)
    stretches: dict[str, _Stretch] = {}
    pickle = load_pickle(
        file,
        known=_KNOWN,
        persistent=_StreamStorages(file, stretches),
        most_operations=most_operations,
    )
    _locate(file, size, stretches)
    return _PyTorch("pytorch", find_arrays(pickle), file)


class _StreamStorages:
    """What stands for storages in a stream before it is known where they are."""

    def __init__(self, file: BinaryIO, stretches: dict[str, _Stretch]) -> None:
        self._file = file
        self._stretches = stretches

    def __call__(self, name: Any) -> Any:
        match name:
            case (kind, Placeholder() as module, *_) if as_text(kind) == "module":
                # With the source of its class, which nobody needs.
                return module
            case (kind, storage, key, _, int() as length, view) if (
                as_text(kind) == "storage"
            ):
                return self._storage(storage_kind(storage), _checked_key(key), length, view)
        raise FormatError("what lies outside should be a storage")

    def _storage(self, kind: Kind, key: str, length: int, view: Any) -> Storage:
        if not 0 <= length < 1 << 60:
            raise FormatError(f"a storage should have a length, got {length}")
        new = _Stretch(self._file, kind, length)
        stretch = self._stretches.setdefault(key, new)
        # An empty one may be there for two kinds.
        if stretch.length != length or (length and stretch.kind.size != kind.size):
            raise FormatError(f"the storage {key!r} has two sizes")
        match view:
            case None:
                return Storage(stretch, kind, 0, length)
            case (_, int() as offset, int() as part):
                if 0 <= offset <= offset + part <= length and part >= 0:
                    return Storage(stretch, kind, offset * kind.size, part)
        raise FormatError(f"a part of a storage should lie in its {length} elements")


def _locate(file: BinaryIO, size: int, stretches: dict[str, _Stretch]) -> None:
    """Find out where the storages are, which follow a list of their names."""
    keys = load_pickle(file).value
    if not isinstance(keys, list):
        raise FormatError("a list of storages should follow its pickle")
    for key in keys:
        stretch = stretches.get(_checked_key(key))
        if stretch is None or stretch.start is not None:
            raise FormatError(
                f"the storage {key!r:.100} is there twice, or belongs to nothing"
            )
        length = int.from_bytes(file.read(8), "little")
        stretch.start = file.tell()
        if length != stretch.length or stretch.size > size - stretch.start:
            raise FormatError(
                f"at byte {stretch.start}: a storage of {stretch.length} elements should "
                f"follow, got {length} in {size - stretch.start} bytes"
            )
        file.seek(stretch.size, os.SEEK_CUR)
    if file.tell() != size:
        raise FormatError(f"goes on for {size - file.tell()} bytes after its last storage")
    missing = [key for key, stretch in stretches.items() if stretch.start is None]
    if missing:
        raise FormatError(f"the storage {missing[0]!r} is missing")
