"""Arrays out of any file whose format is known: ``gatewise.load_arrays``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from gatewise.formats.containers import Arrays, Container
from gatewise.formats.opening import open_regular
from gatewise.formats.recognising import opener, recognised

__all__ = ["load_arrays", "open_arrays"]


@contextmanager
def open_arrays(path: str | os.PathLike[str]) -> Iterator[Container]:
    """Open a file of arrays to look at it before they are read, or to read only some.

    Raises
    ------
    OSError
        If the file cannot be opened.
    FormatError
        If it is of no known format, damaged or hostile; in the block too.
    ImportError
        If it is a model of ONNX and the package onnx is missing.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from gatewise.formats.reading import open_arrays
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "weights.npz")
    ...     np.savez(path, weight=np.ones((2, 3)), bias=np.zeros(2))
    ...     with open_arrays(path) as container:
    ...         print(container.format, container.headers["weight"].shape)
    ...         print(container.read("bias"))
    npz (2, 3)
    [0. 0.]
    """
    with open_regular(path) as file:
        yield opener(recognised(file, path))(file)


def load_arrays(path: str | os.PathLike[str]) -> Arrays:
    """Return the arrays of a file as a dictionary, whatever the file's format is.

    Read are safetensors, NumPy's ``.npz`` and ``.npy``, PyTorch's files of both kinds,
    Keras's ``.keras`` and HDF5, ONNX (with the package onnx), and JSON of a Neural Amp
    Modeler, RTNeural, AIDA-X, GuitarML or with lists of numbers; also inside a ``.tar`` or
    ``.tar.gz``. Which it is, its content says. No file is trusted: none can run code, have
    another file opened, or take memory for arrays that are not in it.

    Parameters
    ----------
    path : path

    Returns
    -------
    Arrays
        A dictionary of arrays by name, which has also `format`, a text, and `metadata`,
        what else the file says. Of dictionaries in dictionaries, as in PyTorch's
        checkpoints, a name has all keys with dots between them. bfloat16 and floats of 8
        bits become float32, which has all their values.

    Raises
    ------
    OSError
        If the file cannot be opened.
    FormatError
        If it is of no known format, damaged or hostile. It says what is wrong, and what the
        file is if that is known.
    ImportError
        If it is a model of ONNX and the package onnx is missing.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import gatewise
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "weights.npz")
    ...     np.savez(path, weight=np.ones((2, 3)), bias=np.zeros(2))
    ...     arrays = gatewise.load_arrays(path)
    >>> arrays.format, sorted(arrays)
    ('npz', ['bias', 'weight'])
    """
    with open_arrays(path) as container:
        return Arrays(
            {name: container.read(name) for name in container.headers},
            format=container.format,
            metadata=container.metadata,
        )
