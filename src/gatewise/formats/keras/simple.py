"""Layers without a state out of Keras's files: Dense, Embedding and Conv1D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gatewise import layers as room
from gatewise.formats.containers import Container
from gatewise.formats.errors import ArgumentNeeded, FormatError
from gatewise.formats.keras.found import Found
from gatewise.kernels.activations import Spelling
from gatewise.layers.kinds import Feedforward

Array = NDArray[Any]

__all__ = ["ACTIVATIONS", "made"]

# By Keras's words, those that are layers here.
ACTIVATIONS: Mapping[str, type[Feedforward]] = {
    "relu": room.ReLU,
    "sigmoid": room.Sigmoid,
    "softmax": room.Softmax,
    "tanh": room.Tanh,
}


def made(
    container: Container,
    found: Found,
    version: int | None,
    activation: Spelling | None,
    dtype: DTypeLike | None,
) -> Any:
    """Return the layer that was found.

    Raises
    ------
    FormatError
        If its class is none of those that there are here, or its arrays do not fit.
    """
    arrays = _arrays(container, found)
    kind = found.kind or _guess(found, arrays)
    if dtype is None:
        dtype = "float64" if any(a.dtype == np.float64 for a in arrays) else "float32"
    layer: Feedforward
    if kind == "Dense":
        kernel, bias = _with_bias(found, arrays, axes=2)
        layer = room.Linear(*kernel.shape, bias=bias is not None, dtype=dtype)
        values = {"weight": kernel.T} | ({} if bias is None else {"bias": bias})
    elif kind == "Embedding":
        if len(arrays) != 1 or arrays[0].ndim != 2 or 0 in arrays[0].shape:
            raise _misfit(found, arrays, "one array with two axes")
        layer = room.Embedding(*arrays[0].shape, dtype=dtype)
        values = {"weight": arrays[0]}
    elif kind == "Conv1D" and hasattr(room, "Conv1d"):
        layer, values = _convolution(found, arrays, dtype)
    else:
        raise FormatError(
            f"{found.name!r} is a layer of the class {kind[:60]!r}, which there is not here"
        )
    layer.set_parameters(values)
    if kind == "Embedding":
        return layer
    return _with_activation(layer, found, activation)


def _arrays(container: Container, found: Found) -> list[Array]:
    arrays = []
    for name in found.place.names():
        if container.headers[name].dtype.kind != "f":
            got = container.headers[name]
            raise FormatError(f"{name!r} should hold floating numbers, got {got}")
        array = container.read(name)
        arrays.append(array.astype(np.float32) if array.dtype == np.float16 else array)
    return arrays


def _guess(found: Found, arrays: Sequence[Array]) -> str:
    """The class of a layer of which the file has arrays only."""
    last = found.name.split("/")[-1]
    words = {"dense": "Dense", "embedding": "Embedding", "conv1d": "Conv1D"}
    for word, kind in words.items():
        if last == word or last.startswith(f"{word}_"):
            return kind
    if len(arrays) == 2 and arrays[0].ndim == 2 and arrays[0].shape[1:] == arrays[1].shape:
        return "Dense"
    raise FormatError(
        f"does not say what {found.name!r} is: {[a.shape for a in arrays]} may be anything"
    )


def _with_bias(
    found: Found, arrays: Sequence[Array], *, axes: int
) -> tuple[Array, Array | None]:
    fits = 1 <= len(arrays) <= 2 and arrays[0].ndim == axes and 0 not in arrays[0].shape
    if not fits or any(array.shape != arrays[0].shape[-1:] for array in arrays[1:]):
        raise _misfit(found, arrays, f"a kernel with {axes} axes and perhaps a bias")
    return arrays[0], arrays[1] if len(arrays) == 2 else None


def _misfit(found: Found, arrays: Sequence[Array], wanted: str) -> FormatError:
    return FormatError(
        f"{found.name!r} should have {wanted}, got shapes {[a.shape for a in arrays]}"
    )


def _convolution(
    found: Found, arrays: Sequence[Array], dtype: DTypeLike
) -> tuple[Feedforward, dict[str, Array]]:
    config = found.config
    if config is None:
        raise FormatError(f"does not say stride, padding and dilation of {found.name!r}")
    kernel, bias = _with_bias(found, arrays, axes=3)
    size, features, filters = kernel.shape
    stride, dilation = (_single(found, config, key) for key in ("strides", "dilation_rate"))
    if config.get("groups", 1) != 1:
        raise FormatError(f"{found.name!r} has groups, which a Conv1d here has not")
    said = config.get("padding", "valid")
    padding: Any = {"valid": 0, "same": "same", "causal": "causal"}.get(str(said))
    if padding is None or (padding == "same" and stride > 1):
        raise FormatError(
            f"{found.name!r} pads {said!r} with a kernel of {size} and a stride of "
            f"{stride}, which no Conv1d here does"
        )
    layer: Feedforward = room.Conv1d(
        features,
        filters,
        size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        bias=bias is not None,
        dtype=dtype,
    )
    values = {"weight": kernel.transpose(2, 1, 0)}
    return layer, values | ({} if bias is None else {"bias": bias})


def _single(found: Found, config: Mapping[str, Any], key: str) -> int:
    value = config.get(key, 1)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if type(value) is not int or not 1 <= value < 1 << 31:
        raise FormatError(f"{found.name!r} should have a whole number as its {key}")
    return value


def _with_activation(
    layer: Feedforward, found: Found, activation: Spelling | None
) -> Feedforward | room.Sequential:
    said: Any = activation
    if said is None and found.config is None:
        raise ArgumentNeeded(
            f"does not say the activation of {found.name!r}: activation should be "
            f"'linear', or one of {', '.join(ACTIVATIONS)}",
            "activation",
            "linear",
        )
    if said is None and found.config is not None:
        said = found.config.get("activation")
    if said in (None, "linear"):
        return layer
    if isinstance(said, str) and said in ACTIVATIONS:
        return room.Sequential(layer, ACTIVATIONS[said]())
    raise ArgumentNeeded(
        f"{found.name!r} has the activation {str(said)[:60]!r}, which is no layer here: "
        "activation='linear' gives what comes before it",
        "activation",
        "linear",
    )
