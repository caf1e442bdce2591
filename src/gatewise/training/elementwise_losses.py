"""Losses of numbers: each returns its mean over what counts, and the mean's gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.training.arguments import as_number, describe
from gatewise.training.loss_inputs import (
    Flags,
    as_array,
    as_float,
    as_mask,
    as_real,
    as_weight,
)
from gatewise.training.portable import sum_of_products

Array = NDArray[Any]

__all__ = ["huber", "mean_of", "mse", "quantile_loss"]


def mse(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
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
    sample_weight : array_like, optional
        How much each value counts, of such a shape too. The mean is one by these weights.

    Returns
    -------
    loss : float
        The mean over the values that count; 0 where none does.
    gradient : ndarray
        The gradient of the loss with respect to `predictions`, of its shape and dtype.

    Raises
    ------
    TypeError
        If `predictions` are not float32 or float64, `targets` or weights no real numbers,
        or `mask` not bool.
    ValueError
        If a shape does not fit, or a weight is negative or not finite.

    Examples
    --------
    >>> import gatewise
    >>> loss, gradient = gatewise.mse([1.0, 2.0], [1.0, 4.0])
    >>> loss, gradient
    (2.0, array([ 0., -2.]))
    >>> gatewise.mse([1.0, 2.0], [1.0, 4.0], sample_weight=[3, 1])[0]
    1.0
    """
    difference = _difference(predictions, targets)

    def losses_and_slopes() -> tuple[Array, Array]:
        # Squared in the sum, where none is lost to the range of the dtype.
        return difference, 2 * difference

    return mean_of(difference, mask, sample_weight, losses_and_slopes, squared=True)


