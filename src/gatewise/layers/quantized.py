"""Recurrent layers for inference whose weights take fewer bytes.

The kernels widen weights as they read them, so a quantized layer is a layer like any other
but for how its weights are stored, and that it cannot be trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from gatewise import direction
from gatewise.layers.gru import GRU
from gatewise.layers.lstm import LSTM
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.rnn import RNN

Array = NDArray[Any]

# The largest weight that each format can hold.
_LARGEST = {
    "float16": float(np.finfo(np.float16).max),
    "int8": float(np.finfo(np.float32).max),
}
# In the order of the kernels' scales; all other parameters stay as they are.
_NARROW = ("weight_ih", "weight_hh", "weight_hr")


class Quantized(Recurrent):
    """A recurrent layer for inference with narrow weights, made by ``layer.quantize()``.

    Its parameters are the narrow weights, their scales and what stays in float32; only
    arrays of the same dtypes can be given for them. With tokens for input it makes a table
    in float32 besides, one row a token.
    """

    weight_format: str

    def __init__(self, layer: Recurrent, weight_format: str) -> None:
        arrays: dict[str, Array] = {}
        for name, array in layer._snapshot().arrays.items():
            if name.startswith(_NARROW):
                arrays |= _narrow(name, array, weight_format)
            else:
                arrays[name] = array
        state = layer.__getstate__()
        # What draws for training has no use here.
        options = {k: v for k, v in state["_options"].items() if k != "generator"}
        state["_options"] = options
        self.__setstate__(state | {"_arrays": arrays, "weight_format": weight_format})

    @property
    def nbytes(self) -> int:
        """The bytes of the weights, their scales, the biases and the peepholes."""
        return sum(array.nbytes for array in self._snapshot().arrays.values())

    def _prepare_direction(
        self, arrays: Mapping[str, Array], suffix: str
    ) -> direction.Prepared:
        w_ih, w_hh, w_hr = (arrays.get(f"{name}{suffix}_scale") for name in _NARROW)
        return direction.Prepared(self._weights(arrays, suffix), (w_ih, w_hh, w_hr))

    def _problem(self, name: str, parameter: Array, given: Array) -> str | None:
        if parameter.dtype != np.float32 and given.dtype != parameter.dtype:
            # A cast would lose what the scales of narrow weights are for.
            return f"{name} should have dtype {parameter.dtype}, got {given.dtype}"
        problem = super()._problem(name, parameter, given)
        if problem or not name.endswith("_scale") or given.dtype.kind not in "fiu":
            return problem
        wrong = given[~np.isfinite(given)]
        # What it gives with a weight of 0 would depend on the order of the products.
        return f"{name} should hold finite numbers, got {wrong[0]}" if wrong.size else None

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: a quantized layer cannot be trained."""
        self._refuse()

    def _forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse()

    def backward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: a quantized layer cannot be trained."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} is for inference only; train the layer that it was "
            "made from"
        )

    def quantize(self, weight_format: str) -> NoReturn:
        """Refuse: rounding twice would lose more than rounding once."""
        raise TypeError(
            f"a {type(self).__name__} is quantized already; quantize the layer that it was "
            "made from"
        )

    def _own_options(self) -> dict[str, tuple[Any, Any]]:
        return super()._own_options() | {"weight_format": (self.weight_format, None)}

    def __repr__(self) -> str:
        return f"{self._description()} with {self.nbytes:,} bytes of weights"


class QuantizedRNN(Quantized, RNN):
    """An RNN with narrow weights."""


class QuantizedLSTM(Quantized, LSTM):
    """An LSTM with narrow weights."""


class QuantizedGRU(Quantized, GRU):
    """A GRU with narrow weights."""


_CLASSES: dict[type[Recurrent], type[Quantized]] = {
    RNN: QuantizedRNN,
    LSTM: QuantizedLSTM,
    GRU: QuantizedGRU,
}


def quantize(layer: Recurrent, weight_format: str) -> Quantized:
    """Return `layer` with narrow weights; see `Recurrent.quantize`."""
    if weight_format not in _LARGEST:
        raise ValueError(
            f"weight_format should be 'float16' or 'int8', got {weight_format!r}"
        )
    if layer.dtype != np.float32:
        raise ValueError(f"only layers of float32 can be quantized, got {layer.dtype}")
    for kind, quantized in _CLASSES.items():
        if isinstance(layer, kind):
            return quantized(layer, weight_format)
    raise TypeError(f"only RNN, LSTM and GRU can be quantized, got {type(layer).__name__}")


def _narrow(name: str, weight: Array, weight_format: str) -> dict[str, Array]:
    """A weight in `weight_format`, with the scales of its rows where it needs them."""
    largest = np.abs(weight).max(axis=1)
    # So written that NaN is refused too.
    if not (largest <= _LARGEST[weight_format]).all():
        raise ValueError(
            f"{name} should hold numbers of at most {_LARGEST[weight_format]:g} to become "
            f"{weight_format}, got {largest.max()}"
        )
    if weight_format == "float16":
        return {name: weight.astype(np.float16)}
    scales = largest / np.float32(127)
    # A row of zeros can have any scale.
    scales[scales == 0] = 1
    rounded = np.rint(weight / scales[:, None]).clip(-127, 127)
    return {name: rounded.astype(np.int8), f"{name}_scale": scales}
