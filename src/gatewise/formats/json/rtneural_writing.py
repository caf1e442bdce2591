"""Networks written as RTNeural's JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise import gates
from gatewise.formats.files import replacing
from gatewise.layers import (
    GRU,
    LSTM,
    RNN,
    Conv1d,
    Dropout,
    Linear,
    Module,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)

Array = NDArray[Any]
Entry = dict[str, Any]

__all__ = ["to_rtneural"]

_ACTIVATIONS: Mapping[type, str] = {
    ReLU: "relu",
    Sigmoid: "sigmoid",
    Softmax: "softmax",
    Tanh: "tanh",
}
# What RTNeural has of a recurrent layer's options, and of a convolution's.
_LSTM = {
    "proj_size": 0,
    "peepholes": False,
    "recurrent_activation": "sigmoid",
    "activation": "tanh",
    "bidirectional": False,
    "zoneout": 0.0,
    "cell_zoneout": 0.0,
}
_GRU = {
    "reset_after": True,
    "recurrent_activation": "sigmoid",
    "activation": "tanh",
    "bidirectional": False,
    "zoneout": 0.0,
}


def to_rtneural(
    model: Sequential,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a network as RTNeural's JSON, of which `from_rtneural` gives it back.

    Parameters
    ----------
    model
        Layers that RTNeural has: `Linear`; `LSTM` and `GRU` in one direction, with
        PyTorch's activations, of which each layer is written as one of its own; causal
        `Conv1d` without stride; `ReLU`, `Tanh`, `Sigmoid` and `Softmax`. A `Dropout` does
        nothing by then. An LSTM's two biases are written as their sum; parameters of
        float64 are rounded.
    path
        The file, which is replaced whole or not at all.
    metadata
        What AIDA-X shows of it, such as ``{"name": "Plexi", "samplerate": "48000"}``.

    Raises
    ------
    TypeError
        If `model` is no Sequential, or `metadata` holds what JSON has not.
    ValueError
        If a layer is another one, has a start state, which RTNeural has not, or a parameter
        is not finite.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import gatewise
    >>> net = gatewise.Sequential(gatewise.GRU(1, 8), gatewise.Linear(8, 1))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "net.json")
    ...     gatewise.to_rtneural(net, path)
    ...     gatewise.from_rtneural(path)
    Sequential(GRU(1, 8), Linear(8, 1)) with 273 parameters
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model should be a Sequential, got {type(model).__name__}")
    entries: list[Entry] = []
    size = model._features()[0]
    if not size:
        raise ValueError(
            f"model should begin with a number of features, got {model._description()}"
        )
    said: dict[str, Any] = {"in_shape": [None, None, size], "layers": entries}
    for layer in _flat(model):
        for entry in _written(layer, size):
            takes = entries and entries[-1]["type"] in ("dense", "conv1d")
            if entry["type"] == "activation" and takes and not entries[-1]["activation"]:
                entries[-1]["activation"] = entry["activation"]
            else:
                entries.append(entry)
            size = entry["shape"][-1]
    if metadata is not None:
        if not isinstance(metadata, Mapping):
            raise TypeError(
                f"metadata should be a dictionary, got {type(metadata).__name__}"
            )
        said["metadata"] = dict(metadata)
    try:
        text = json.dumps(said, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"metadata should hold what JSON has: {error}") from error
    with replacing(path) as file:
        file.write(text.encode("ascii"))


def _flat(model: Sequential) -> Iterator[Module]:
    layers: tuple[Module, ...] = model.layers
    for layer in layers:
        if isinstance(layer, Sequential):
            yield from _flat(layer)
        else:
            yield layer


def _check_wide(layer: Linear | LSTM | GRU) -> None:
    if layer.weight_format not in ("float32", "float64"):
        raise ValueError(f"model should not be quantized, got {layer.weight_format}")


def _written(layer: Module, size: int) -> Iterator[Entry]:
    """What a layer is in the file: nothing, or one or more of its layers."""
    kind = type(layer)
    arrays = layer.state_dict()
    if kind in _ACTIVATIONS:
        yield _entry("activation", size, [], _ACTIVATIONS[kind])
    elif isinstance(layer, Linear):
        _check_wide(layer)
        given = [arrays[name] for name in ("bias",) if name in arrays]
        yield _entry("dense", layer.out_features, [arrays["weight"].T, *given])
    elif isinstance(layer, Conv1d):
        _check(layer, {"padding": "causal", "stride": 1})
        bias = arrays.get("bias", np.zeros(layer.out_channels))
        kernel = arrays["weight"].transpose(2, 1, 0)
        entry = _entry("conv1d", layer.out_channels, [kernel, bias])
        sizes = {"kernel_size": [layer.kernel_size], "dilation": [layer.dilation]}
        yield {**entry, **sizes, "groups": 1}
    elif isinstance(layer, LSTM | GRU):
        _check(layer, _LSTM if isinstance(layer, LSTM) else _GRU)
        _check_wide(layer)
        if layer.initial_state is not None and any(map(np.any, layer.initial_state)):
            raise ValueError(
                f"model should start from zeros, got {layer._description()} with "
                "another state"
            )
        for number in range(layer.num_layers):
            yield _recurrent(layer, number, arrays)
    elif isinstance(layer, RNN) and _is_elu(layer, arrays):
        yield _entry("activation", size, [], "elu")
    elif not isinstance(layer, Dropout):
        raise ValueError(
            f"model should have layers that RTNeural has, got {layer._description()}"
        )


def _recurrent(layer: LSTM | GRU, number: int, arrays: Mapping[str, Array]) -> Entry:
    cell = "lstm" if isinstance(layer, LSTM) else "gru"
    inner, hidden = (
        gates.reordered(arrays[f"{name}_l{number}"], cell, "pytorch", "keras").T
        for name in ("weight_ih", "weight_hh")
    )
    rows = inner.shape[1]
    zeros = np.zeros(rows, np.float32)
    first, second = (
        gates.reordered(arrays.get(f"{name}_l{number}", zeros), cell, "pytorch", "keras")
        for name in ("bias_ih", "bias_hh")
    )
    if cell == "gru":
        bias = np.stack([first, second])
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            # A sum with 0 would lose the sign of a 0.
            bias = np.where(second == 0, first, first + second)
    return _entry(cell, layer.hidden_size, [inner, hidden, bias], "tanh")


def _is_elu(layer: RNN, arrays: Mapping[str, Array]) -> bool:
    """Whether an RNN is what `from_rtneural` makes of an ``elu``."""
    return (
        layer.nonlinearity == "elu"
        and arrays.keys() == {"weight_ih_l0", "weight_hh_l0"}
        and np.array_equal(arrays["weight_ih_l0"], np.eye(layer.hidden_size))
        and not arrays["weight_hh_l0"].any()
    )


def _check(layer: Module, options: Mapping[str, Any]) -> None:
    for name, wanted in options.items():
        got = getattr(layer, name)
        if got != wanted:
            raise ValueError(
                f"model should have {name}={wanted!r}, as RTNeural has, got {got!r} in "
                f"{layer._description()}"
            )


def _entry(kind: str, size: int, arrays: list[Array], activation: str = "") -> Entry:
    with np.errstate(over="ignore"):
        weights = [np.asarray(array, np.float32) for array in arrays]
    if not all(np.isfinite(array).all() for array in weights):
        raise ValueError("model should have finite parameters within float32, got others")
    return {
        "type": kind,
        "activation": activation,
        "shape": [None, None, size],
        "weights": [array.tolist() for array in weights],
    }
