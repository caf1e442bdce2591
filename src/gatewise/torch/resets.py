"""Which steps of a call's sequences start anew, as a caller says it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewise.torch.weights import as_array

__all__ = ["as_rows", "fitting"]


def fitting(x: Any, resets: Any) -> Tensor | None:
    """Return one boolean for every step of every sequence, laid out as the input.

    None if the input is none, which torch.nn refuses in its own words.

    Raises
    ------
    TypeError
        If `resets` is no tensor of booleans, or not packed as the input is.
    ValueError
        If it has another shape, or has been packed with other lengths.
    """
    if isinstance(x, PackedSequence):
        if not isinstance(resets, PackedSequence):
            kind = type(resets).__name__
            raise TypeError(f"resets should be packed as the input is, got a {kind}")
        if not _packed_alike(x, resets):
            raise ValueError("resets should be packed as the input is, got other lengths")
        x, resets = x.data, resets.data
    if not isinstance(x, Tensor):
        return None
    if not isinstance(resets, Tensor):
        kind = type(resets).__name__
        raise TypeError(f"resets should be a tensor of booleans, got a {kind}")
    if resets.dtype is not torch.bool:
        raise TypeError(f"resets should be a tensor of booleans, got {resets.dtype}")
    if resets.shape != x.shape[:-1]:
        shape, own = tuple(x.shape[:-1]), tuple(resets.shape)
        raise ValueError(f"resets should have shape {shape}, one a step, got {own}")
    return resets


def as_rows(resets: Tensor, batch_first: bool, packed: bool) -> NDArray[np.bool_] | None:
    """Return a copy in the kernels' order, or None where no step starts anew."""
    array = as_array(resets)
    if not array.any():
        return None
    if packed:
        array = array[None]
    elif batch_first:
        array = array.swapaxes(0, 1)
    return np.array(array, order="C")


def _packed_alike(x: PackedSequence, resets: PackedSequence) -> bool:
    if not torch.equal(x.batch_sizes, resets.batch_sizes):
        return False
    own, other = x.sorted_indices, resets.sorted_indices
    if own is None or other is None:
        return own is other
    return bool(torch.equal(own, other))
