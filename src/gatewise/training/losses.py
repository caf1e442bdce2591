"""Losses: each returns its mean over what counts, and the gradient of that mean."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.kernels import chooser
from gatewise.training.arguments import describe
from gatewise.training.portable import sum_of_logarithms, sum_of_squares

Array = NDArray[Any]

__all__ = ["mse", "softmax_cross_entropy"]


def softmax_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    ignore_index: int = -100,
) -> tuple[float, Array]:
    """Return the mean cross-entropy of integer targets in nats, and its gradient.

    Parameters
    ----------
    logits : array_like of float32 or float64, shape (..., classes)
        Scores before the softmax.
    targets : array_like of int, shape (...)
        The right class of each position, from 0 to ``classes - 1``.
    mask : array_like of bool, shape (...), optional
        False where a position does not count, for instance past a sequence's end.
    ignore_index : int, default -100
        Positions with this target do not count either.

    Returns
    -------
    loss : float
        The mean over the positions that count; 0 where none does.
    gradient : ndarray
        The gradient of the loss with respect to `logits`, of its shape and dtype.

    Raises
    ------
    TypeError
        If `logits` are not float32 or float64, `targets` or `ignore_index` no integers, or
        `mask` not bool.
    ValueError
        If a shape does not fit, or a target that counts is no class.

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> loss, gradient = gatewise.softmax_cross_entropy(np.zeros((2, 4)), [1, 3])
    >>> bool(np.isclose(loss, np.log(4)))
    True
    >>> gradient[0]
    array([ 0.125, -0.375,  0.125,  0.125])
    """
    logits = _as_float("logits", logits)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(
            f"logits should have shape (..., classes) with at least one class, "
            f"got {logits.shape}"
        )
    targets = _as_classes(targets, logits.shape)
    # Compared before it becomes an index, where the largest would be negative ones.
    counts = targets != _as_integer("ignore_index", ignore_index)
    if mask is not None:
        counts = counts & _as_mask(mask, targets.shape)
    counts = counts.reshape(-1)
    classes = np.where(counts, targets.reshape(-1), targets.dtype.type(0))
    _check_range(classes, logits.shape[-1])
    classes = classes.astype(np.intp, copy=False)

    rows = np.arange(classes.size)
    share = 1 / max(int(counts.sum()), 1)
    flat = logits.reshape(classes.size, logits.shape[-1])
    with np.errstate(all="ignore"):
        gradient = np.empty_like(flat, order="C")
        chooser.kernels.softmax(np.ascontiguousarray(flat), gradient)
        # The largest logit has the inverse of the sum of all exponentials.
        chosen = flat[rows, classes] - flat.max(axis=1)
        largest = gradient.max(axis=1)
        gradient *= share
    gradient[rows, classes] -= share
    # Assigned, not multiplied by 0: what does not count may hold NaN.
    gradient[~counts] = 0
    loss = -sum_of_logarithms(largest[counts]) - float(chosen[counts].sum(dtype=np.float64))
    loss *= share
    return loss, gradient.reshape(logits.shape)


def mse(
    predictions: ArrayLike, targets: ArrayLike, *, mask: ArrayLike | None = None
) -> tuple[float, Array]:
    """Return the mean squared error, and its gradient.

    Parameters
    ----------
    predictions : array_like of float32 or float64
        Of any shape.
    targets : array_like
        Of the shape of `predictions`.
    mask : array_like of bool, optional
        False where a value does not count. Its shape is that of `predictions`, or of the
        first axes of it: ``(batch, time)`` for instance.

    Returns
    -------
    loss : float
        The mean over the values that count; 0 where none does.
    gradient : ndarray
        The gradient of the loss with respect to `predictions`, of its shape and dtype.

    Raises
    ------
    TypeError
        If `predictions` are not float32 or float64, `targets` no real numbers, or `mask`
        not bool.
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> import gatewise
    >>> loss, gradient = gatewise.mse([1.0, 2.0], [1.0, 4.0])
    >>> loss, gradient
    (2.0, array([ 0., -2.]))
    """
    predictions = _as_float("predictions", predictions)
    targets = _as_array("targets", targets)
    if targets.shape != predictions.shape:
        raise ValueError(
            f"targets should have the shape of predictions, {predictions.shape}, "
            f"got {targets.shape}"
        )
    if targets.dtype.kind not in "fiub":
        raise TypeError(f"targets should be real numbers, got {targets.dtype}")
    with np.errstate(all="ignore"):
        # An array also where it has no axis.
        gradient = np.asarray(predictions - targets.astype(predictions.dtype, copy=False))
    count = gradient.size
    if mask is not None:
        shape = predictions.shape[: np.ndim(mask)]
        counts = _as_mask(mask, shape)
        gradient[~counts] = 0
        count = int(counts.sum()) * (gradient.size // max(counts.size, 1))
    loss = sum_of_squares(gradient) / max(count, 1)
    with np.errstate(all="ignore"):
        gradient *= 2 / max(count, 1)
    return loss, gradient


def _as_array(name: str, array: ArrayLike) -> Array:
    try:
        return np.asarray(array)
    except ValueError as error:
        raise ValueError(f"{name} should be an array: {error}") from error


def _as_integer(name: str, value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} should be an integer, got {describe(value)}") from None


def _as_float(name: str, array: ArrayLike) -> Array:
    array = _as_array(name, array)
    native = array.dtype.newbyteorder("=")
    if native not in (np.float32, np.float64):
        raise TypeError(f"{name} should be float32 or float64, got {array.dtype}")
    return array.astype(native, copy=False)


def _as_classes(targets: ArrayLike, logits_shape: tuple[int, ...]) -> Array:
    targets = _as_array("targets", targets)
    if targets.shape != logits_shape[:-1]:
        raise ValueError(
            f"targets should have shape {logits_shape[:-1]} for logits {logits_shape}, "
            f"got {targets.shape}"
        )
    if not targets.size:
        return targets.astype(np.intp)
    if targets.dtype.kind not in "iu":
        raise TypeError(f"targets should be integers, got {targets.dtype}")
    return targets


def _as_mask(mask: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = _as_array("mask", mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask should be bool, got {mask.dtype}")
    if mask.shape != shape:
        raise ValueError(f"mask should have shape {shape}, got {mask.shape}")
    return mask


def _check_range(classes: Array, count: int) -> None:
    if classes.size and not (classes.min() >= 0 and classes.max() < count):
        wrong = int(classes[(classes < 0) | (classes >= count)][0])
        raise ValueError(f"targets should lie in 0..{count - 1}, got {wrong}")
