"""Checkpoints: one file of safetensors, written whole or not at all."""

from __future__ import annotations

import math
import os
import reprlib
import stat
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gatewise.formats import architecture
from gatewise.formats.containers import Container, Header
from gatewise.formats.errors import FormatError
from gatewise.formats.fields import Fields
from gatewise.formats.files import replacing
from gatewise.formats.json.text import parse_json
from gatewise.formats.npz import open_npz
from gatewise.formats.own import Own, write_own
from gatewise.formats.safetensors import open_safetensors
from gatewise.layers import Module

Array = NDArray[Any]

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "join_groups",
    "load_checkpoint",
    "open_checkpoint",
    "save_checkpoint",
    "take_group",
]

# Of the files of earlier versions, which were ``.npz``: the array of their description.
_MARKER = "gatewise.json"
_VERSION = 1
# A description of more bytes is none of ours; parsed, it takes about ten times as many.
_LONGEST_DESCRIPTION = 1 << 24

_Value = TypeVar("_Value")


class CheckpointError(FormatError):
    """A file that is no checkpoint, a damaged one, or one of another kind."""


def save_checkpoint(
    path: str | os.PathLike[str],
    kind: str,
    arrays: Mapping[str, Array],
    metadata: Mapping[str, Any],
    *,
    model: Module | None = None,
    group: str = "model",
) -> None:
    """Write a checkpoint so that a crash at any moment leaves the old file or the new one.

    Several processes or threads may write to one path: each of them writes a whole file,
    and the last one stays. The mode of an existing file stays as it is.

    Parameters
    ----------
    path : path
    kind : str
        What the file holds; `load_checkpoint` must be asked for the same.
    arrays : dict of str to ndarray
        Of booleans, integers, or numbers of float16 to float64 or complex64: what a file of
        safetensors can have, which this is.
    metadata : dict
        What JSON can hold.
    model : layer, optional
        One whose parameters are among the arrays, each under its name after ``group.``.
        The file then is one for `gatewise.load`, too, unless the layer is of a class that
        is none of gatewise's own.
    group : str, default "model"

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError
        If an array holds no such numbers, or JSON cannot hold the metadata.
    ValueError
        If an array has the name that the metadata has in the file, ``"__metadata__"``, or
        `model` has more layers than a file can say.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from gatewise.training import load_checkpoint, save_checkpoint
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "weights.safetensors")
    ...     save_checkpoint(path, "example", {"weight": np.arange(3)}, {"epoch": 4})
    ...     load_checkpoint(path, "example")
    ({'weight': array([0, 1, 2])}, {'epoch': 4})
    """
    network = model if architecture.is_known(model) else None
    with replacing(path) as file:
        write_own(file, kind, arrays, metadata, network=network, prefix=f"{group}.")


