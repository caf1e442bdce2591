"""Checkpoints: one ``.npz`` file without pickles, written whole or not at all."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

__all__ = [
    "CheckpointError",
    "check_writable",
    "join_groups",
    "load_checkpoint",
    "save_checkpoint",
    "take_group",
]

_MARKER = "gatewise.json"
_VERSION = 1


class CheckpointError(ValueError):
    """A file that is no checkpoint, a damaged one, or one of another kind."""


def save_checkpoint(
    path: str | os.PathLike[str],
    kind: str,
    arrays: Mapping[str, Array],
    metadata: Mapping[str, Any],
) -> None:
    """Write a checkpoint so that a crash at any moment leaves the old file or the new one.

    Parameters
    ----------
    path : path
    kind : str
        What the file holds; `load_checkpoint` must be asked for the same.
    arrays : dict of str to ndarray
        Of any dtype but object.
    metadata : dict
        What JSON can hold.

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
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"arrays[{name!r}] must hold numbers, got objects")
    # A symbolic link stays one; the file that it names is replaced.
    target = Path(os.path.realpath(path))
    described = {
        "format": "gatewise",
        "version": _VERSION,
        "kind": kind,
        "arrays": sorted(arrays),
        "metadata": dict(metadata),
    }
    text = json.dumps(described, ensure_ascii=False)
    contents: dict[str, Any] = {_MARKER: np.frombuffer(text.encode(), np.uint8), **arrays}
    temporary = _beside(target)
    try:
        with _errors_naming(path):
            with open(temporary, "wb") as file:
                np.savez(file, **contents)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def load_checkpoint(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read a checkpoint; the example is at `save_checkpoint`.

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
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            # NumPy would try to read it as a pickle, and say how to do that unsafely.
            raise CheckpointError(f"{path}: not a gatewise file, or a damaged one")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                described, arrays = _read(archive)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        except Exception as error:
            # A foreign or damaged file makes zipfile and NumPy raise a dozen of types.
            raise CheckpointError(
                f"{path}: not a gatewise file, or a damaged one ({error})"
            ) from error
    if described["version"] != _VERSION:
        raise CheckpointError(
            f"{path}: has version {described['version']} of the format; "
            f"this gatewise reads version {_VERSION}"
        )
    if described["kind"] != kind:
        raise CheckpointError(f"{path}: holds {described['kind']!r}, not {kind!r}")
    return arrays, described["metadata"]


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise an `OSError` now if `save_checkpoint` could not write to `path` later."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        kind = "a directory" if target.is_dir() else "not a regular file"
        raise OSError(f"{path}: is {kind}")
    probe = _beside(target)
    with _errors_naming(path), open(probe, "wb"):
        pass
    probe.unlink()


def join_groups(groups: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
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


def take_group(group: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return one group of what `join_groups` joined."""
    prefix = f"{group}."
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _beside(target: Path) -> Path:
    """A name for what is not whole yet; in the same directory, so that a rename is all."""
    return target.with_name(f".{target.name}.{os.getpid()}.partial")


@contextmanager
def _errors_naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let errors name the file that was asked for, not the temporary one or none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = os.fspath(path), None
        raise


def _read(archive: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    if not hasattr(archive, "files") or _MARKER not in archive.files:
        raise CheckpointError("not a gatewise file")
    # Reading a member to its end also checks its checksum.
    contents = {name: archive[name] for name in archive.files}
    described = json.loads(contents.pop(_MARKER).tobytes().decode())
    if described["format"] != "gatewise":
        raise CheckpointError("not a gatewise file")
    if sorted(contents) != described["arrays"]:
        raise CheckpointError("a damaged gatewise file (arrays are missing)")
    return described, contents


def _sync_directory(directory: Path) -> None:
    """Make the new name last through a power cut, where directories can be synced."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network file systems refuse; the file itself is complete all the same.
        pass
    finally:
        os.close(descriptor)
