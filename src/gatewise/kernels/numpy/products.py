"""The products around the recurrent kernels in plain NumPy, and sums by token."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import formats
from gatewise.kernels.numpy.equations import Packed
from gatewise.kernels.numpy.narrow import Narrow, add_product, narrow

Array = NDArray[Any]

__all__ = [
    "PackedLinear",
    "add_by_token",
    "add_rows",
    "linear",
    "linear_back",
    "outer",
    "pack_linear",
    "project_back",
]


def project_back(packed: Packed, dgates: Array, dx: Array, *, num_threads: int = 1) -> None:
    """Write ``dgates @ w_ih`` into `dx`: the gradient of all steps' input at once."""
    with np.errstate(all="ignore"):
        np.matmul(dgates, packed.w_ih, out=dx)


def outer(
    a: Array,
    b: Array,
    out: Array,
    *,
    second: tuple[Array, Array] | None = None,
    in_bfloat16: bool = False,
    num_threads: int = 1,
) -> None:
    """Add ``a_row outer b_row``, summed over all rows, to `out`: a gradient of weights.

    `second` are another b and its out, for the same a. Products may be those of bfloat16 if
    that is faster; here it is not.
    """
    with np.errstate(all="ignore"):
        out += np.tensordot(a, b, axes=((0, 1), (0, 1)))
    if second is not None:
        outer(a, *second)


def add_rows(rows: Array, out: Array) -> None:
    """Add all rows, one after the other, to `out` ``(features,)``: a bias's gradient."""
    with np.errstate(all="ignore"):
        out += rows.sum(axis=(0, 1))


class PackedLinear(NamedTuple):
    """A Linear's weights and bias in the form its backend runs on."""

    weight: Array
    bias: Array | None
    narrow: Narrow | None = None


def pack_linear(
    weight: Array,
    bias: Array | None,
    *,
    weight_format: str | None = None,
    scale: Array | None = None,
) -> PackedLinear:
    """Bring a Linear's `weight` ``(O, I)`` and `bias` ``(O,)`` into that form.

    The arrays are referred to, and may not change any more. `weight_format` and `scale` are
    for narrow weights, as ``pack`` takes them.
    """
    if weight_format is None:
        return PackedLinear(weight, bias)
    single = weight.itemsize < 8
    formats.check(weight_format, np.dtype(np.float32 if single else np.float64))
    wide = formats.widened(weight, weight_format, scale)
    return PackedLinear(wide, bias, narrow(weight, weight_format, scale))


def linear(packed: PackedLinear, x: Array, *, num_threads: int = 1) -> Array | None:
    """Return ``x @ weight.T + bias`` for `x` ``(..., I)``, or None.

    None is for what is no array of the weights' dtype, has another shape, or whose rows do
    not lie at one or two distances, each aligned and with contiguous features.
    """
    weight, bias = packed.weight, packed.bias
    if type(x) is not np.ndarray or x.dtype != weight.dtype or not _is_rows(x):
        return None
    if x.shape[-1] != weight.shape[1]:
        return None
    y: Array
    with np.errstate(all="ignore"):
        if packed.narrow is not None:
            y = np.zeros((*x.shape[:-1], len(weight)), x.dtype)
            if bias is not None:
                y += bias
            add_product(x, packed.narrow, y)
            return y
        y = np.matmul(x, weight.T)
        if bias is not None:
            y += bias
    return y


def linear_back(
    packed: PackedLinear, dy: Array, dx: Array, *, num_threads: int = 1
) -> None:
    """Write ``dy @ weight`` into `dx`: the gradient of a Linear's input, for rows."""
    with np.errstate(all="ignore"):
        np.matmul(dy, packed.weight, out=dx)


def add_by_token(tokens: NDArray[np.int64], rows: Array, out: Array) -> None:
    """Add every row to the row of `out` that its token names: ``one_hot.T @ rows``.

    `tokens` are one-dimensional, in the rows' order of time and batch.
    """
    with np.errstate(all="ignore"):
        np.add.at(out, tokens, rows.reshape(tokens.size, out.shape[1]))


def _is_rows(x: Array) -> bool:
    """Whether the features of aligned rows are contiguous."""
    if x.ndim == 0 or not x.size:
        return x.ndim > 0
    contiguous = x.shape[-1] == 1 or x.strides[-1] == x.itemsize
    return contiguous and bool(x.flags.aligned)