def load_checkpoint(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read a checkpoint; the example is at `save_checkpoint`.

    A file from elsewhere can be read without harm: it runs nothing, and takes no more
    memory than its own size and a little. The ``.npz`` files of earlier versions are read
    as well.

    Parameters
    ----------
    path : path
    kind : str
        What the file should hold.

    Returns
    -------
    arrays : dict of str to ndarray
    metadata : dict

    Raises
    ------
    OSError
        If the file cannot be opened.
    CheckpointError
        If the file is no checkpoint of this kind, or a damaged one.
    """
    with open_checkpoint(path, kind) as checkpoint:
        return checkpoint.read(), checkpoint.metadata


class Checkpoint:
    """An open checkpoint, of which only the metadata and the headers have been read.

    Attributes
    ----------
    metadata : dict
    headers : dict of str to Header
        The dtype and the shape of every array.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from gatewise.training.checkpoint import open_checkpoint, save_checkpoint
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "weights.safetensors")
    ...     save_checkpoint(path, "example", {"net.bias": np.ones(3)}, {"epoch": 4})
    ...     with open_checkpoint(path, "example") as checkpoint:
    ...         print(checkpoint.metadata, checkpoint.headers["net.bias"].shape)
    ...         print(checkpoint.read_group("net"))
    {'epoch': 4} (3,)
    {'bias': array([1., 1., 1.])}
    """

    def __init__(self, container: Container) -> None:
        self.metadata = dict(container.metadata)
        self.headers = container.headers
        self._container = container

    def read(self) -> dict[str, Array]:
        """Return all arrays."""
        return {name: self._container.read(name) for name in self.headers}

    def group(self, group: str) -> dict[str, Header]:
        """Return the headers of one group, by their names in it."""
        return take_group(group, self.headers)

    def read_group(self, group: str) -> dict[str, Array]:
        """Return the arrays of one group, by their names in it."""
        names = self.group(group)
        return {name: self._container.read(f"{group}.{name}") for name in names}

    def check_group(self, group: str, expected: Mapping[str, Header]) -> None:
        """Raise ValueError unless the group has just these arrays."""
        found = self.group(group)
        for name, header in expected.items():
            if name not in found:
                raise ValueError(f"{group}.{name} is missing")
            if found[name] != header:
                raise ValueError(f"{group}.{name} should be {header}, got {found[name]}")
        for name in found:
            if name not in expected:
                raise ValueError(f"{group}.{name} is an array too many")

    def check_groups(self, *groups: str) -> None:
        """Raise ValueError unless every array is in one of these groups."""
        for name in self.headers:
            if name.partition(".")[0] not in groups:
                raise ValueError(f"{name} is an array too many")


@contextmanager
def open_checkpoint(
    path: str | os.PathLike[str], kind: str, refusal: str = "a damaged gatewise file"
) -> Iterator[Checkpoint]:
    """Open a checkpoint to look at it before its arrays are read.

    Parameters
    ----------
    path : path
    kind : str
        What the file should hold.
    refusal : str
        How a `CheckpointError` begins that is made of a ValueError in the block.

    Raises
    ------
    OSError
        If the file cannot be opened.
    CheckpointError
        If the file is no checkpoint of this kind, or a damaged one.
    """
    if not os.path.isdir(path) and not stat.S_ISREG(os.stat(path).st_mode):
        # Not even opened, as that waits for the writer of a pipe.
        raise CheckpointError(f"{path}: not a gatewise file, nor a regular one")
    with open(path, "rb") as file:
        try:
            container = _open(file)
        except ValueError as error:
            problem = f"not a gatewise file, or a damaged one ({_brief(error)})"
            raise CheckpointError(f"{path}: {problem}") from error
        try:
            container.check()
            if container.kind != kind:
                raise ValueError(f"holds {reprlib.repr(container.kind)}, not {kind!r}")
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
        try:
            yield Checkpoint(container)
        except ValueError as error:
            raise CheckpointError(f"{path}: {refusal} ({_brief(error)})") from error


def join_groups(groups: Mapping[str, Mapping[str, _Value]]) -> dict[str, _Value]:
    """Return the arrays of all groups in one dictionary, as ``"group.name"``.

    Examples
    --------
    >>> from gatewise.training.checkpoint import join_groups, take_group
    >>> joined = join_groups({"model": {"weight": 1}, "best": {"weight": 2, "bias": 3}})
    >>> joined
    {'model.weight': 1, 'best.weight': 2, 'best.bias': 3}
    >>> take_group("best", joined)
    {'weight': 2, 'bias': 3}
    """
    return {
        f"{group}.{name}": array
        for group, members in groups.items()
        for name, array in members.items()
    }


def take_group(group: str, arrays: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return one group of what `join_groups` joined."""
    prefix = f"{group}."
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


class _Saved(Container, Protocol):
    """A container that says what kind of file it is."""

    kind: str

    def check(self) -> None:
        """Take the description."""


def _open(file: BinaryIO) -> _Saved:
    is_zip = file.read(2) == b"PK"
    return _Npz(file) if is_zip else Own(open_safetensors(file))


class _Npz:
    """What earlier versions wrote: ``.npz``, with the description in an array."""

    format = "npz"

    def __init__(self, file: BinaryIO) -> None:
        # They compressed nothing, so whoever did may have had something else in mind.
        container = open_npz(file, deflated=False)
        header = container.headers.get(_MARKER)
        if header is None:
            raise FormatError("it has no description")
        if header.dtype != np.uint8 or math.prod(header.shape) > _LONGEST_DESCRIPTION:
            raise FormatError("its description is no text, or too long a one")
        text = container.read(_MARKER).tobytes()
        said = Fields(parse_json(text, "its description", constants=True), "description")
        if said.text("format") != "gatewise":
            raise FormatError("it has another format")
        self._said = said
        self._container = container
        self.kind = ""
        self.headers: Mapping[str, Header] = {
            name: header for name, header in container.headers.items() if name != _MARKER
        }
        self.metadata: Mapping[str, Any] = {}

    def check(self) -> None:
        """Take the rest of the description, once its version is known."""
        version = self._said.integer("version", lowest=0)
        if version != _VERSION:
            raise FormatError(
                f"has version {version} of the format; this gatewise reads version "
                f"{_VERSION}"
            )
        self.kind = self._said.text("kind")
        if sorted(self.headers) != sorted(self._said.texts("arrays")):
            raise FormatError("arrays are missing, or there are others")
        self.metadata = self._said.dictionary("metadata")

    def read(self, name: str) -> Array:
        return self._container.read(name)


def _brief(error: ValueError) -> str:
    """What is wrong in one line, however long the names in the file are."""
    return textwrap.shorten(str(error), 300, placeholder=" ...")
