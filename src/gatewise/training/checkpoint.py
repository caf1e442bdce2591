"""Checkpoints: one ``.npz`` file without pickles, written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import reprlib
import stat
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Header
from gatewise.formats.fields import Fields
from gatewise.formats.files import replacing
from gatewise.formats.npz import Archive, write_arrays

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

_MARKER = "gatewise.json"
_VERSION = 1
# A description of more bytes is none of ours; parsed, it takes about ten times as many.
_LONGEST_DESCRIPTION = 1 << 24

_Value = TypeVar("_Value")


class CheckpointError(ValueError):
    """A file that is no checkpoint, a damaged one, or one of another kind."""


def save_checkpoint(
    path: str | os.PathLike[str],
    kind: str,
    arrays: Mapping[str, Array],
    metadata: Mapping[str, Any],
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
        Of booleans, integers, or real or complex numbers.
    metadata : dict
        What JSON can hold.

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError
        If an array holds no numbers, or JSON cannot hold the metadata.
    ValueError
        If an array has the name that the metadata has in the file, ``"gatewise.json"``.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from gatewise.training import load_checkpoint, save_checkpoint
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "weights.npz")
    ...     save_checkpoint(path, "example", {"weight": np.arange(3)}, {"epoch": 4})
    ...     load_checkpoint(path, "example")
    ({'weight': array([0, 1, 2])}, {'epoch': 4})
    """
    if _MARKER in arrays:
        raise ValueError(f"arrays should not have the name {_MARKER!r}, which is taken")
    described = {
        "format": "gatewise",
        "version": _VERSION,
        "kind": kind,
        "arrays": sorted(arrays),
        "metadata": dict(metadata),
    }
    text = json.dumps(described, ensure_ascii=False)
    marker = np.frombuffer(text.encode(), np.uint8)
    with replacing(path) as file:
        write_arrays(file, {_MARKER: marker, **arrays})


def load_checkpoint(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read a checkpoint; the example is at `save_checkpoint`.

    A file from elsewhere can be read without harm: it runs nothing, and takes no more
    memory than its own size and a little.

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
    ...     path = os.path.join(directory, "weights.npz")
    ...     save_checkpoint(path, "example", {"net.bias": np.ones(3)}, {"epoch": 4})
    ...     with open_checkpoint(path, "example") as checkpoint:
    ...         print(checkpoint.metadata, checkpoint.headers["net.bias"].shape)
    ...         print(checkpoint.read_group("net"))
    {'epoch': 4} (3,)
    {'bias': array([1., 1., 1.])}
    """

    def __init__(self, archive: Archive, metadata: dict[str, Any]) -> None:
        self.metadata = metadata
        self.headers = {n: h for n, h in archive.headers.items() if n != _MARKER}
        self._archive = archive

    def read(self) -> dict[str, Array]:
        """Return all arrays."""
        return {name: self._archive.read(name) for name in self.headers}

    def group(self, group: str) -> dict[str, Header]:
        """Return the headers of one group, by their names in it."""
        return take_group(group, self.headers)

    def read_group(self, group: str) -> dict[str, Array]:
        """Return the arrays of one group, by their names in it."""
        return {name: self._archive.read(f"{group}.{name}") for name in self.group(group)}

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
            archive = Archive(file)
            description = _description(archive)
        except ValueError as error:
            problem = f"not a gatewise file, or a damaged one ({_brief(error)})"
            raise CheckpointError(f"{path}: {problem}") from error
        try:
            _check_kind(description, kind)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
        try:
            yield Checkpoint(archive, _metadata(description, archive))
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


def _description(archive: Archive) -> Fields:
    header = archive.headers.get(_MARKER)
    if header is None:
        raise ValueError("it has no description")
    if header.dtype != np.uint8 or math.prod(header.shape) > _LONGEST_DESCRIPTION:
        raise ValueError("its description is no text, or too long a one")
    try:
        parsed = json.loads(archive.read(_MARKER).tobytes().decode())
    except RecursionError:
        raise ValueError("its description goes too deep") from None
    description = Fields(parsed, "description")
    if description.text("format") != "gatewise":
        raise ValueError("it has another format")
    return description


def _check_kind(description: Fields, kind: str) -> None:
    version = description.integer("version", lowest=0)
    if version != _VERSION:
        raise ValueError(
            f"has version {version} of the format; this gatewise reads version {_VERSION}"
        )
    found = description.text("kind")
    if found != kind:
        raise ValueError(f"holds {reprlib.repr(found)}, not {kind!r}")


def _metadata(description: Fields, archive: Archive) -> dict[str, Any]:
    if sorted(archive.headers) != sorted([_MARKER, *description.texts("arrays")]):
        raise ValueError("arrays are missing, or there are others")
    return description.dictionary("metadata")


def _brief(error: ValueError) -> str:
    """What is wrong in one line, however long the names in the file are."""
    return textwrap.shorten(str(error), 300, placeholder=" ...")
