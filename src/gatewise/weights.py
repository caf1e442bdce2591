"""The weights of one direction of one layer, in the one form of layers and notebook.

Everything above brings its parameters into this form, with the gates in PyTorch's order,
and reads gradients out of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import chooser, formats
from gatewise.kernels.activations import Activations

Array = NDArray[Any]

# What the rows of narrow w_ih, w_hh and w_hr are multiplied by.
Scales = tuple[Array | None, Array | None, Array | None]
NO_SCALES: Scales = (None, None, None)

__all__ = ["NO_SCALES", "Prepared", "Scales", "Weights"]


class Weights(NamedTuple):
    """The canonical weights of one direction of one layer, or their gradients.

    The fields are the arguments of the kernels' ``pack``.
    """

    cell: str
    activations: Activations
    weight_format: str
    w_ih: Array
    w_hh: Array
    bias: Array
    bias_hn: Array | None = None
    w_hr: Array | None = None
    peepholes: Array | None = None

    @property
    def arrays(self) -> tuple[Array | None, ...]:
        """The weights themselves."""
        return self[3:]

    def of(self, arrays: Iterable[Array | None]) -> Weights:
        """Return other arrays, of the same sizes, in the places of these."""
        return Weights(*self[:3], *arrays)  # type: ignore[arg-type]

    def zeros(self) -> Weights:
        """Return zeros in the places of these arrays."""
        return self.of(
            [a if a is None else np.zeros(a.shape, a.dtype) for a in self.arrays]
        )

    def astype(self, dtype: np.dtype[Any]) -> Weights:
        """Return these in another dtype, their numbers converted."""
        arrays = [a if a is None else a.astype(dtype) for a in self.arrays]
        return self.of(arrays)._replace(weight_format=dtype.name)


class Prepared:
    """The weights of a direction in the forms that the kernels run on."""

    def __init__(self, weights: Weights, scales: Scales = NO_SCALES) -> None:
        self.weights = weights
        self._scales = scales
        self.packed = self._pack()

    def renew(self) -> None:
        """Pack anew where the kernels are no longer those that these weights ran on."""
        if not isinstance(self.packed, chooser.kernels.Packed):
            self.packed = self._pack()

    @cached_property
    def table(self) -> Array:
        """The input's share of the gates for every token, one row each."""
        weights = self.weights
        w_ih = formats.widened(weights.w_ih, weights.weight_format, self._scales[0])
        with np.errstate(all="ignore"):
            return np.ascontiguousarray(w_ih.T) + weights.bias

    def _pack(self) -> Any:
        weights = self.weights
        return chooser.kernels.pack(
            weights.cell,
            weights.w_ih,
            weights.w_hh,
            weights.bias,
            bias_hn=weights.bias_hn,
            w_hr=weights.w_hr,
            peepholes=weights.peepholes,
            activations=weights.activations,
            weight_format=weights.weight_format,
            scales=self._scales,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # The packed form belongs to this process's backend, and is quickly made anew.
        return type(self), (self.weights, self._scales)
