"""Directions that the kernels cannot run: clipped sums, and gates of an LSTM in one.

A loop over time in NumPy, with the equations of the kernels; what differs is what sums go
through, and that an LSTM's f may be ``1 - i``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.direction import Weights
from gatewise.kernels.numpy import rows
from gatewise.kernels.numpy.activations import Function, Functions, functions_of
from gatewise.kernels.numpy.equations import FORWARD, Packed
from gatewise.kernels.numpy.narrow import add_product, product

Array = NDArray[Any]

__all__ = ["infer"]


def infer(
    weights: Weights,
    x: Array,
    state: tuple[Array, ...],
    y: Array,
    *,
    clip: float | None,
    coupled: bool,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
) -> None:
    """Do what ``direction.infer`` does, with sums within `clip`, and f of i if `coupled`.

    Of an LSTM the sums of the gates and of the candidate are clipped, but not c on its way
    to h: so does ONNX Runtime, though the specification can be read otherwise.
    """
    packed = rows.pack(
        weights.cell,
        weights.w_ih,
        weights.w_hh,
        weights.bias,
        bias_hn=weights.bias_hn,
        peepholes=weights.peepholes,
        activations=weights.activations,
        weight_format=weights.weight_format,
    )
    packed = packed._replace(functions=_clipped(functions_of(weights.activations), clip))
    step = _coupled if coupled else FORWARD[weights.cell]
    with np.errstate(all="ignore"):
        for where, count in _steps(x, batch_sizes, reverse):
            now = tuple(part[:count] for part in state)
            gates = product(x[where], packed.w_ih_transposed)
            gates += packed.bias
            step(packed, gates, now, y[where], np.empty_like(now[0]))


def _clipped(functions: Functions, clip: float | None) -> Functions:
    if clip is None:
        return functions

    def of(function: Function) -> Function:
        def value(z: Array, out: Array | None = None) -> Array:
            return function.value(np.clip(z, -clip, clip, out=out), out)

        return function._replace(value=value)

    return functions._replace(gate=of(functions.gate), candidate=of(functions.candidate))


def _coupled(packed: Packed, gates: Array, state: Any, y: Array, extra: Array) -> None:
    """An LSTM's step without a forget gate of its own [1]_.

    References
    ----------
    .. [1] Greff, K., et al. (2017). "LSTM: A Search Space Odyssey". IEEE Transactions on
       Neural Networks and Learning Systems 28(10), 2222-2232. arXiv:1503.04069.
    """
    h, c = state
    gate, candidate, output = packed.functions
    add_product(h, packed.w_hh_transposed, gates)
    i, _, g, o = np.split(gates, 4, axis=1)
    if packed.peepholes is not None:
        i += packed.peepholes[0] * c
    gate.value(i, i)
    candidate.value(g, g)
    c *= 1 - i
    c += i * g
    if packed.peepholes is not None:
        o += packed.peepholes[2] * c
    gate.value(o, o)
    h[...] = o * output.value(c)
    y[...] = h


def _steps(
    x: Array, batch_sizes: NDArray[np.int64] | None, reverse: bool
) -> Iterator[tuple[Any, int]]:
    """Where the rows of each step stand, and how many there are."""
    if batch_sizes is None:
        steps: list[tuple[Any, int]] = [(t, x.shape[1]) for t in range(len(x))]
    else:
        ends = np.cumsum(batch_sizes).tolist()
        sizes = batch_sizes.tolist()
        steps = [
            ((0, slice(end - size, end)), size)
            for end, size in zip(ends, sizes, strict=True)
        ]
    return iter(steps[::-1] if reverse else steps)
