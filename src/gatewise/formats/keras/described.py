"""What Keras 3 would call the layers of a model, and what it would keep of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise import layers as room
from gatewise.formats.keras.activations import name_for
from gatewise.formats.keras.places import keys_of
from gatewise.layers.module import Module
from gatewise.layers.recurrent import Recurrent

Array = NDArray[Any]

__all__ = ["Described", "described", "input_of", "serialized"]

_ACTIVATIONS: tuple[tuple[type[Module], str], ...] = (
    (room.ReLU, "relu"),
    (room.Sigmoid, "sigmoid"),
    (room.Softmax, "softmax"),
    (room.Tanh, "tanh"),
)


class Described(NamedTuple):
    """A layer of Keras: its class, configuration and arrays, by their owners' paths."""

    kind: str
    config: dict[str, Any]
    arrays: Mapping[str, list[Array]]


def described(model: Module) -> list[Described]:
    """Return the layers of Keras that do what `model` does, with names.

    Raises
    ------
    TypeError
        If a layer is none that Keras has, or its weights are narrow.
    ValueError
        If Keras has no layer with such an option.
    """
    found = [each for layer in _flat(model) for each in _described(layer)]
    names = keys_of(each.kind for each in found)
    named = []
    # Keras would convert to float32 in a layer of which nothing is said.
    dtype = str(model.dtype)
    for name, each in zip(names, found, strict=True):
        dtype = each.config.get("dtype", dtype)
        config = {"name": name, "dtype": dtype, **each.config}
        named.append(each._replace(config=config))
    return named


def input_of(model: Module) -> dict[str, Any]:
    """Return the configuration of the layer that stands for the input.

    Where a model has no layer over time, its input is rows of features.
    """
    first = _flat(model)
    features = model._features()[0]
    over_time: tuple[Any, ...] = (Recurrent, room.Embedding, *_convolutions())
    shape: list[int | None] = [None, None]
    if any(isinstance(layer, over_time) for layer in first) and features != 0:
        shape.append(None)
    if features != 0:
        shape[-1] = features
    dtype = "int32" if features == 0 else str(model.dtype)
    return {"batch_shape": shape, "dtype": dtype, "sparse": False, "name": "input_layer"}


def serialized(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Keras 3 takes for a layer of its own."""
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": dict(config),
        "registered_name": None,
    }


def _convolutions() -> tuple[Any, ...]:
    found = getattr(room, "Conv1d", None)
    return () if found is None else (found,)


def _flat(model: Module) -> list[Module]:
    if isinstance(model, room.Sequential):
        return [leaf for layer in model.layers for leaf in _flat(layer)]
    return [model]


def _described(layer: Module) -> Iterator[Described]:
    dtype = {"dtype": str(layer.dtype)}
    if isinstance(layer, Recurrent):
        yield from _recurrent(layer)
    elif isinstance(layer, room.Linear):
        if layer._is_narrow:
            raise TypeError(
                f"the weights should be float32 or float64, got {layer.weight_format}; "
                "convert the layer that was quantized"
            )
        arrays = layer.state_dict()
        config = {
            "units": layer.out_features,
            "activation": "linear",
            "use_bias": layer.bias,
        }
        own = [np.ascontiguousarray(arrays["weight"].T), *_bias(arrays)]
        yield Described("Dense", dtype | config, {"": own})
    elif isinstance(layer, room.Embedding):
        config = {"input_dim": layer.num_embeddings, "output_dim": layer.embedding_dim}
        yield Described("Embedding", dtype | config, {"": [layer.state_dict()["weight"]]})
    elif isinstance(layer, room.Dropout):
        yield Described("Dropout", {"rate": layer.p}, {})
    elif isinstance(layer, _convolutions()):
        yield _convolution(layer, dtype)
    else:
        for kind, name in _ACTIVATIONS:
            if isinstance(layer, kind):
                yield Described("Activation", {"activation": name}, {})
                return
        raise TypeError(
            f"model should be made of layers that Keras has, got {layer._description()}"
        )


def _bias(arrays: Mapping[str, Array]) -> list[Array]:
    return [arrays["bias"]] if "bias" in arrays else []


def _convolution(layer: Any, dtype: dict[str, Any]) -> Described:
    padding = layer.padding or "valid"
    if not isinstance(padding, str):
        reach = layer.dilation * (layer.kernel_size - 1)
        if 2 * padding != reach or layer.stride != 1:
            raise ValueError(
                "padding should be 0, 'same' or 'causal', as Keras has no other, got "
                f"{layer.padding}"
            )
        padding = "same"
    arrays = layer.state_dict()
    config = {
        "filters": layer.out_channels,
        "kernel_size": [layer.kernel_size],
        "strides": [layer.stride],
        "padding": padding,
        "dilation_rate": [layer.dilation],
        "activation": "linear",
        "use_bias": layer.bias,
    }
    kernel = np.ascontiguousarray(arrays["weight"].transpose(2, 1, 0))
    return Described("Conv1D", dtype | config, {"": [kernel, *_bias(arrays)]})


_MERGE_MODES = {"concat": "concat", "sum": "sum", "mean": "ave"}


def _recurrent(layer: Recurrent) -> Iterator[Described]:
    _check(layer)
    kind = "SimpleRNN" if isinstance(layer, room.RNN) else _kind(layer)
    config: dict[str, Any] = {
        "dtype": str(layer.dtype),
        "units": layer.hidden_size,
        "activation": name_for("activation", getattr(layer, "activation", "tanh")),
        "use_bias": layer.bias,
        "return_sequences": True,
        "recurrent_dropout": layer.recurrent_dropout,
    }
    if kind != "SimpleRNN":
        gate = getattr(layer, "recurrent_activation", "sigmoid")
        config["recurrent_activation"] = name_for("recurrent_activation", gate)
    if isinstance(layer, room.GRU):
        config["reset_after"] = layer.reset_after
    last = layer.num_layers - 1
    for index in range(layer.num_layers):
        if index and layer.dropout:
            between = "SpatialDropout1D" if layer.variational else "Dropout"
            yield Described(between, {"rate": layer.dropout}, {})
        arrays = layer.to_keras(index)
        if not layer.bidirectional:
            yield Described(kind, dict(config), {"cell": arrays})
            continue
        half = len(arrays) // 2
        name = keys_of([kind])[0]
        both = {
            "dtype": str(layer.dtype),
            "layer": serialized(kind, {"name": name, **config}),
            "merge_mode": "concat" if index < last else _MERGE_MODES[layer.merge],
        }
        owners = {
            "forward_layer/cell": arrays[:half],
            "backward_layer/cell": arrays[half:],
        }
        yield Described("Bidirectional", both, owners)


def _kind(layer: Recurrent) -> str:
    return "LSTM" if isinstance(layer, room.LSTM) else "GRU"


def _check(layer: Recurrent) -> None:
    """Refuse what would give other outputs in Keras."""
    for option in ("zoneout", "cell_zoneout"):
        if getattr(layer, option, 0):
            raise ValueError(
                f"{option} should be 0, as Keras has none, got {getattr(layer, option)}"
            )
    start = getattr(layer, "initial_state", None)
    parts = start if isinstance(start, tuple) else (start,)
    if any(part is not None and np.any(part) for part in parts):
        raise ValueError(
            "initial_state should be None or zeros, as layers of Keras start from zeros, "
            "got another"
        )