def huber(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    delta: float = 1.0,
    mask: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> tuple[float, Array]:
    """Return the mean of Huber's loss, and its gradient.

    Half the squared error up to `delta`, and ``delta * (|error| - delta / 2)`` beyond, so
    that outliers weigh no more than their distance.

    Parameters
    ----------
    predictions : array_like of float32 or float64
        Of any shape.
    targets : array_like
        Of the shape of `predictions`.
    delta : float, default 1.0
        Where it changes. ``functools.partial(huber, delta=0.5)`` is a loss for `fit`.
    mask, sample_weight : array_like, optional
        As for `mse`.

    Returns
    -------
    loss : float
        The mean over the values that count; 0 where none does.
    gradient : ndarray
        The gradient of the loss with respect to `predictions`, of its shape and dtype.

    Raises
    ------
    TypeError
        If `predictions` are not float32 or float64, `targets`, weights or `delta` no real
        numbers, or `mask` not bool.
    ValueError
        If a shape does not fit, a weight is negative or not finite, or `delta` is not above
        0.

    Notes
    -----
    The loss is that of [1]_.

    References
    ----------
    .. [1] Huber, P. J. (1964). "Robust Estimation of a Location Parameter". Annals of
       Mathematical Statistics 35(1), 73-101.

    Examples
    --------
    >>> import gatewise
    >>> gatewise.huber([0.5, 3.0], [0.0, 0.0])
    (1.3125, array([0.25, 0.5 ]))
    """
    difference = _difference(predictions, targets)
    most = as_number("delta", delta)
    if most == 0:
        raise ValueError(f"delta should be above 0, got {delta!r}")

    def losses_and_slopes() -> tuple[Array, Array]:
        distance = np.abs(difference)
        near = np.square(difference) / 2
        losses = np.where(distance <= most, near, most * (distance - most / 2))
        return losses, np.clip(difference, -most, most)

    return mean_of(difference, mask, sample_weight, losses_and_slopes)


def quantile_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    quantiles: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> tuple[float, Array]:
    """Return the mean loss of predicted quantiles, and its gradient.

    An error above the target costs ``1 - q`` times its size, and one below it ``q`` times,
    so that the least is where a share q of the targets lies below the prediction.

    Parameters
    ----------
    predictions : array_like of float32 or float64
        With a single quantile of the shape of `targets`; with several they are the last
        axis, which `targets` then do not have.
    targets : array_like
    quantiles : float or sequence of float, default 0.5
        Each above 0 and below 1. ``functools.partial(quantile_loss, quantiles=[0.1, 0.9])``
        is a loss for `fit`.
    mask, sample_weight : array_like, optional
        As for `mse`.

    Returns
    -------
    loss : float
        The mean over the values that count; 0 where none does.
    gradient : ndarray
        The gradient of the loss with respect to `predictions`, of its shape and dtype; 0
        where a prediction is exact.

    Raises
    ------
    TypeError
        If `predictions` are not float32 or float64, `targets`, weights or `quantiles` no
        real numbers, or `mask` not bool.
    ValueError
        If a shape does not fit, a weight is negative or not finite, or a quantile is not
        between 0 and 1.

    Notes
    -----
    The loss is that of [1]_, also called the pinball loss.

    References
    ----------
    .. [1] Koenker, R., and Bassett, G. (1978). "Regression Quantiles". Econometrica 46(1),
       33-50.

    Examples
    --------
    >>> import gatewise
    >>> gatewise.quantile_loss([[1.0, 3.0]], [2.0], quantiles=[0.25, 0.75])
    (0.25, array([[-0.125,  0.125]]))
    """
    predictions = as_float("predictions", predictions)
    levels = as_array("quantiles", quantiles)
    if levels.dtype.kind not in "fiu":
        raise TypeError(f"quantiles should be numbers, got {describe(quantiles)}")
    if levels.ndim > 1 or not levels.size:
        raise ValueError(
            f"quantiles should be a number or a list of numbers, got {describe(levels)}"
        )
    wrong = levels[~((levels > 0) & (levels < 1))]
    if wrong.size:
        raise ValueError(f"quantiles should be above 0 and below 1, got {wrong.flat[0]}")
    shape = predictions.shape
    if levels.ndim == 1:
        if predictions.ndim == 0 or shape[-1] != levels.size:
            raise ValueError(
                f"predictions should have shape (..., {levels.size}), one for each of "
                f"quantiles, got {shape}"
            )
        shape = shape[:-1]
    targets = as_real("targets", targets, shape, "predictions without their quantiles")
    levels = levels.astype(predictions.dtype)
    with np.errstate(all="ignore"):
        wanted = targets.astype(predictions.dtype, copy=False)
        difference = np.asarray(
            predictions - (wanted[..., None] if levels.ndim else wanted)
        )

    def losses_and_slopes() -> tuple[Array, Array]:
        losses = np.maximum(-levels * difference, (1 - levels) * difference)
        zero = difference.dtype.type(0)
        slopes = np.where(
            difference > 0, 1 - levels, np.where(difference < 0, -levels, zero)
        )
        return losses, slopes

    return mean_of(difference, mask, sample_weight, losses_and_slopes)


def mean_of(
    like: Array,
    mask: ArrayLike | None,
    sample_weight: ArrayLike | None,
    losses_and_slopes: Callable[[], tuple[Array, Array]],
    check: Callable[[Flags], None] | None = None,
    *,
    squared: bool = False,
) -> tuple[float, Array]:
    """Return the mean of the losses of single values, and its gradient.

    `like` has their shape and dtype. With `squared` the losses are still to be squared.
    `check` is told which values count, and refuses those that should not be.
    """
    counts: Flags | None = None
    if mask is not None:
        counts = _spread(as_mask(mask, like.shape[: np.ndim(mask)]), like.shape)
    weight = None
    if sample_weight is not None:
        weight = as_weight(sample_weight, like.shape)
        if counts is not None:
            weight = np.where(counts, weight, 0)
        # So that what has no weight may hold NaN.
        counts = weight > 0
    if check is not None:
        check(np.ones(like.shape, bool) if counts is None else counts)
    with np.errstate(all="ignore"):
        losses, slopes = losses_and_slopes()
        # Arrays also where they have no axis.
        losses, gradient = np.asarray(losses), np.asarray(slopes, like.dtype)
    if counts is not None:
        losses = np.where(counts, losses, losses.dtype.type(0))
        gradient[~counts] = 0
    flat = losses.reshape(-1)
    factors = [flat, flat] if squared else [flat]
    share: Any
    if weight is None:
        count = losses.size if counts is None else int(counts.sum())
        loss, share = sum_of_products(factors) / max(count, 1), 1 / max(count, 1)
    else:
        whole = float(weight.sum()) or 1.0
        loss = sum_of_products([*factors, weight.reshape(-1)]) / whole
        share = (weight / whole).astype(like.dtype)
    with np.errstate(all="ignore"):
        gradient *= share
    return loss, gradient


def _difference(predictions: ArrayLike, targets: ArrayLike) -> Array:
    """How far each prediction is above its target."""
    predictions = as_float("predictions", predictions)
    targets = as_real("targets", targets, predictions.shape, "predictions")
    with np.errstate(all="ignore"):
        # An array also where it has no axis.
        return np.asarray(predictions - targets.astype(predictions.dtype, copy=False))


def _spread(flags: Flags, shape: tuple[int, ...]) -> Flags:
    """The flags of the first axes of a shape, for all of them."""
    axes = (1,) * (len(shape) - flags.ndim)
    return np.broadcast_to(flags.reshape(flags.shape + axes), shape)
