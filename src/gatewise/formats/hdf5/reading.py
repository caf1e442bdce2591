"""HDF5 files read without any trust, and without libhdf5.

That library follows links into other files, unpacks without a limit, fills what was never
written, and of damaged files some make it look for ever and some end the process. What
Keras writes is a small part of what it knows, and is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from numpy.typing import NDArray

from gatewise.formats.containers import Header
from gatewise.formats.errors import FormatError
from gatewise.formats.hdf5.objects import root_of
from gatewise.formats.hdf5.sizes import Bytes
from gatewise.formats.hdf5.storage import Stored, array_of
from gatewise.formats.hdf5.tree import Tree
from gatewise.formats.json.text import parse_json

Array = NDArray[Any]

__all__ = ["HDF5", "open_hdf5"]

# Attributes in which Keras keeps JSON.
_JSON = ("model_config", "training_config")


class HDF5:
    """An open HDF5 file of which all names and places have been read and checked.

    Attributes
    ----------
    format : str
        ``"hdf5"``.
    headers : dict of str to Header
        By names, which are the paths of the datasets, joined by ``/``.
    metadata : dict
        The attributes of the root by name, those of Keras that hold JSON parsed; and under
        ``"groups"`` the attributes of all other groups, by path and name.
    """

    format = "hdf5"

    def __init__(
        self, file: BinaryIO, stored: dict[str, Stored], metadata: dict[str, Any]
    ) -> None:
        self._file = file
        self._stored = stored
        self.headers: Mapping[str, Header] = {
            name: each.header for name, each in stored.items()
        }
        self.metadata: Mapping[str, Any] = metadata

    def read(self, name: str) -> Array:
        """Return the array `name`, which is nobody else's.

        Raises
        ------
        FormatError
            If it is damaged.
        """
        try:
            return array_of(self._file, self._stored[name])
        except FormatError as error:
            raise FormatError(f"{name!r} {error}") from error


def open_hdf5(file: BinaryIO) -> HDF5:
    """Look at an HDF5 file, of which nothing is believed.

    Accepted is what Keras writes, and the same compressed: groups and arrays of numbers,
    each in one place only, stored in one piece or in chunks, packed by gzip, shuffle and
    fletcher32 or not at all. Refused are soft, external and other links, arrays that are
    virtual or stored in other files, references, records and other types, named types,
    other filters, chunks that were never written, a block before the beginning, more than
    65,536 groups and arrays, and those and attributes that would together take more than
    64 MiB and 32 times the size of the file. So are the heaps and lists of HDF5's later
    versions, which h5py and so Keras do not write unless they are told to.

    Parameters
    ----------
    file : binary file
        That can be sought in, and stays open as long as the result is read from.

    Returns
    -------
    HDF5

    Raises
    ------
    FormatError
        If anything of that is wrong.

    References
    ----------
    The HDF Group, "HDF5 File Format Specification", version 3.0.

    Examples
    --------
    >>> import pathlib, tempfile, gatewise
    >>> from gatewise.formats.hdf5.reading import open_hdf5
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "model.h5")
    ...     gatewise.to_keras(gatewise.GRU(3, 4), path)
    ...     with path.open("rb") as file:
    ...         opened = open_hdf5(file)
    >>> print(opened.headers["model_weights/gru/gru/cell/kernel"])
    float32 (3, 12)
    >>> opened.metadata["keras_version"]
    '3.0.0'
    """
    source = Bytes(file)
    tree = Tree(source)
    tree.walk(root_of(source))
    metadata = dict(tree.attributes.pop("", {}))
    for name in _JSON:
        if isinstance(metadata.get(name), str):
            metadata[name] = parse_json(metadata[name].encode(), name, constants=True)
    metadata["groups"] = tree.attributes
    return HDF5(file, tree.stored, metadata)
