"""RTNeural's JSON, a list of Keras' layers, and what AIDA-X adds to it.

References
----------
.. [1] Chowdhury, J. "RTNeural", ``RTNeural/model_loader.h`` and ``python/model_utils.py``.
   https://github.com/jatinchowdhury18/RTNeural
.. [2] Aida DSP. "AIDA-X", ``src/aidadsp-plugin.cpp``. https://github.com/AidaDSP/AIDA-X
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise import gates
from gatewise.formats.containers import Container
from gatewise.formats.errors import FormatError
from gatewise.formats.fields import Fields
from gatewise.formats.json import files as json_files
from gatewise.layers import (
    GRU,
    LSTM,
    RNN,
    Conv1d,
    Linear,
    Module,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)

Array = NDArray[Any]

__all__ = ["FORMAT", "around", "container", "is_rtneural", "network"]

FORMAT = "rtneural"
_MOST_UNITS = 1 << 24
# A layer that treats each feature alone is made of matrices, which the file does not have;
# so many numbers may be in all of them together.
_MOST_MADE = 1 << 24
# Half a minute of sound.
_LONGEST_HISTORY = 1 << 20


class _Room:
    """How many numbers that the file does not have may still be made."""

    def __init__(self, count: int) -> None:
        self._left = count

    def take(self, name: str, count: int) -> None:
        """Take that many for the layer `name`, or raise FormatError."""
        self._left -= count
        if self._left < 0:
            raise FormatError(
                f"{name} should be smaller: its matrices have {count} numbers, and those "
                f"that layers without matrices become at most {_MOST_MADE}"
            )


class _Entry(NamedTuple):
    """A layer of the file, once it is checked."""

    kind: str
    name: str
    layer: dict[str, Any]
    fields: Fields
    size: int
    activation: str
    arrays: list[Array]
    room: _Room


def is_rtneural(said: Mapping[str, Any]) -> bool:
    """Whether a dictionary that was read from JSON is one of these."""
    return "in_shape" in said and "layers" in said


def container(said: dict[str, Any]) -> Container:
    """Return the arrays of a file by the position, type and name that they have in Keras.

    Raises
    ------
    FormatError
        If the file is damaged.
    """
    with json_files.format_errors():
        arrays: dict[str, Array] = {}
        layers = []
        for position, layer in enumerate(Fields(said, "rtneural").dictionaries("layers")):
            kind = Fields(layer, f"layers[{position}]").text("type")
            found = _arrays(layer, f"layers[{position}]")
            # What is not trained stands at the end.
            names = _NAMES.get(kind, ())[
                -2 if kind == "batchnorm" and len(found) == 2 else 0 :
            ]
            for number, array in enumerate(found):
                last = names[number] if number < len(names) else str(number)
                arrays[f"{position}.{kind}.{last}"] = array
            layers.append({key: layer[key] for key in layer if key != "weights"})
        others = {key: said[key] for key in said if key != "layers"}
        batches, rest = json_files.numbers_in(
            {key: others.pop(key) for key in _BATCHES if key in others}
        )
    return json_files.HeldArrays(
        FORMAT, arrays | batches, {**others, **rest, "layers": layers}
    )


def network(said: dict[str, Any]) -> Sequential:
    """Return the layers of a file, without what AIDA-X does around them.

    Raises
    ------
    FormatError
        If the file is damaged, or has a layer that gatewise has not.
    """
    with json_files.format_errors():
        fields = Fields(said, "rtneural")
        size = _last_size(said.get("in_shape"), "in_shape")
        layers: list[Module] = []
        room = _Room(_MOST_MADE)
        for position, layer in enumerate(fields.dictionaries("layers")):
            entry = _entry(layer, f"layers[{position}]", room)
            if entry.kind not in _MAKERS:
                raise FormatError(
                    f"{entry.name} should be one of {', '.join(_MAKERS)}, "
                    f"got {entry.kind!r}"
                )
            layers += _MAKERS[entry.kind](entry, size)
            size = entry.size
        if not layers:
            raise FormatError("layers should be at least one, got none")
        return Sequential(*layers)


def around(said: dict[str, Any]) -> dict[str, float]:
    """Return what AIDA-X does around the network, of what is not nothing.

    ``in_skip`` is 1 where the output has the input added; ``in_gain`` and ``out_gain`` are
    decibels, by which the input, and what comes out in the end, are made louder.

    Raises
    ------
    FormatError
        If they are none of what AIDA-X takes.
    """
    with json_files.format_errors():
        fields = Fields(said, "rtneural")
        found = {
            name: fields.number(name)
            for name in ("in_skip", "in_gain", "out_gain")
            if fields.has(name)
        }
        if found.get("in_skip", 0) not in (0, 1):
            raise FormatError(f"in_skip should be 0 or 1, got {found['in_skip']:g}")
    return {name: number for name, number in found.items() if number}


def _entry(layer: dict[str, Any], name: str, room: _Room) -> _Entry:
    fields = Fields(layer, name)
    return _Entry(
        fields.text("type"),
        name,
        layer,
        fields,
        _last_size(layer.get("shape"), f"{name}.shape"),
        fields.text("activation") if fields.has("activation") else "",
        _arrays(layer, name),
        room,
    )


def _arrays(layer: dict[str, Any], name: str) -> list[Array]:
    weights = layer.get("weights")
    if not isinstance(weights, list):
        raise FormatError(f"{name}.weights should be a list of arrays")
    return [
        json_files.numbers(array, f"{name}.weights[{number}]")
        for number, array in enumerate(weights)
    ]


def _last_size(shape: object, name: str) -> int:
    """How many features there are: the end of a shape whose other axes say nothing."""
    if not isinstance(shape, list) or not 1 <= len(shape) <= 3:
        raise FormatError(f"{name} should be a list of one to three sizes")
    size = shape[-1]
    if type(size) is not int or not 1 <= size <= _MOST_UNITS:
        raise FormatError(f"{name} should end in a number of features")
    return size


def _take(entry: _Entry, *shapes: tuple[int, ...], optional: int = 0) -> list[Array]:
    """The arrays of a layer, which have these shapes; the last ones may be missing."""
    got = [array.shape for array in entry.arrays]
    allowed = [list(shapes[: len(shapes) - left]) for left in range(optional + 1)]
    if got not in allowed:
        wanted = " and ".join(map(str, shapes))
        raise FormatError(
            f"{entry.name}.weights should have shapes {wanted}, got "
            f"{' and '.join(map(str, got[:8])) or 'none'}"
        )
    return entry.arrays


def _filled(layer: Module, **arrays: Array) -> Module:
    layer.set_parameters(arrays)
    return layer


def _activated(entry: _Entry) -> Iterator[Module]:
    """The layers of what a layer's output goes through."""
    kind = entry.activation
    if kind == "elu":
        yield _elu(entry)
    elif kind:
        if kind not in _ACTIVATIONS:
            known = ", ".join([*_ACTIVATIONS, "elu"])
            raise FormatError(
                f"{entry.name}.activation should be one of {known}, got {kind!r}"
            )
        yield _ACTIVATIONS[kind]()


