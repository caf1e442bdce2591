"""Layers whose weights can be made narrow: what RNN, LSTM, GRU and Linear share of it."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gatewise._checks import with_article
from gatewise.kernels import formats
from gatewise.layers import parameters, quantized
from gatewise.layers.module import Module

Array = NDArray[Any]

__all__ = ["Quantizable"]


class Quantizable(Module):
    """A layer that has a copy with narrow weights.

    Attributes
    ----------
    weight_format
        How the weights are kept: the dtype's name, unless `quantize` makes them narrow.
    activation_bits
        The bits of the rows that integer weights multiply; None for any other weights.

    Raises
    ------
    TypeError
        If `dtype` is no dtype.
    ValueError
        If `dtype` is another than float32 and float64.
    """

    # The formats that the weights can have, and which parameters are weights.
    _formats: ClassVar[tuple[str, ...]]
    _narrow_names: ClassVar[tuple[str, ...]]

    def __init__(self, dtype: DTypeLike = "float32") -> None:
        super().__init__(dtype)
        self.weight_format = self._dtype.name
        self.activation_bits: int | None = None

    @property
    def nbytes(self) -> int:
        """The bytes of the parameters, with the scales of narrow weights."""
        return sum(array.nbytes for array in self._snapshot().arrays.values())

    @abstractmethod
    def quantize(self, weight_format: str, *, activations: int | None = None) -> Self:
        """Return a copy of this layer for inference whose weights take fewer bytes."""

    def _quantized_copy(self, weight_format: str, activations: int | None) -> Self:
        if self._is_narrow:
            raise TypeError(
                f"{with_article(type(self))} with {self.weight_format} weights is "
                "quantized already; quantize the layer that it was made from"
            )
        bits = quantized.check_format(weight_format, activations, self._formats)
        if self.dtype != np.float32:
            raise ValueError(f"only layers of float32 can be quantized, got {self.dtype}")
        state = self.__getstate__()
        make = quantized.narrowed
        if parameters.are_left_out():
            make = quantized.narrow_placeholders
        arrays = make(state.pop("_arrays"), weight_format, self._narrow_names)
        narrow = self.__new__(type(self))
        narrow.__setstate__(
            copy.deepcopy(state)
            | {"_arrays": arrays, "weight_format": weight_format, "activation_bits": bits}
        )
        return narrow

    @property
    def _is_narrow(self) -> bool:
        return formats.look_up(self.weight_format).narrow

    @property
    def _kernel_format(self) -> str:
        """What the kernels call the format."""
        return quantized.kernel_format(self.weight_format, self.activation_bits)

    def _check_trainable(self) -> None:
        if self._is_narrow:
            raise TypeError(
                f"{with_article(type(self))} with {self.weight_format} weights is for "
                "inference only; train the layer that it was made from"
            )

    def _problem(self, name: str, parameter: Array, given: Array) -> str | None:
        problem = super()._problem(name, parameter, given)
        if problem or not self._is_narrow:
            return problem
        return quantized.misfit(name, parameter, given)

    def _sizes(self) -> str:
        # Only float32 can be quantized, so no dtype comes before.
        if not self._is_narrow:
            return super()._sizes()
        shown = quantized.shown(self.weight_format, self.activation_bits)
        return f"{super()._sizes()}, {shown}"

    def __repr__(self) -> str:
        if self._is_narrow:
            return f"{self._description()} with {self.nbytes:,} bytes of weights"
        return super().__repr__()
