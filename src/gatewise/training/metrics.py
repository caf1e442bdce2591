"""Metrics: how good outputs are in numbers that people read, beside the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.training.arguments import describe
from gatewise.training.loss_inputs import (
    Weights,
    as_classes,
    as_float,
    as_mask,
    as_real,
    as_weight,
    last_steps,
)

Array = NDArray[Any]

__all__ = [
    "Metric",
    "MetricLike",
    "Sums",
    "accuracy",
    "as_metrics",
    "f1_score",
    "mean_absolute_error",
    "r2_score",
    "root_mean_squared_error",
]


class Sums(Protocol):
    """What a metric adds up: see `Metric`."""

    def __call__(
        self, outputs: Array, targets: Array, weight: NDArray[np.float64], /
    ) -> ArrayLike:
        """Return the sums of one batch, a list of numbers that is always as long."""


class Metric:
    """A metric that is right whatever the batches are: a function of sums over all of them.

    The mean of the F1 scores of batches is no F1 score; their sums of hits and misses make
    one. So a metric says what to add up, and what the number is in the end.

    Parameters
    ----------
    name : str
        What the history calls it.
    sums : callable
        ``sums(outputs, targets, weight)`` returns a list of numbers, always as many. It is
        given rows, one for each position that counts: with `classes` outputs
        ``(n, classes)`` and integers ``(n,)``, or scores ``(n,)`` of which those above 0
        mean 1; otherwise outputs and targets ``(n,)``, one for each value. `weight` is
        ``(n,)``.
    value : callable
        ``value(sums)`` makes the number of the sums of all batches.
    classes : bool, default False
        Whether targets are classes.
    greater_is_better : bool, default True

    Raises
    ------
    TypeError
        If `name` is no string, or `sums` or `value` no function.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.training import Metric
    >>> bias = Metric(
    ...     "bias",
    ...     lambda outputs, targets, weight: [weight @ (outputs - targets), weight.sum()],
    ...     lambda sums: sums[0] / sums[1],
    ... )
    >>> bias(np.array([1.0, 2.0, 6.0]), np.array([1, 2, 3]))
    1.0
    """

    def __init__(
        self,
        name: str,
        sums: Sums,
        value: Callable[[NDArray[np.float64]], float],
        *,
        classes: bool = False,
        greater_is_better: bool = True,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name should be a string, got {describe(name)}")
        for argument, function in {"sums": sums, "value": value}.items():
            if not callable(function):
                raise TypeError(
                    f"{argument} should be a function, got {describe(function)}"
                )
        self.__name__ = name
        self.greater_is_better = bool(greater_is_better)
        self._sums = sums
        self._value = value
        self._classes = bool(classes)

    def __call__(
        self,
        outputs: ArrayLike,
        targets: ArrayLike,
        *,
        mask: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the metric of these outputs.

        Parameters
        ----------
        outputs : array_like of float32 or float64
        targets : array_like
        mask, sample_weight : array_like, optional
            As for `cross_entropy`, or as for `mse`.

        Raises
        ------
        TypeError
            If `outputs` are not float32 or float64, `targets` are not what they should be,
            `mask` is not bool, or weights are no real numbers.
        ValueError
            If a shape does not fit, a target is no class, or a weight is negative or not
            finite.
        """
        return self.value(self.sums(outputs, targets, mask, sample_weight))

    def sums(
        self,
        outputs: ArrayLike,
        targets: ArrayLike,
        mask: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Return the sums of one batch, which those of others can be added to.

        Raises
        ------
        TypeError
            As for a call, or if the function returns no numbers.
        ValueError
            As for a call.
        """
        outputs = as_float("outputs", outputs)
        rows = _class_rows if self._classes else _value_rows
        with np.errstate(all="ignore"):
            found = self._sums(*rows(outputs, targets, mask, sample_weight))
        try:
            sums = np.asarray(found)
        except ValueError:
            sums = np.asarray(None)
        if sums.dtype.kind not in "fiub":
            raise TypeError(
                f"the sums of the metric {self.__name__} should be a list of numbers, "
                f"got {describe(found)}"
            )
        return sums.astype(np.float64).reshape(-1)

    def value(self, sums: ArrayLike) -> float:
        """Return what sums come to; NaN where they are of nothing.

        Raises
        ------
        TypeError
            If the function returns no number.
        ValueError
            If they are not as many as this metric has.
        """
        with np.errstate(all="ignore"):
            found: Any = self._value(np.asarray(sums, np.float64))
        try:
            return float(found)
        except (TypeError, ValueError):
            raise TypeError(
                f"the value of the metric {self.__name__} should be a number, "
                f"got {describe(found)}"
            ) from None

    def __repr__(self) -> str:
        return f"<metric {self.__name__}>"


# A function is averaged over batches, each counting as many times as it has examples.
MetricLike = Metric | Callable[..., Any]


def as_metrics(metrics: Sequence[MetricLike]) -> dict[str, MetricLike]:
    """Return metrics by name, or refuse what is none.

    Raises
    ------
    TypeError
        If they are no sequence of functions and metrics.
    ValueError
        If two have the same name, or one that the history needs.
    """
    if callable(metrics) or isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise TypeError(
            "metrics should be a list of metrics such as gatewise.accuracy, "
            f"got {describe(metrics)}"
        )
    found: dict[str, MetricLike] = {}
    for index, metric in enumerate(metrics):
        if not callable(metric) or isinstance(metric, type):
            raise TypeError(
                f"metrics[{index}] should be a metric such as gatewise.accuracy, or a "
                f"function of outputs and targets, got {describe(metric)}"
            )
        name = _name(metric)
        shown = name.removeprefix("validation_")
        if name in found or shown in ("epoch", "loss", "learning_rate"):
            raise ValueError(
                f"metrics[{index}] should have a name that is not taken, got {name!r}"
            )
        found[name] = metric
    return found


def _name(metric: Any) -> str:
    if hasattr(metric, "func"):
        # A functools.partial.
        return _name(metric.func)
    return str(getattr(metric, "__name__", type(metric).__name__))


def _class_rows(
    outputs: Array,
    targets: ArrayLike,
    mask: ArrayLike | None,
    sample_weight: ArrayLike | None,
) -> tuple[Array, Array, Weights]:
    """What counts of scores and classes: rows, classes and weights."""
    given = np.asarray(targets)
    if given.shape == outputs.shape and outputs.ndim:
        return _value_rows(outputs, given, mask, sample_weight)
    if outputs.ndim == 0:
        raise ValueError("outputs should have shape (..., classes), got ()")
    classes = as_classes(given, outputs.shape, "outputs")
    weight = np.ones(classes.shape)
    if sample_weight is not None:
        weight = np.array(as_weight(sample_weight, classes.shape))
    counts = classes >= 0
    if classes.shape == outputs.shape[:-1]:
        if mask is not None:
            counts = counts & as_mask(mask, classes.shape)
    else:
        last, there = last_steps(outputs.shape, mask)
        counts = counts & there
        if not outputs.size:
            outputs = np.zeros((*classes.shape, outputs.shape[-1]), outputs.dtype)
        else:
            outputs = np.take_along_axis(outputs, last[..., None, None], -2)[..., 0, :]
    chosen = classes[counts]
    if chosen.size and chosen.max() >= outputs.shape[-1] > 1:
        raise ValueError(
            f"targets should lie in 0..{outputs.shape[-1] - 1}, got {chosen.max()}"
        )
    rows = outputs[counts]
    if rows.shape[-1] == 1:
        rows = rows[:, 0]
    return rows, chosen, weight[counts]


def _value_rows(
    outputs: Array,
    targets: ArrayLike,
    mask: ArrayLike | None,
    sample_weight: ArrayLike | None,
) -> tuple[Array, Array, Weights]:
    """What counts of numbers: outputs, targets and weights, one for each value."""
    wanted = as_real("targets", targets, outputs.shape, "outputs")
    weight = np.ones(outputs.shape)
    if sample_weight is not None:
        weight = np.array(as_weight(sample_weight, outputs.shape))
    if mask is not None:
        counts = as_mask(mask, outputs.shape[: np.ndim(mask)])
        return (
            outputs[counts].reshape(-1),
            wanted[counts].reshape(-1),
            weight[counts].reshape(-1),
        )
    return outputs.reshape(-1), wanted.reshape(-1), weight.reshape(-1)


def _predicted(outputs: Array) -> Array:
    """The classes that scores say: the largest, or those above 0 where they are alone."""
    return outputs > 0 if outputs.ndim == 1 else outputs.argmax(axis=-1)


def _hits(outputs: Array, targets: Array, weight: Array) -> list[float]:
    return [weight @ (_predicted(outputs) == targets), weight.sum()]


def _by_class(outputs: Array, targets: Array, weight: Array) -> Array:
    """For each class the true, the predicted and the right ones."""
    classes = 2 if outputs.ndim == 1 else outputs.shape[-1]
    found, wanted = _predicted(outputs).astype(np.intp), targets.astype(np.intp)
    right = found == wanted
    counted = [
        np.bincount(wanted, weight, classes),
        np.bincount(found, weight, classes),
        np.bincount(wanted[right], weight[right], classes),
    ]
    return np.stack(counted)


def _macro_f1(sums: Array) -> float:
    wanted, found, right = sums.reshape(3, -1)
    # Of the classes that there are, in targets or in predictions.
    there = wanted + found > 0
    return (
        float((2 * right[there] / (wanted + found)[there]).mean()) if there.any() else 0.0
    )


def _errors(outputs: Array, targets: Array, weight: Array) -> list[float]:
    error = outputs.astype(np.float64) - targets
    return [weight @ np.abs(error), weight @ (error * error), weight.sum()]


def _errors_and_spread(outputs: Array, targets: Array, weight: Array) -> list[float]:
    wanted = targets.astype(np.float64)
    error = outputs - wanted
    return [
        weight @ (error * error),
        weight @ (wanted * wanted),
        weight @ wanted,
        weight.sum(),
    ]


def _r2(sums: Array) -> float:
    squares, wanted_squares, wanted, count = sums
    return float(1 - squares / (wanted_squares - wanted * wanted / count))


def _mean(sums: Array) -> float:
    return float(sums[0] / sums[-1])


def _root_mean(sums: Array) -> float:
    return float(np.sqrt(sums[1] / sums[-1]))


accuracy = Metric("accuracy", _hits, _mean, classes=True)
accuracy.__doc__ = """The share of targets that the largest score says.

Of scores alone, as for `binary_cross_entropy`, those above 0 say 1. Targets below 0, which
`cross_entropy` ignores, do not count. Like a loss it takes ``mask=`` and
``sample_weight=``, and a single label for each sequence.

Examples
--------
>>> import numpy as np
>>> import gatewise
>>> gatewise.accuracy(np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), [1, 0, 0])
0.6666666666666666
"""
f1_score = Metric("f1_score", _by_class, _macro_f1, classes=True)
f1_score.__doc__ = """The mean over all classes of their F1 scores.

Scores and targets are those of `accuracy`. Classes that neither are nor are predicted do
not count.
"""
mean_absolute_error = Metric(
    "mean_absolute_error",
    _errors,
    _mean,
    greater_is_better=False,
)
mean_absolute_error.__doc__ = """The mean distance of outputs from targets."""
root_mean_squared_error = Metric(
    "root_mean_squared_error",
    _errors,
    _root_mean,
    greater_is_better=False,
)
root_mean_squared_error.__doc__ = """The root of the mean squared error."""
r2_score = Metric("r2_score", _errors_and_spread, _r2)
r2_score.__doc__ = (
    """The share of the targets' variance that outputs explain, over all values."""
)
