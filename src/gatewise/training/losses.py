"""Losses of classes: each returns its mean over what counts, and the mean's gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.kernels import chooser
from gatewise.training.arguments import describe
from gatewise.training.elementwise_losses import mean_of
from gatewise.training.loss_inputs import (
    Flags,
    Weights,
    as_array,
    as_classes,
    as_float,
    as_integer,
    as_mask,
    as_real,
    as_weight,
    check_range,
    last_steps,
)
from gatewise.training.portable import logarithms, sum_of_logarithms

Array = NDArray[Any]

__all__ = ["binary_cross_entropy", "cross_entropy", "softmax_cross_entropy"]


def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    ignore_index: int = -100,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
) -> tuple[float, Array]:
    """Return the mean cross-entropy of integer targets in nats, and its gradient.

    ``softmax_cross_entropy`` is another name of it.

    Parameters
    ----------
    logits : array_like of float32 or float64, shape (..., classes)
        Scores before the softmax.
    targets : array_like of int, shape (...)
        The right class of each position, from 0 to ``classes - 1``. For logits
        ``(batch, time, classes)`` it may be a single label for each sequence, ``(batch,)``:
        the last step that `mask` lets count then is to say it.
    mask : array_like of bool, of the shape of logits without their last axis, optional
        False where a position does not count, for instance past a sequence's end.
    ignore_index : int, default -100
        Positions with this target do not count either.
    sample_weight : array_like, optional
        How much each target counts: of the shape of `targets`, or of their first axes, one
        for each sequence for instance. The mean is one by these weights.
    class_weight : array_like, shape (classes,), optional
        How much the targets of each class count, times `sample_weight`.

    Returns
    -------
    loss : float
        The mean over the positions that count; 0 where none does.
    gradient : ndarray
        The gradient of the loss with respect to `logits`, of its shape and dtype.

    Raises
    ------
    TypeError
        If `logits` are not float32 or float64, `targets` or `ignore_index` no integers,
        `mask` not bool, or weights no real numbers.
    ValueError
        If a shape does not fit, a target that counts is no class, or a weight is negative
        or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> loss, gradient = gatewise.cross_entropy(np.zeros((2, 4)), [1, 3])
    >>> bool(np.isclose(loss, np.log(4)))
    True
    >>> gradient[0]
    array([ 0.125, -0.375,  0.125,  0.125])

    One label for each of two sequences of three steps:

    >>> loss, gradient = gatewise.cross_entropy(np.zeros((2, 3, 4)), [1, 3])
    >>> gradient[0]
    array([[ 0.   ,  0.   ,  0.   ,  0.   ],
           [ 0.   ,  0.   ,  0.   ,  0.   ],
           [ 0.125, -0.375,  0.125,  0.125]])
    """
    logits = as_float("logits", logits)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(
            f"logits should have shape (..., classes) with at least one class, "
            f"got {logits.shape}"
        )
    targets = as_classes(targets, logits.shape)
    # Compared before it becomes an index, where the largest would be negative ones.
    counts: Flags = np.asarray(targets != as_integer("ignore_index", ignore_index))
    weight = _class_weights(class_weight, targets, logits.shape[-1])
    if sample_weight is not None:
        each = as_weight(sample_weight, targets.shape)
        weight = each if weight is None else each * weight
    if targets.shape == logits.shape[:-1]:
        if mask is not None:
            counts = counts & as_mask(mask, targets.shape)
        return _of_positions(logits, targets, counts, weight)
    last, there = last_steps(logits.shape, mask)
    if not logits.size:
        return 0.0, np.zeros_like(logits)
    place = last[..., None, None]
    chosen = np.take_along_axis(logits, place, axis=-2)[..., 0, :]
    loss, found = _of_positions(chosen, targets, counts & there, weight)
    gradient = np.zeros_like(logits)
    np.put_along_axis(gradient, place, found[..., None, :], axis=-2)
    return loss, gradient


softmax_cross_entropy = cross_entropy


def binary_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> tuple[float, Array]:
    """Return the mean cross-entropy of yes-or-no targets in nats, and its gradient.

    Parameters
    ----------
    logits : array_like of float32 or float64
        Scores before the sigmoid, of any shape: the last axis may be several labels that
        can all be true at once.
    targets : array_like
        Of the shape of `logits`: 0 and 1, booleans, or probabilities between.
    mask : array_like of bool, optional
        False where a value does not count. Its shape is that of `logits`, or of the first
        axes of it: ``(batch, time)`` for instance.
    sample_weight : array_like, optional
        How much each value counts, of such a shape too. The mean is one by these weights.

    Returns
    -------
    loss : float
        The mean over the values that count; 0 where none does.
    gradient : ndarray
        The gradient of the loss with respect to `logits`, of its shape and dtype.

    Raises
    ------
    TypeError
        If `logits` are not float32 or float64, `targets` or weights no real numbers, or
        `mask` not bool.
    ValueError
        If a shape does not fit, a target that counts is not from 0 to 1, or a weight is
        negative or not finite.

    Examples
    --------
    >>> import gatewise
    >>> loss, gradient = gatewise.binary_cross_entropy([0.0, 0.0], [True, False])
    >>> round(loss, 4), gradient
    (0.6931, array([-0.25,  0.25]))
    """
    logits = as_float("logits", logits)
    targets = as_real("targets", targets, logits.shape, "logits")
    targets = targets.astype(logits.dtype, copy=False)

    def losses_and_slopes() -> tuple[Array, Array]:
        # That is log(1 + exp(-x)) for an x of at least 0, without a function of NumPy's.
        far = logarithms(_sigmoid(np.abs(logits).astype(np.float64)))
        losses = np.maximum(logits, 0) - logits * targets - far
        return losses, _sigmoid(logits) - targets

    def check(counting: Flags) -> None:
        wrong = targets[counting & ~((targets >= 0) & (targets <= 1))]
        if wrong.size:
            raise ValueError(f"targets should lie from 0 to 1, got {float(wrong[0])!r}")

    return mean_of(logits, mask, sample_weight, losses_and_slopes, check)


def _sigmoid(x: Array) -> Array:
    flat = np.ascontiguousarray(x).reshape(-1)
    y = np.empty_like(flat)
    chooser.kernels.sigmoid(flat, y)
    return y.reshape(x.shape)


def _of_positions(
    logits: Array, targets: Array, counts: Flags, weight: Weights | None
) -> tuple[float, Array]:
    """The loss and its gradient, for one target a position."""
    counts = counts.reshape(-1)
    if weight is not None:
        weight = weight.reshape(-1)
        counts = counts & (weight > 0)
    classes = np.where(counts, targets.reshape(-1), targets.dtype.type(0))
    check_range(classes, logits.shape[-1])
    classes = classes.astype(np.intp, copy=False)

    rows = np.arange(classes.size)
    share: Any = 1 / max(int(counts.sum()), 1)
    if weight is not None:
        held = np.where(counts, weight, 0)
        share = held / (held.sum() or 1)
    flat = logits.reshape(classes.size, logits.shape[-1])
    with np.errstate(all="ignore"):
        gradient = np.empty_like(flat, order="C")
        chooser.kernels.softmax(np.ascontiguousarray(flat), gradient)
        # The largest logit has the inverse of the sum of all exponentials.
        chosen = flat[rows, classes] - flat.max(axis=1)
        largest = gradient.max(axis=1)
        gradient *= share if weight is None else share[:, None]
    gradient[rows, classes] -= share
    # Assigned, not multiplied by 0: what does not count may hold NaN.
    gradient[~counts] = 0
    chosen, largest = chosen[counts].astype(np.float64), largest[counts]
    if weight is None:
        # From 0, so that there is no -0 of what is certain.
        loss = 0.0 - share * (sum_of_logarithms(largest) + float(np.add.reduce(chosen)))
    else:
        losses = -(logarithms(largest) + chosen)
        loss = 0.0 + float(np.add.reduce(losses * share[counts]))
    return loss, gradient.reshape(logits.shape)


def _class_weights(
    class_weight: ArrayLike | None, targets: Array, classes: int
) -> Weights | None:
    """How much each target counts by its class; 0 where it is none."""
    if class_weight is None:
        return None
    given = as_array("class_weight", class_weight)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"class_weight should be real numbers, got {describe(given)}")
    if given.shape != (classes,):
        raise ValueError(
            f"class_weight should have shape ({classes},), one for each class, "
            f"got {given.shape}"
        )
    if not (np.isfinite(given) & (given >= 0)).all():
        raise ValueError(f"class_weight should be finite and at least 0, got {given}")
    table = given.astype(np.float64)
    is_class = (targets >= 0) & (targets < classes)
    # What is no class counts as one here, so that it is refused if it is not ignored.
    found = np.where(is_class, table[np.where(is_class, targets, 0).astype(np.intp)], 1.0)
    return found
