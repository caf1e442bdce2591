"""What losses and metrics are given: outputs, targets, masks and weights, checked."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.training.arguments import describe

Array = NDArray[Any]
Flags = NDArray[np.bool_]
Weights = NDArray[np.float64]

__all__ = [
    "as_array",
    "as_classes",
    "as_float",
    "as_integer",
    "as_mask",
    "as_real",
    "as_weight",
    "check_range",
    "last_steps",
]


def as_array(name: str, array: ArrayLike) -> Array:
    """Return `array` as an array of whatever dtype it has."""
    try:
        return np.asarray(array)
    except ValueError as error:
        raise ValueError(f"{name} should be an array: {error}") from error


def as_integer(name: str, value: object) -> int:
    """Return `value` as an int."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} should be an integer, got {describe(value)}") from None


def as_float(name: str, array: ArrayLike) -> Array:
    """Return what a layer gave, which is float32 or float64, in native byte order."""
    array = as_array(name, array)
    native = array.dtype.newbyteorder("=")
    if native not in (np.float32, np.float64):
        raise TypeError(f"{name} should be float32 or float64, got {array.dtype}")
    return array.astype(native, copy=False)


def as_real(name: str, array: ArrayLike, shape: tuple[int, ...], of: str) -> Array:
    """Return targets that are real numbers, of the shape that `of` asks for."""
    array = as_array(name, array)
    if array.shape != shape:
        raise ValueError(
            f"{name} should have the shape of {of}, {shape}, got {array.shape}"
        )
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} should be real numbers, got {array.dtype}")
    return array


def as_classes(
    targets: ArrayLike, logits_shape: tuple[int, ...], name: str = "logits"
) -> Array:
    """Return targets that are classes: one for each step, or one for each sequence."""
    targets = as_array("targets", targets)
    if targets.shape not in (logits_shape[:-1], logits_shape[:-2]):
        raise ValueError(
            f"targets should have shape {logits_shape[:-1]} for {name} {logits_shape}, "
            f"got {targets.shape}"
        )
    if not targets.size:
        return targets.astype(np.intp)
    if targets.dtype.kind not in "iu":
        raise TypeError(f"targets should be integers, got {targets.dtype}")
    return targets


def as_mask(mask: ArrayLike, shape: tuple[int, ...]) -> Flags:
    """Return which positions count, one boolean each."""
    mask = as_array("mask", mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask should be bool, got {mask.dtype}")
    if mask.shape != shape:
        raise ValueError(f"mask should have shape {shape}, got {mask.shape}")
    return mask


def as_weight(sample_weight: ArrayLike, shape: tuple[int, ...]) -> Weights:
    """Return how much each position counts, for all axes of `shape`.

    The weights may have its first axes alone: one for each sequence, say.
    """
    given = as_array("sample_weight", sample_weight)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"sample_weight should be real numbers, got {given.dtype}")
    if given.ndim == 0 or given.shape != shape[: given.ndim]:
        raise ValueError(
            f"sample_weight should have shape {shape}, or its first axes, got {given.shape}"
        )
    weight = given.astype(np.float64)
    wrong = weight[~((weight >= 0) & np.isfinite(weight))]
    if wrong.size:
        raise ValueError(
            f"sample_weight should be finite and at least 0, got {float(wrong[0])!r}"
        )
    axes = (1,) * (len(shape) - given.ndim)
    return np.broadcast_to(weight.reshape(weight.shape + axes), shape)


def last_steps(
    outputs_shape: tuple[int, ...], mask: ArrayLike | None
) -> tuple[NDArray[np.intp], Flags]:
    """Return each sequence's last step that counts, and whether there is one.

    Of outputs ``(..., time, features)``, whose mask is ``(..., time)``.
    """
    *sequences, time, _ = outputs_shape
    if mask is None:
        counts: Flags = np.full(sequences, time > 0)
        return np.full(sequences, max(time - 1, 0), np.intp), counts
    counts = as_mask(mask, (*sequences, time))
    if not time:
        return np.zeros(sequences, np.intp), np.zeros(sequences, bool)
    last = time - 1 - counts[..., ::-1].argmax(axis=-1)
    return np.asarray(last), np.asarray(counts.any(axis=-1))


def check_range(classes: Array, count: int) -> None:
    """Raise ValueError unless all targets are classes."""
    if classes.size and not (classes.min() >= 0 and classes.max() < count):
        wrong = int(classes[(classes < 0) | (classes >= count)][0])
        raise ValueError(f"targets should lie in 0..{count - 1}, got {wrong}")
