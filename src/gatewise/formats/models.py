"""A whole network in one file: ``gatewise.save`` and ``gatewise.load``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from gatewise.formats import architecture, own
from gatewise.formats.errors import FormatError
from gatewise.formats.files import replacing
from gatewise.formats.opening import open_regular
from gatewise.formats.recognising import not_wanted, recognised
from gatewise.formats.safetensors import open_safetensors
from gatewise.layers import Feedforward, Layer, Module, Stateful

__all__ = ["load", "load_metadata", "save"]

_KIND = "model"


def save(
    model: Module,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a network to one file, from which `load` makes it again.

    The file has the format safetensors, with the names of `parameters`, so that whatever
    reads that has the arrays; what the layers are stands in its metadata. It takes the
    place of an old one whole or not at all. The same network gives the same bytes.

    Parameters
    ----------
    model : layer
        Any layer of this package, quantized or not, or of a subclass of `Layer`; a
        `Sequential` as a rule, in which a layer may stand in several places. Random
        generators are not kept.
    path : path
    metadata : dict, optional
        What else to keep, for `load_metadata`: anything that JSON can hold, such as a
        sample rate, or the labels of the outputs.

    Raises
    ------
    TypeError
        If `model` is no layer or has one of another's class, or JSON cannot hold
        `metadata`.
    ValueError
        If layers are nested more than a hundred deep, or stand in more than 10,000 places.
        If `metadata` could not be read again: two names are the same text, or it has
        millions of entries.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import gatewise
    >>> model = gatewise.Sequential(gatewise.GRU(3, 8), gatewise.Linear(8, 2))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "model.safetensors")
    ...     gatewise.save(model, path, metadata={"labels": ["noise", "voice"]})
    ...     loaded = gatewise.load(path)
    ...     gatewise.load_metadata(path)
    {'labels': ['noise', 'voice']}
    >>> loaded
    Sequential(GRU(3, 8), Linear(8, 2)) with 330 parameters
    >>> x = np.ones((1, 5, 3), np.float32)
    >>> bool((loaded(x)[0] == model(x)[0]).all())
    True
    """
    if not isinstance(model, Feedforward | Stateful):
        raise TypeError(f"model should be a layer, got {type(model).__name__}")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"metadata should be a dictionary, got {type(metadata).__name__}")
    arrays = model.parameters()
    with replacing(path) as file:
        own.write_own(file, _KIND, arrays, metadata or {}, network=model)


def load(path: str | os.PathLike[str], *, layers: Sequence[type[Layer]] = ()) -> Any:
    """Return the network that `save` wrote.

    Files that ``gatewise train`` wrote and the checkpoints of `fit` hold a network, too: of
    the parameters that they have the best. A file from elsewhere can be loaded without
    harm: it runs nothing, only this package's own layers are made, and their sizes are
    compared with the bytes that there are before memory is taken for them.

    Parameters
    ----------
    path : path
    layers : sequence of classes, optional
        Classes of your own that the file may have, subclasses of `Layer`. They are called
        with the arguments that the file says, so they should look at them.

    Returns
    -------
    layer
        Of the same class, with the same options and dtypes and bit for bit the same
        parameters. What dropout and zoneout draw in training starts anew.

    Raises
    ------
    OSError
        If the file cannot be opened.
    FormatError
        If it is no such file or a damaged one, or says what this version of gatewise does
        not know. `load_arrays` reads other files of arrays.
    TypeError
        If one of `layers` is no such class.
    ValueError
        If one has a name that is taken.

    Examples
    --------
    >>> import os, tempfile
    >>> import gatewise
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "model.safetensors")
    ...     gatewise.save(gatewise.LSTM(3, 8).quantize("int8"), path)
    ...     gatewise.load(path)
    LSTM(3, 8, weight_format='int8') with 864 bytes of weights
    """
    others = architecture.as_classes(layers)
    with open_regular(path) as file:
        found = recognised(file, path)
        if found != own.Own.format:
            raise not_wanted(found, "a file that gatewise.save wrote")
        opened = own.open_own(file)
        return own.read_network(opened, others)


def load_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what was given to `save` as its `metadata`, without reading the network.

    Of another file of safetensors, the texts that it has as its metadata.

    Raises
    ------
    OSError
        If the file cannot be opened.
    FormatError
        If it is no file of safetensors, or a damaged one.

    Examples
    --------
    >>> import os, tempfile
    >>> import gatewise
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "model.safetensors")
    ...     gatewise.save(gatewise.GRU(1, 8), path, metadata={"sample_rate": 16000})
    ...     gatewise.load_metadata(path)["sample_rate"]
    16000
    """
    with open_regular(path) as file:
        found = recognised(file, path)
        if found != own.Own.format:
            raise FormatError(f"is {found}, and should be safetensors")
        container = open_safetensors(file)
        if own.is_own(container):
            return dict(own.open_own(file).metadata)
        return dict(container.metadata)