def _elu(entry: _Entry) -> Module:
    """An RNN that sees no step but its own."""
    size = entry.size
    entry.room.take(entry.name, 2 * size * size)
    return _filled(
        RNN(size, size, nonlinearity="elu", bias=False),
        weight_ih_l0=np.eye(size, dtype=np.float32),
        weight_hh_l0=np.zeros((size, size), np.float32),
    )


def _same_size(entry: _Entry, size: int) -> None:
    if entry.size != size:
        raise FormatError(f"{entry.name}.shape should end in {size}, got {entry.size}")


def _dense(entry: _Entry, size: int) -> Iterator[Module]:
    kernel, *bias = _take(entry, (size, entry.size), (entry.size,), optional=1)
    arrays = {"bias": bias[0]} if bias else {}
    yield _filled(Linear(size, entry.size, bias=bool(bias)), weight=kernel.T, **arrays)
    yield from _activated(entry)


def _conv1d(entry: _Entry, size: int) -> Iterator[Module]:
    """A causal convolution: RTNeural's begin as if there had been zeros before."""
    groups = (
        entry.fields.integer("groups", lowest=1, highest=size)
        if entry.fields.has("groups")
        else 1
    )
    length = _only(entry, "kernel_size")
    dilation = _only(entry, "dilation")
    if size % groups or entry.size % groups:
        raise FormatError(
            f"{entry.name}.groups should divide {size} and {entry.size}, got {groups}"
        )
    if (length - 1) * dilation > _LONGEST_HISTORY:
        raise FormatError(
            f"{entry.name} should look back at most {_LONGEST_HISTORY} steps, "
            f"got {(length - 1) * dilation}"
        )
    read = size // groups
    kernel, bias = _take(entry, (length, read, entry.size), (entry.size,))
    if groups > 1:
        entry.room.take(entry.name, length * size * entry.size)
    weight = np.zeros((entry.size, size, length), np.float32)
    wrote = entry.size // groups
    for group in range(groups):
        outs = slice(group * wrote, (group + 1) * wrote)
        ins = slice(group * read, (group + 1) * read)
        weight[outs, ins] = kernel[:, :, outs].transpose(2, 1, 0)
    layer = Conv1d(size, entry.size, length, padding="causal", dilation=dilation)
    yield _filled(layer, weight=weight, bias=bias)
    yield from _activated(entry)


def _only(entry: _Entry, name: str) -> int:
    """A number that Keras writes in a list, as one for each axis."""
    value = entry.layer.get(name)
    if not isinstance(value, list) or len(value) != 1:
        raise FormatError(f"{entry.name}.{name} should be a list of one number")
    return Fields({name: value[0]}, entry.name).integer(name, lowest=1, highest=_MOST_UNITS)


