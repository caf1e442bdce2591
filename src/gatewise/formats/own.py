"""gatewise's own files: safetensors whose metadata says what they are, with checksums."""

from __future__ import annotations

import json
import reprlib
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

from numpy.typing import NDArray

from gatewise.formats import architecture
from gatewise.formats.containers import Container, Header
from gatewise.formats.errors import FormatError
from gatewise.formats.fields import Fields
from gatewise.formats.json.text import parse_json
from gatewise.formats.raw import little_endian
from gatewise.formats.safetensors import open_safetensors, stored_dtype, write_safetensors
from gatewise.layers import Layer, Module

Array = NDArray[Any]

__all__ = [
    "LAYOUT",
    "Own",
    "checksum",
    "is_own",
    "open_own",
    "read_network",
    "write_own",
]

# Which of the layouts below a file has; another one is a greater number.
LAYOUT = 1
_DESCRIPTION = "gatewise"
_CHECKSUM = "gatewise.crc32"


class Own:
    """An open file of gatewise's own, as a `Container`.

    What it says of itself has been compared with its checksum, and every array is when it
    is read: safetensors have none, so a flipped bit would be another weight.

    Attributes
    ----------
    format : str
    headers : dict of str to Header
    metadata : dict
        What was given to whoever wrote it, in JSON's types.
    kind : str
        What it holds, such as ``"model"``.
    network : Fields or None
        How to make the network whose parameters are among the arrays.
    """

    format = "safetensors"

    def __init__(self, container: Container) -> None:
        self._said = _description(container)
        self._container = container
        self.headers: Mapping[str, Header] = container.headers
        self.metadata: Mapping[str, Any] = {}
        self.kind = ""
        self.network: Fields | None = None

    def check(self) -> None:
        """Take what the description says, if this version understands it.

        Raises
        ------
        FormatError
            If it does not, or the description is not what it should be.
        """
        said = self._said
        layout = said.integer("layout", lowest=0)
        if layout != LAYOUT:
            writer = (
                reprlib.repr(said.text("written_by")) if said.has("written_by") else "?"
            )
            raise FormatError(
                f"has version {layout} of the layout, written by gatewise {writer}; this "
                f"gatewise reads version {LAYOUT}"
            )
        self.kind = said.text("kind")
        self.metadata = said.dictionary("metadata")
        self.network = said.fields("network") if said.has("network") else None
        self._checksums = said.fields("arrays")
        if said.dictionary("arrays").keys() != self.headers.keys():
            raise FormatError("arrays are missing, or there are others")

    def read(self, name: str) -> Array:
        """Return the array `name`.

        Raises
        ------
        FormatError
            If it is damaged.
        """
        array = self._container.read(name)
        if checksum(array) != self._checksums.integer(name, lowest=0):
            raise FormatError(f"{name[:100]!r} is damaged: its checksum is another")
        return array


def write_own(
    file: BinaryIO,
    kind: str,
    arrays: Mapping[str, Array],
    metadata: Mapping[str, Any],
    *,
    network: Module | None = None,
    prefix: str = "",
) -> None:
    """Write a file that `open_own` reads, and any reader of safetensors.

    Parameters
    ----------
    file : binary file
    kind : str
    arrays : dict of str to ndarray
    metadata : dict
        What JSON can hold; numbers that are not finite too.
    network : layer, optional
        One whose parameters are arrays, with names that begin with `prefix`.
    prefix : str

    Raises
    ------
    TypeError
        If an array has a dtype that safetensors has not, JSON cannot hold the metadata, or
        `network` is no layer of gatewise's own.
    ValueError
        If a name is taken, `network` has too many layers, or the metadata could not be
        read again.
    """
    # Imported here, since a room above has it.
    import gatewise

    for name, array in arrays.items():
        stored_dtype(name, array)
    said: dict[str, Any] = {
        "layout": LAYOUT,
        "written_by": gatewise.__version__,
        "kind": kind,
        "metadata": dict(metadata),
        "arrays": {name: checksum(array) for name, array in arrays.items()},
    }
    if network is not None:
        said["network"] = {
            "prefix": prefix,
            "architecture": architecture.describe(network),
        }
    try:
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        parse_json(text.encode(), "it", constants=True)
    except RecursionError:
        raise ValueError("metadata should be nested less deep, got one too deep") from None
    except FormatError as error:
        # As where the names 1 and "1" have become the same text.
        raise ValueError(
            f"metadata should be what can be read again, got one of which {error}"
        ) from None
    checked = f"{zlib.crc32(text.encode()):08x}"
    write_safetensors(file, arrays, {_DESCRIPTION: text, _CHECKSUM: checked})


def is_own(container: Container) -> bool:
    """Whether an open file says that gatewise wrote it."""
    return _DESCRIPTION in container.metadata


def open_own(file: BinaryIO) -> Own:
    """Look at a file that `write_own` wrote, and at nothing but its header.

    Raises
    ------
    FormatError
        If it is none, a damaged one, or one of a later layout.
    """
    own = Own(open_safetensors(file))
    own.check()
    return own


def read_network(own: Own, others: Mapping[str, type[Layer]] | None = None) -> Module:
    """Return the network in a file, once it is sure that its arrays make one.

    `others` are a user's classes that it may have; see `architecture.as_classes`.

    Raises
    ------
    FormatError
        If there is none, they do not, or one is damaged.
    """
    if own.network is None:
        raise FormatError(f"holds {reprlib.repr(own.kind)}, and no network")
    prefix = own.network.text("prefix")
    headers = {
        name.removeprefix(prefix): header
        for name, header in own.headers.items()
        if name.startswith(prefix)
    }
    said = own.network.dictionary("architecture")
    network = architecture.make(said, len(headers), others)
    expected = network.parameters()
    for name, array in expected.items():
        wanted = Header(array.dtype, array.shape)
        if name not in headers:
            raise FormatError(f"{prefix}{name} is missing")
        if headers[name] != wanted:
            raise FormatError(f"{prefix}{name} should be {wanted}, got {headers[name]}")
    for name in headers:
        if name not in expected:
            raise FormatError(f"{(prefix + name)[:100]!r} is an array too many")
    values = {name: own.read(prefix + name) for name in expected}
    try:
        network._take_over(values)
    except ValueError as error:
        raise FormatError(f"its parameters do not fit: {error}") from None
    return network


def checksum(array: Array) -> int:
    """Return the CRC-32 of an array's dtype, shape and bytes, whatever its layout is."""
    kind = f"{array.dtype.newbyteorder('=')} {array.shape}"
    return zlib.crc32(little_endian(array), zlib.crc32(kind.encode()))


def _description(container: Container) -> Fields:
    text = container.metadata.get(_DESCRIPTION)
    if text is None:
        raise FormatError("has no description: it was not written by gatewise")
    content = text.encode()
    if container.metadata.get(_CHECKSUM) != f"{zlib.crc32(content):08x}":
        raise FormatError("its description is damaged: its checksum is another")
    return Fields(parse_json(content, "its description", constants=True), "description")
