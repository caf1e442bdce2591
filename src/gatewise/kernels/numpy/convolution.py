"""Convolutions over the steps of sequences in plain NumPy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels.numpy.products import PackedLinear
from gatewise.kernels.windows import Windows

Array = NDArray[Any]

__all__ = ["PackedConvolution", "convolve", "pack_convolution"]


class PackedConvolution(NamedTuple):
    """A convolution's weights, bias and windows in the form its backend runs on."""

    product: PackedLinear
    windows: Windows

    @property
    def plain(self) -> PackedConvolution:
        """The same for this backend."""
        return self


def pack_convolution(
    weight: Array, bias: Array | None, windows: Windows
) -> PackedConvolution:
    """Bring `weight` ``(O, taps * I)``, tap after tap, and `bias` ``(O,)`` into that form.

    The arrays are referred to, and may not change any more.
    """
    return PackedConvolution(PackedLinear(weight, bias), windows)


def convolve(
    packed: PackedConvolution,
    x: Array,
    *,
    history: Array | None = None,
    lengths: NDArray[np.int64] | None = None,
    num_threads: int = 1,
) -> Array | None:
    """Return the convolution of `x`, ``(batch, time, I)`` or ``(time, I)``, or None.

    `history` ``(batch, before, I)`` is what came before the first step; zeros if None.
    `lengths` say how many steps of each sequence exist: what is past them counts as zeros,
    and the output has zeros past the lengths that these leave to it.

    None is for what is no array of the weights' dtype, has another shape, or has steps that
    are not aligned or whose features are not contiguous.
    """
    weight, bias = packed.product.weight, packed.product.bias
    windows = packed.windows
    features = weight.shape[1] // windows.taps
    if type(x) is not np.ndarray or x.dtype != weight.dtype or x.ndim not in (2, 3):
        return None
    if x.shape[-1] != features or not x.flags.aligned:
        return None
    if features > 1 and x.size and x.strides[-1] != x.itemsize:
        return None
    sequences = x if x.ndim == 3 else x[None]
    batch, time = sequences.shape[:2]
    count = windows.count(time)
    steps = np.zeros((batch, windows.before + time + windows.after, features), x.dtype)
    steps[:, windows.before : windows.before + time] = sequences
    if history is not None:
        steps[:, : windows.before] = history
    past = None
    if lengths is not None:
        inside = steps[:, windows.before : windows.before + time]
        inside[np.arange(time) >= lengths[:, None]] = 0
        counts = np.array([windows.count(length) for length in lengths.tolist()], int)
        past = np.arange(count) >= counts[:, None]
    at, step, feature = steps.strides
    rows = np.lib.stride_tricks.as_strided(
        steps,
        (batch, count, windows.taps, features),
        (at, windows.stride * step, windows.dilation * step, feature),
        writeable=False,
    )
    with np.errstate(all="ignore"):
        y: Array = np.matmul(rows.reshape(batch, count, weight.shape[1]), weight.T)
        if bias is not None:
            y += bias
    if past is not None:
        y[past] = 0
    return y if x.ndim == 3 else y[0]