def _lstm(entry: _Entry, size: int) -> Iterator[Module]:
    _check_tanh(entry)
    units = entry.size
    kernel, recurrent, *bias = _take(
        entry, (size, 4 * units), (units, 4 * units), (4 * units,), optional=1
    )
    arrays = {
        "weight_ih_l0": gates.reordered(kernel.T, "lstm", "keras"),
        "weight_hh_l0": gates.reordered(recurrent.T, "lstm", "keras"),
    }
    if bias:
        arrays["bias_ih_l0"] = gates.reordered(bias[0], "lstm", "keras")
        arrays["bias_hh_l0"] = np.zeros(4 * units, np.float32)
    yield _filled(LSTM(size, units, bias=bool(bias)), **arrays)


def _gru(entry: _Entry, size: int) -> Iterator[Module]:
    _check_tanh(entry)
    units = entry.size
    kernel, recurrent, *bias = _take(
        entry, (size, 3 * units), (units, 3 * units), (2, 3 * units), optional=1
    )
    arrays = {
        "weight_ih_l0": gates.reordered(kernel.T, "gru", "keras"),
        "weight_hh_l0": gates.reordered(recurrent.T, "gru", "keras"),
    }
    if bias:
        both = gates.reordered(bias[0], "gru", "keras", axis=1)
        arrays["bias_ih_l0"], arrays["bias_hh_l0"] = both
    yield _filled(GRU(size, units, bias=bool(bias)), **arrays)


def _check_tanh(entry: _Entry) -> None:
    """Refuse what RTNeural computes as tanh although the network was trained otherwise."""
    if entry.activation not in ("", "tanh"):
        raise FormatError(
            f"{entry.name}.activation should be tanh, which RTNeural computes, "
            f"got {entry.activation!r}"
        )


def _prelu(entry: _Entry, size: int) -> Iterator[Module]:
    """``max(x, 0) - alpha * max(-x, 0)``, of layers that there are."""
    _same_size(entry, size)
    if [array.size for array in entry.arrays] not in ([1], [size]):
        raise FormatError(f"{entry.name}.weights should be one list of {size} slopes")
    entry.room.take(entry.name, 4 * size * size)
    alpha = np.broadcast_to(entry.arrays[0].reshape(-1), (size,))
    one = np.eye(size, dtype=np.float32)
    yield _filled(Linear(size, 2 * size, bias=False), weight=np.concatenate([one, -one]))
    yield ReLU()
    yield _filled(
        Linear(2 * size, size, bias=False),
        weight=np.concatenate([one, np.diag(-alpha)], axis=1),
    )


def _batchnorm(entry: _Entry, size: int) -> Iterator[Module]:
    """What it does once it is trained: each feature times a number, plus another."""
    _same_size(entry, size)
    four = [array.astype(np.float64) for array in entry.arrays]
    if [array.shape for array in four] not in ([(size,)] * 2, [(size,)] * 4):
        raise FormatError(
            f"{entry.name}.weights should be two or four lists of {size} numbers"
        )
    *scaled, mean, variance = four
    gamma, beta = scaled or (np.ones(size), np.zeros(size))
    epsilon = entry.fields.number("epsilon", lowest=0)
    if not (variance + epsilon > 0).all():
        raise FormatError(f"{entry.name}.weights should have variances above 0")
    entry.room.take(entry.name, size * size)
    slope = gamma / np.sqrt(variance + epsilon)
    yield _filled(Linear(size, size), weight=np.diag(slope), bias=beta - mean * slope)


def _activation(entry: _Entry, size: int) -> Iterator[Module]:
    _same_size(entry, size)
    yield from _activated(entry)


_ACTIVATIONS: dict[str, Callable[[], Module]] = {
    "tanh": Tanh,
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "softmax": Softmax,
}
_MAKERS: dict[str, Callable[[_Entry, int], Iterator[Module]]] = {
    "dense": _dense,
    "time-distributed-dense": _dense,
    "conv1d": _conv1d,
    "lstm": _lstm,
    "gru": _gru,
    "prelu": _prelu,
    "batchnorm": _batchnorm,
    "activation": _activation,
}
_NAMES = {
    "dense": ("kernel", "bias"),
    "time-distributed-dense": ("kernel", "bias"),
    "conv1d": ("kernel", "bias"),
    "lstm": ("kernel", "recurrent_kernel", "bias"),
    "gru": ("kernel", "recurrent_kernel", "bias"),
    "prelu": ("alpha",),
    "batchnorm": ("gamma", "beta", "moving_mean", "moving_variance"),
}
# What AIDA-X's training adds: an input, and what its network made of it.
_BATCHES = ("input_batch", "output_batch")
