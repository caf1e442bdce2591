"""The fit loop: epochs over batches, validation, early stopping, checkpoints."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gatewise.layers import Feedforward, Sequential, Stateful
from gatewise.training.checkpoint import (
    CheckpointError,
    check_writable,
    join_groups,
    load_checkpoint,
    save_checkpoint,
    take_group,
)
from gatewise.training.optimizers import Optimizer, clip_grad_norm
from gatewise.training.progress import Progress

Array = NDArray[Any]
Model = Feedforward | Stateful
Batch = tuple[Any, ...]

__all__ = ["Epoch", "fit", "minibatches"]

_KIND = "fit checkpoint"


class Loss(Protocol):
    """What `fit` asks of a loss: its value and its gradient by the model's outputs."""

    def __call__(self, outputs: Any, targets: Any, **mask: Any) -> tuple[float, Array]:
        """Return both; `mask` is there where a batch has lengths."""


@dataclass(frozen=True)
class Epoch:
    """The mean losses of one epoch; `validation_loss` is None without validation."""

    number: int
    loss: float
    validation_loss: float | None = None


def minibatches(*arrays: Array, batch_size: int = 32) -> list[tuple[Array, ...]]:
    """Cut arrays along their first axis into batches for `fit`; the last may be smaller.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.training import minibatches
    >>> x, y = np.ones((5, 2)), np.ones(5)
    >>> [(len(a), len(b)) for a, b in minibatches(x, y, batch_size=3)]
    [(3, 3), (2, 2)]
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    sizes = [len(array) for array in arrays]
    if len(set(sizes)) != 1:
        raise ValueError(f"arrays must be of one length, got {sizes}")
    return [
        tuple(array[start : start + batch_size] for array in arrays)
        for start in range(0, sizes[0], batch_size)
    ]


def fit(
    model: Model,
    batches: Sequence[Batch],
    loss: Loss,
    optimizer: Optimizer,
    *,
    epochs: int,
    validation: Sequence[Batch] | None = None,
    patience: int | None = None,
    max_norm: float | None = None,
    seed: int | None = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_interval: float = 30.0,
    resume: bool = False,
    progress: bool = True,
    after_epoch: Callable[[Epoch], object] | None = None,
) -> list[Epoch]:
    """Train `model` in place and return what every epoch came to.

    Parameters
    ----------
    model : layer
        Any layer of this package; a `Sequential` as a rule.
    batches : sequence
        Each is ``(x, targets)``, or ``(x, targets, lengths)`` for sequences of unequal
        length. It is asked for ``len(batches)`` and ``batches[i]``, so what is too large
        for memory can be made when asked for.
    loss : callable
        ``loss(outputs, targets)`` returns the loss and its gradient, as
        `softmax_cross_entropy` and `mse` do. With lengths it is also given ``mask=``, which
        is False past the end of a sequence.
    optimizer : Optimizer
    epochs : int
        In total, those before `resume` included.
    validation : sequence, optional
        Batches to measure on after every epoch.
    patience : int, optional
        Stop after so many epochs without a better loss on `validation`.
    max_norm : float, optional
        Clip the joint norm of the gradients to this.
    seed : int or None, default 0
        Decides the order of the batches, another one in every epoch; None keeps it.
    checkpoint : path, optional
        A file for all that is needed to go on, written every `checkpoint_interval` seconds
        and after the last epoch. A kill at any moment loses what came after the last write.
    checkpoint_interval : float, default 30.0
    resume : bool, default False
        Go on from `checkpoint` where that file exists, to the same end that an
        uninterrupted run would have come to.
    progress : bool, default True
        Show progress on stderr.
    after_epoch : callable, optional
        Called with every `Epoch`.

    Returns
    -------
    list of Epoch
        With `validation`, the model has the parameters of the best of them.

    Examples
    --------
    >>> import numpy as np
    >>> import gatewise
    >>> x = np.random.default_rng(0).standard_normal((64, 10, 1)).astype("float32")
    >>> model = gatewise.Sequential(gatewise.GRU(1, 8, seed=0), gatewise.Linear(8, 1))
    >>> epochs = gatewise.fit(
    ...     model,
    ...     gatewise.training.minibatches(x, np.cumsum(x, axis=1), batch_size=16),
    ...     gatewise.mse,
    ...     gatewise.Adam(0.01),
    ...     epochs=20,
    ...     progress=False,
    ... )
    >>> epochs[-1].loss < 0.5 * epochs[0].loss
    True
    """
    if epochs < 0:
        raise ValueError(f"epochs must be at least 0, got {epochs}")
    if len(batches) == 0:
        raise ValueError("batches must hold at least one batch, got none")
    if patience is not None and (patience < 1 or validation is None):
        raise ValueError(
            f"patience must be at least 1 and needs validation, got {patience}"
            f"{'' if validation is not None else ' without validation'}"
        )
    if resume and checkpoint is None:
        raise ValueError("resume needs a checkpoint to resume from, got None")
    run = _Run(model, optimizer, len(batches), seed)
    if checkpoint is not None:
        check_writable(checkpoint)
        if resume and Path(checkpoint).exists():
            run.load(checkpoint)
    due = time.monotonic() + checkpoint_interval
    with Progress(run.share_done(epochs), shown=progress) as shown:
        while len(run.epochs) < epochs and not run.out_of_patience(patience):
            for index in run.remaining():
                run.train_on(batches[index], loss, max_norm)
                if checkpoint is not None and time.monotonic() >= due:
                    run.save(checkpoint)
                    due = time.monotonic() + checkpoint_interval
                shown.update(run.share_done(epochs), run.describe())
            run.end_epoch(
                None if validation is None else _validate(model, validation, loss)
            )
            if after_epoch is not None:
                after_epoch(run.epochs[-1])
    if checkpoint is not None:
        run.save(checkpoint)
    run.keep_best()
    return run.epochs


class _Run:
    """Where a fit stands, with all that decides how it goes on."""

    def __init__(
        self, model: Model, optimizer: Optimizer, batches: int, seed: int | None
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.batches = batches
        self.seed = seed
        self.epochs: list[Epoch] = []
        # Of the present epoch: how many batches are done, and the losses and sizes summed.
        self.position = 0
        self.total = 0.0
        self.examples = 0
        self.weights = model.state_dict()
        self.best: dict[str, Array] = {}
        self.best_loss = math.inf
        self.best_epoch = 0

    def share_done(self, epochs: int) -> float:
        done = len(self.epochs) + self.position / self.batches
        return done / max(epochs, 1)

    def describe(self) -> str:
        text = f"epoch {len(self.epochs) + 1}, loss {self.total / self.examples:.4g}"
        if self.epochs and self.epochs[-1].validation_loss is not None:
            text += f", validation {self.epochs[-1].validation_loss:.4g}"
        return text

    def remaining(self) -> Iterator[int]:
        """The batches of this epoch that are still to come."""
        order = np.arange(self.batches)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, len(self.epochs)]).permutation(order)
        yield from (int(index) for index in order[self.position :])

    def train_on(self, batch: Batch, loss: Loss, max_norm: float | None) -> None:
        x, targets, lengths = _parts(batch)
        outputs, backward = _forward(self.model, x, lengths)
        value, gradient = loss(outputs, targets, **_mask(outputs, lengths))
        if not math.isfinite(value):
            raise ValueError(
                f"the loss is {value} at batch {self.position} of epoch "
                f"{len(self.epochs) + 1}; a lower learning rate may help"
            )
        gradients = backward(gradient)
        if max_norm is not None:
            clip_grad_norm(gradients, max_norm)
        self.optimizer.step(self.weights, gradients)
        self.model.set_parameters(self.weights)
        self.position += 1
        self.total += value * len(x)
        self.examples += len(x)

    def end_epoch(self, validation_loss: float | None) -> None:
        number = len(self.epochs) + 1
        self.epochs.append(Epoch(number, self.total / self.examples, validation_loss))
        self.position, self.total, self.examples = 0, 0.0, 0
        if validation_loss is not None and validation_loss < self.best_loss:
            self.best = {name: array.copy() for name, array in self.weights.items()}
            self.best_loss, self.best_epoch = validation_loss, number

    def out_of_patience(self, patience: int | None) -> bool:
        return patience is not None and len(self.epochs) - self.best_epoch >= patience

    def keep_best(self) -> None:
        if self.best:
            self.model.load_state_dict(self.best)

    def save(self, path: str | os.PathLike[str]) -> None:
        groups = {
            "weights": self.weights,
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
        }
        metadata = {
            "optimizer": type(self.optimizer).__name__,
            "batches": self.batches,
            "seed": self.seed,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "position": self.position,
            "total": self.total,
            "examples": self.examples,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "random": [g.bit_generator.state for g in _generators(self.model)],
        }
        save_checkpoint(path, _KIND, join_groups(groups), metadata)

    def load(self, path: str | os.PathLike[str]) -> None:
        arrays, metadata = load_checkpoint(path, _KIND)
        try:
            self._check_same(metadata)
            weights = take_group("weights", arrays)
            self.model.load_state_dict(weights)
            self.optimizer.load_state_dict(take_group("optimizer", arrays))
            self.weights, self.best = weights, take_group("best", arrays)
            self.epochs = [Epoch(**epoch) for epoch in metadata["epochs"]]
            self.position = int(metadata["position"])
            self.total, self.examples = float(metadata["total"]), int(metadata["examples"])
            self.best_loss = float(metadata["best_loss"])
            self.best_epoch = int(metadata["best_epoch"])
            states = metadata["random"]
            for generator, state in zip(_generators(self.model), states, strict=True):
                generator.bit_generator.state = state
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: does not fit this training: {error}") from error

    def _check_same(self, metadata: Mapping[str, Any]) -> None:
        own = {
            "optimizer": type(self.optimizer).__name__,
            "batches": self.batches,
            "seed": self.seed,
        }
        for name, value in own.items():
            if metadata[name] != value:
                raise ValueError(f"{name} must be {metadata[name]}, got {value}")


def _validate(model: Model, batches: Sequence[Batch], loss: Loss) -> float:
    total, examples = 0.0, 0
    for index in range(len(batches)):
        x, targets, lengths = _parts(batches[index])
        outputs = model(x, lengths=lengths)[0] if isinstance(model, Stateful) else model(x)
        total += loss(outputs, targets, **_mask(outputs, lengths))[0] * len(x)
        examples += len(x)
    return total / max(examples, 1)


def _parts(batch: Batch) -> tuple[Any, Any, Any]:
    if len(batch) not in (2, 3):
        raise ValueError(
            f"a batch must be (x, targets) or (x, targets, lengths), got {len(batch)} parts"
        )
    return batch[0], batch[1], batch[2] if len(batch) == 3 else None


def _forward(
    model: Model, x: Any, lengths: Any
) -> tuple[Array, Callable[[Array], dict[str, Array]]]:
    """The outputs, and a function from their gradient to those of the parameters."""
    if isinstance(model, Stateful):
        outputs, _, tape = model.forward(x, lengths=lengths)
        return outputs, lambda gradient: model.backward(tape, gradient)[2]
    if lengths is not None:
        raise ValueError(
            f"a {type(model).__name__} takes no lengths, got a batch with some"
        )
    outputs, tape = model.forward(x)
    return outputs, lambda gradient: model.backward(tape, gradient)[1]


def _mask(outputs: Array, lengths: Any) -> dict[str, Array]:
    if lengths is None:
        return {}
    return {"mask": np.arange(outputs.shape[1]) < np.asarray(lengths)[:, None]}


def _generators(model: Any) -> Iterator[np.random.Generator]:
    """The sources of dropout and the like, whose state decides how training goes on."""
    if isinstance(model, Sequential):
        for layer in model.layers:
            yield from _generators(layer)
    elif hasattr(model, "generator"):
        yield model.generator
