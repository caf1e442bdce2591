"""A ``.keras`` file: a zip archive of two JSON texts and an HDF5 file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from numpy.typing import NDArray

from gatewise.formats.archives.zips import Zip, open_zip
from gatewise.formats.errors import FormatError
from gatewise.formats.hdf5.reading import HDF5, open_hdf5
from gatewise.formats.json.text import parse_json
from gatewise.formats.limits import Unpacked, weight

Array = NDArray[Any]

__all__ = ["CONFIG", "METADATA", "WEIGHTS", "KerasArchive", "open_keras"]

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# Of JSON; a thousand layers have a few megabytes.
_LONGEST_TEXT = 1 << 26


class KerasArchive:
    """An open ``.keras`` file of which all names and places have been read and checked.

    Attributes
    ----------
    format : str
        ``"keras"``.
    headers : dict of str to Header
        Of the arrays in ``model.weights.h5``, by their paths in it.
    metadata : dict
        ``"config"`` and ``"metadata"`` have what is in the JSON texts of these names, and
        ``"groups"`` is as in an `HDF5` file.
    """

    format = "keras"

    def __init__(self, weights: HDF5, texts: dict[str, Any]) -> None:
        self._weights = weights
        self.headers = weights.headers
        self.metadata: Mapping[str, Any] = texts | {"groups": weights.metadata["groups"]}

    def read(self, name: str) -> Array:
        """Return the array `name`, which is nobody else's.

        Raises
        ------
        FormatError
            If it is damaged.
        """
        try:
            return self._weights.read(name)
        except FormatError as error:
            raise FormatError(f"{WEIGHTS}: {error}") from error


def open_keras(file: BinaryIO) -> KerasArchive:
    """Look at a file that Keras saved a whole model to. Nothing in it is run or built.

    Parameters
    ----------
    file : binary file
        That can be sought in. The weights, which are an HDF5 file of their own, are read
        into memory; `open_zip` and `open_hdf5` say what bounds them.

    Returns
    -------
    KerasArchive

    Raises
    ------
    FormatError
        If it is damaged, or another archive.

    Examples
    --------
    >>> import io, tempfile, pathlib, gatewise
    >>> from gatewise.formats.keras import open_keras
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "model.keras")
    ...     gatewise.to_keras(gatewise.GRU(3, 4), path)
    ...     opened = open_keras(io.BytesIO(path.read_bytes()))
    >>> print(opened.headers["layers/gru/cell/vars/0"])
    float32 (3, 12)
    """
    archive = open_zip(file)
    texts = {
        name.removesuffix(".json"): _json(archive, name) for name in (CONFIG, METADATA)
    }
    if WEIGHTS not in archive.names:
        raise FormatError(f"should have its arrays in {WEIGHTS}, got no such member")
    content = archive.read(WEIGHTS)
    try:
        weights = open_hdf5(Unpacked(content, weight(file)))
    except FormatError as error:
        raise FormatError(f"{WEIGHTS}: {error}") from error
    return KerasArchive(weights, texts)


def _json(archive: Zip, name: str) -> dict[str, Any]:
    if name not in archive.names:
        raise FormatError(f"is no file of Keras: it has no {name}")
    if archive.size(name) > _LONGEST_TEXT:
        raise FormatError(f"{name} has {archive.size(name)} bytes")
    found = parse_json(archive.read(name), name, constants=True)
    if not isinstance(found, dict):
        raise FormatError(f"{name} should hold a dictionary, got {type(found).__name__}")
    return found
