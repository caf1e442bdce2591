"""What a model makes of one batch: outputs, the loss, metrics, and what of it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, SupportsFloat

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.layers import Feedforward, Stateful
from gatewise.training.arguments import as_number, describe
from gatewise.training.batches import Batch, Batches, as_batch
from gatewise.training.loss_inputs import as_weight
from gatewise.training.metrics import Metric, MetricLike

Array = NDArray[Any]
Model = Feedforward | Stateful
ClassWeight = Mapping[int, float]

__all__ = [
    "ClassWeight",
    "Loss",
    "MaskedLoss",
    "Model",
    "Totals",
    "as_class_weight",
    "cause",
    "check_loss",
    "check_model",
    "example_axes",
    "infer",
    "loss_of",
    "measure",
    "options_of",
    "train_forward",
]


class MaskedLoss(Protocol):
    """A loss for sequences of unequal length, which is always given a mask."""

    def __call__(
        self, outputs: Any, targets: Any, /, *, mask: Any
    ) -> tuple[SupportsFloat, ArrayLike]:
        """Return the value and the gradient; `mask` is False where nothing counts."""


Loss = Callable[[Any, Any], tuple[SupportsFloat, ArrayLike]] | MaskedLoss


def check_model(model: object) -> None:
    """Raise TypeError unless `model` is a layer."""
    if not isinstance(model, Feedforward | Stateful):
        raise TypeError(f"model should be a layer, got {describe(model)}")


def example_axes(model: Model, x: Array) -> int:
    """How many axes an example in `x` has at least, after that of the examples."""
    if not model._time_axis()[0]:
        return 0
    takes_tokens = model._features()[0] == 0 or (
        x.dtype.kind in "iu"
        and any(getattr(leaf, "tokens", False) for _, leaf in model._leaves())
    )
    return 1 if takes_tokens else 2


def check_loss(loss: object) -> None:
    """Raise TypeError unless `loss` is a function."""
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(
            "loss should be a function of outputs and targets, such as gatewise.mse, "
            f"got {describe(loss)}"
        )


def as_class_weight(class_weight: object) -> ClassWeight | None:
    """Return how much targets of each class count, by class."""
    if class_weight is None:
        return None
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            "class_weight should map classes to numbers, such as {0: 1.0, 1: 5.0}, "
            f"got {describe(class_weight)}"
        )
    for name in class_weight:
        if isinstance(name, bool | np.bool_) or not isinstance(name, int | np.integer):
            raise TypeError(
                f"class_weight should have integers as classes, got {describe(name)}"
            )
    return {
        int(name): as_number(f"class_weight[{name}]", weight)
        for name, weight in class_weight.items()
    }


def train_forward(
    model: Model, batch: Batch
) -> tuple[Array, Callable[[ArrayLike], dict[str, Array]]]:
    """The outputs, and a function from their gradient to those of the parameters."""
    if isinstance(model, Stateful):
        outputs, _, recorded = model.forward(batch.x, lengths=batch.lengths)
        return outputs, lambda gradient: model.backward(recorded, gradient)[2]
    _check_lengths(model, batch)
    outputs, tape = model._forward_ragged(model._snapshot(), batch.x, batch.lengths, None)
    return outputs, lambda gradient: model.backward(tape, gradient)[1]


def infer(model: Model, batch: Batch) -> Array:
    """The outputs, as at inference."""
    if isinstance(model, Stateful):
        outputs: Array = model(batch.x, lengths=batch.lengths)[0]
        return outputs
    _check_lengths(model, batch)
    return model._call_ragged(model._snapshot(), batch.x, batch.lengths, None)


def _check_lengths(model: Feedforward, batch: Batch) -> None:
    if batch.lengths is not None and not model._time_axis()[0]:
        raise ValueError(
            f"lengths should be None for a {type(model).__name__}, "
            f"got {describe(batch.lengths)}"
        )


def options_of(
    model: Model, batch: Batch, outputs: Array, class_weight: ClassWeight | None = None
) -> dict[str, Any]:
    """What says how much of the outputs counts, as losses and metrics are given it.

    That is nothing where all of it does, so that they need not know of it.
    """
    options: dict[str, Any] = {}
    lengths = batch.lengths
    if lengths is not None:
        lengths = model._lengths_after(np.asarray(lengths))
    # None after a layer that makes one vector of each sequence.
    if lengths is not None:
        options["mask"] = counted(lengths, outputs.shape[1])
    weight = batch.sample_weight
    if class_weight is not None:
        targets = np.asarray(batch.targets)
        if targets.dtype.kind not in "iub":
            raise TypeError(
                "class_weight should be None for targets that are no classes, got targets "
                f"of {targets.dtype}"
            )
        by_class = np.ones(targets.shape)
        for name, factor in class_weight.items():
            by_class[targets == name] = factor
        weight = by_class if weight is None else by_class * as_weight(weight, targets.shape)
    if weight is not None:
        options["sample_weight"] = weight
    return options


def loss_of(
    loss: Any, outputs: Array, targets: Any, options: Mapping[str, Any]
) -> tuple[float, ArrayLike]:
    """The loss and its gradient."""
    found = loss(outputs, targets, **options)
    try:
        value, gradient = found
        return float(value), gradient
    except (TypeError, ValueError):
        raise TypeError(
            "loss should return its value and its gradient by the outputs, "
            f"got {describe(found)}"
        ) from None


class Totals:
    """Metrics summed over batches."""

    def __init__(self, metrics: Mapping[str, MetricLike]) -> None:
        self._metrics = metrics
        self.sums: dict[str, NDArray[np.float64]] = {}

    def add(self, outputs: Array, batch: Batch, options: Mapping[str, Any]) -> None:
        """Add what one batch comes to."""
        for name, metric in self._metrics.items():
            if isinstance(metric, Metric):
                mask, weight = options.get("mask"), options.get("sample_weight")
                found = metric.sums(outputs, batch.targets, mask, weight)
            else:
                value = metric(outputs, batch.targets, **options)
                try:
                    size = len(batch.x)
                    found = np.array([float(value) * size, size], np.float64)
                except (TypeError, ValueError):
                    raise TypeError(
                        f"the metric {name} should return a number, got {describe(value)}"
                    ) from None
            before = self.sums.get(name)
            if before is not None and before.shape != found.shape:
                raise ValueError(
                    f"the sums of the metric {name} should be as many as before, "
                    f"{before.size}, got {found.size}"
                )
            self.sums[name] = found if before is None else before + found

    def values(self) -> dict[str, float]:
        """Return what the sums come to, by name."""
        found = {}
        for name, metric in self._metrics.items():
            if name in self.sums:
                sums = self.sums[name]
                if isinstance(metric, Metric):
                    found[name] = metric.value(sums)
                else:
                    found[name] = float(sums[0] / sums[1])
        return found


def measure(
    model: Model,
    batches: Batches,
    loss: Loss | None,
    metrics: Mapping[str, MetricLike],
    name: str,
) -> tuple[float | None, dict[str, float]]:
    """The mean loss and the metrics over batches, as at inference."""
    total, examples, totals = 0.0, 0, Totals(metrics)
    for index in range(len(batches)):
        batch = as_batch(f"{name}[{index}]", batches[index])
        size = len(batch.x)
        if size:
            outputs = infer(model, batch)
            options = options_of(model, batch, outputs)
            if loss is not None:
                total += loss_of(loss, outputs, batch.targets, options)[0] * size
            totals.add(outputs, batch, options)
            examples += size
    if not examples:
        raise ValueError(f"{name} should have examples, got none")
    return None if loss is None else total / examples, totals.values()


def counted(lengths: Any, time: int) -> NDArray[np.bool_]:
    """Which of so many steps exist."""
    return np.arange(time) < np.asarray(lengths)[:, None]


def cause(model: Model, batch: Batch) -> str:
    """Why a loss may not be finite: the data, or else the parameters."""
    for name in ("x", "targets"):
        array = np.asarray(getattr(batch, name))
        wrong: NDArray[np.bool_] = np.zeros(0, bool)
        if array.dtype.kind == "f":
            wrong = ~np.isfinite(array)
        steps = np.shape(batch.x)[1:2]
        if batch.lengths is not None and wrong.shape[1:2] == steps:
            # What stands past a length is never read.
            wrong[~counted(batch.lengths, wrong.shape[1])] = False
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            return f"{name} holds {array[place]} at {place}"
    for name, parameter in model.parameters().items():
        if not np.isfinite(parameter).all():
            return f"the parameter {name} is not finite: a lower learning rate may help"
    return "x, targets and the parameters are finite: a lower learning rate may help"
