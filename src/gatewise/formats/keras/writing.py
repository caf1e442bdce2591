"""Files that Keras 3 opens."""

from __future__ import annotations

import io
import json
import os
import zipfile
from typing import Any, BinaryIO

from gatewise.formats.files import replacing
from gatewise.formats.keras.archive import CONFIG, METADATA, WEIGHTS
from gatewise.formats.keras.described import Described, described, input_of, serialized
from gatewise.layers.module import Module

__all__ = ["to_keras"]

# What the layout and the names of activations are those of, which no later one changed.
_VERSION = "3.0.0"
_ARRAYS = {"Embedding": ("embeddings",)}
_KERNELS = ("kernel", "recurrent_kernel", "bias")


def to_keras(model: Module, path: str | os.PathLike[str]) -> None:
    """Write a file that ``keras.saving.load_model`` of Keras 3 opens, with equal outputs.

    Parameters
    ----------
    model
        A recurrent layer, or a `Sequential` of such and of Embedding, Linear, Conv1d,
        Dropout and activations. In Keras it is a Sequential of as many layers, since a
        layer of Keras is one; they return whole sequences, as they do here. Layers made
        with ``tokens=True`` get one-hot rows there.
    path
        Whose end decides: ``.keras``, or ``.h5`` for the older format. A file that is there
        is replaced once the new one is whole.

    Raises
    ------
    TypeError
        If the model is no layer or has one that Keras has not, or narrow weights.
    ValueError
        If `path` ends otherwise, or an option is one that Keras has not: a projection,
        peepholes, zoneout, an initial state, or an activation without a name there, such as
        the hard_sigmoid of Keras 2.
    OSError
        If the file cannot be written.
    ImportError
        If h5py is not installed.

    Notes
    -----
    The two biases of an LSTM or an RNN become one, their sum.

    Examples
    --------
    >>> import pathlib, tempfile, gatewise
    >>> model = gatewise.Sequential(gatewise.GRU(3, 4), gatewise.Linear(4, 2))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "model.keras")
    ...     gatewise.to_keras(model, path)
    ...     gatewise.from_keras(path, "dense")
    Linear(4, 2) with 10 parameters
    """
    if not isinstance(model, Module):
        raise TypeError(f"model should be a layer, got {type(model).__name__}")
    name = os.fsdecode(path)
    if name.endswith(".weights.h5") or not name.endswith((".keras", ".h5")):
        raise ValueError(f"path should end in .keras or .h5, got {name!r}")
    _check_h5py()
    layers, first = described(model), input_of(model)
    content = io.BytesIO()
    if name.endswith(".keras"):
        _write_archive(content, layers, first, str(model.dtype))
    else:
        _write_whole(content, layers, first, str(model.dtype))
    with replacing(path) as file:
        file.write(content.getbuffer())


def _check_h5py() -> None:
    try:
        import h5py  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "h5py is needed to write Keras's files: pip install gatewise[keras]"
        ) from error


def _write_archive(
    file: BinaryIO, layers: list[Described], first: dict[str, Any], dtype: str
) -> None:
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": _model(layers, first, dtype),
        "registered_name": None,
        "build_config": {"input_shape": first["batch_shape"]},
    }
    members = {
        METADATA: json.dumps({"keras_version": _VERSION}).encode(),
        CONFIG: json.dumps(config).encode(),
        WEIGHTS: _weights(layers),
    }
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            # Without the time, which says nothing.
            archive.writestr(zipfile.ZipInfo(name), content)


def _model(layers: list[Described], first: dict[str, Any], dtype: str) -> dict[str, Any]:
    every = [("InputLayer", first), *((each.kind, each.config) for each in layers)]
    return {
        "name": "sequential",
        "trainable": True,
        # Else Keras would narrow the input.
        "dtype": dtype,
        "layers": [serialized(kind, config) for kind, config in every],
    }


def _weights(layers: list[Described]) -> bytes:
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as written:
        for each in layers:
            path = f"layers/{each.config['name']}"
            written.create_group(f"{path}/vars").attrs["name"] = each.config["name"]
            for owner, arrays in each.arrays.items():
                for index, array in enumerate(arrays):
                    inner = f"{owner}/vars" if owner else "vars"
                    written[f"{path}/{inner}/{index}"] = array
    return file.getvalue()


def _write_whole(
    file: BinaryIO, layers: list[Described], first: dict[str, Any], dtype: str
) -> None:
    import h5py

    config = {"class_name": "Sequential", "config": _model(layers, first, dtype)}
    with h5py.File(file, "w") as written:
        written.attrs["keras_version"] = _VERSION
        written.attrs["backend"] = "numpy"
        written.attrs["model_config"] = json.dumps(config)
        group = written.create_group("model_weights")
        group.attrs["keras_version"] = _VERSION
        group.attrs["backend"] = "numpy"
        group.attrs["layer_names"] = [each.config["name"] for each in layers]
        for each in layers:
            _write_listed(group.create_group(each.config["name"]), each)


def _write_listed(group: Any, layer: Described) -> None:
    names = []
    for owner, arrays in layer.arrays.items():
        kinds = _ARRAYS.get(layer.kind, _KERNELS if owner else ("kernel", "bias"))
        for kind, array in zip(kinds, arrays, strict=False):
            names.append("/".join(filter(None, (layer.config["name"], owner, kind))))
            group[names[-1]] = array
    group.attrs["weight_names"] = names
