"""Where a fit stands: one step after another, and all that is needed to go on."""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol, SupportsFloat

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.formats.containers import Header
from gatewise.formats.fields import Fields
from gatewise.kernels import computing
from gatewise.layers import Feedforward, Stateful
from gatewise.training import random_states
from gatewise.training.arguments import describe
from gatewise.training.batches import Batch, Batches, Minibatches, as_batch
from gatewise.training.checkpoint import join_groups, open_checkpoint, save_checkpoint
from gatewise.training.clipping import clip_grad_norm
from gatewise.training.optimizers import Optimizer

Array = NDArray[Any]
Model = Feedforward | Stateful

__all__ = ["Epoch", "Loss", "MaskedLoss", "Model", "Run"]

_KIND = "fit checkpoint"
_MIX = "seed of minibatches"


class MaskedLoss(Protocol):
    """A loss for sequences of unequal length, which is always given a mask."""

    def __call__(
        self, outputs: Any, targets: Any, /, *, mask: Any
    ) -> tuple[SupportsFloat, ArrayLike]:
        """Return the value and the gradient; `mask` is False where nothing counts."""


Loss = Callable[[Any, Any], tuple[SupportsFloat, ArrayLike]] | MaskedLoss


@dataclass(frozen=True)
class Epoch:
    """The mean losses of one epoch; `validation_loss` is None without validation."""

    number: int
    loss: float
    validation_loss: float | None = None


class Run:
    """A fit between two of its steps."""

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        loss: Loss,
        batches: Batches,
        seed: int | None,
        max_norm: float | None,
        compute: str | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.loss: Any = loss
        self.batches = batches
        self.size = len(batches)
        self.seed = seed
        self.max_norm = max_norm
        self.compute = compute
        self.epochs: list[Epoch] = []
        # Of the present epoch: how many batches are done, and the losses and sizes summed.
        self.position = 0
        self.total = 0.0
        self.examples = 0
        self.best: dict[str, Array] = {}
        self.best_loss = math.inf
        self.best_epoch = 0

    def share_done(self, epochs: int) -> float:
        """Return which share of so many epochs is done."""
        done = len(self.epochs) + self.position / self.size
        return done / max(epochs, 1)

    def describe(self) -> str:
        """Return in brief how it goes."""
        text = f"epoch {len(self.epochs) + 1}"
        if self.examples:
            text += f", loss {self.total / self.examples:.4g}"
        if self.epochs and self.epochs[-1].validation_loss is not None:
            text += f", validation {self.epochs[-1].validation_loss:.4g}"
        return text

    def remaining(self) -> Iterator[Batch]:
        """The batches of this epoch that are still to come."""
        batches, number = self.batches, len(self.epochs) + 1
        if hasattr(batches, "for_epoch"):
            batches = batches.for_epoch(number)
            if len(batches) != self.size:
                raise ValueError(
                    f"batches.for_epoch({number}) should give {self.size} batches, "
                    f"got {len(batches)}"
                )
        order = np.arange(self.size)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, number - 1]).permutation(order)
        for index in order[self.position :].tolist():
            yield as_batch(f"batches[{index}]", batches[index])

    def train_on(self, batch: Batch) -> None:
        """Make one step, unless the batch has no examples."""
        size = len(batch.x)
        if size:
            with computing.using(self.compute):
                outputs, backward = _forward(self.model, batch)
            value, gradient = _measure(self.loss, outputs, batch)
            if not math.isfinite(value):
                raise ValueError(
                    f"the loss is {value} at batch {self.position} of epoch "
                    f"{len(self.epochs) + 1}; {_cause(self.model, batch)}"
                )
            gradients = backward(gradient)
            if self.max_norm is not None:
                clip_grad_norm(gradients, self.max_norm)
            self.optimizer.step(self.model, gradients)
            self.total += value * size
            self.examples += size
        self.position += 1

    def end_epoch(self, validation: Batches | None) -> None:
        """Measure on `validation`, and remember the parameters if they are the best."""
        number = len(self.epochs) + 1
        if not self.examples:
            raise ValueError(f"batches should have examples, got none in epoch {number}")
        validation_loss = None
        if validation is not None:
            validation_loss = _validate(self.model, self.loss, validation)
        self.epochs.append(Epoch(number, self.total / self.examples, validation_loss))
        self.position, self.total, self.examples = 0, 0.0, 0
        if validation_loss is not None and validation_loss < self.best_loss:
            self.best = self.model.state_dict()
            self.best_loss, self.best_epoch = validation_loss, number

    def out_of_patience(self, patience: int | None) -> bool:
        """Whether the last so many epochs were no better than one before."""
        return patience is not None and len(self.epochs) - self.best_epoch >= patience

    def keep_best(self) -> None:
        """Give the model the best parameters, if any were measured."""
        if self.best:
            self.model.load_state_dict(self.best)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that `load` needs, whole or not at all."""
        groups = {
            "weights": self.model.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
        }
        metadata = self._settings() | {
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "position": self.position,
            "total": self.total,
            "examples": self.examples,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "random": random_states.states(self.model),
        }
        save_checkpoint(
            path,
            _KIND,
            join_groups(groups),
            metadata,
            model=self.model,
            group="best" if self.best else "weights",
        )

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint; where it does not fit, nothing is changed."""
        with open_checkpoint(path, _KIND, "does not fit this training") as checkpoint:
            self._check_same(checkpoint.metadata)
            said = Fields(checkpoint.metadata, "metadata")
            epochs = [
                _epoch(number, entry)
                for number, entry in enumerate(said.dictionaries("epochs"), 1)
            ]
            position = said.integer("position", lowest=0, highest=self.size)
            total = said.number("total")
            examples = said.integer("examples", lowest=0)
            best_loss = said.number("best_loss", lowest=-math.inf, finite=False)
            best_epoch = said.integer("best_epoch", lowest=0, highest=len(epochs))
            random = said.dictionaries("random")
            random_states.check_states(self.model, random)

            own = {
                name: Header(array.dtype, array.shape)
                for name, array in self.model.parameters().items()
            }
            checkpoint.check_groups("weights", "best", "optimizer")
            checkpoint.check_group("weights", own)
            checkpoint.check_group("best", own if best_epoch else {})
            self.optimizer.check_state(checkpoint.group("optimizer"), own)

            weights, best = checkpoint.read_group("weights"), checkpoint.read_group("best")
            self.optimizer.load_state_dict(checkpoint.read_group("optimizer"))
        self.model.load_state_dict(weights)
        random_states.load_states(self.model, random)
        self.epochs, self.position = epochs, position
        self.total, self.examples = total, examples
        self.best, self.best_loss, self.best_epoch = best, best_loss, best_epoch

    def _settings(self) -> dict[str, Any]:
        settings = {
            "optimizer": type(self.optimizer).__name__,
            "batches": self.size,
            "seed": self.seed,
        }
        if isinstance(self.batches, Minibatches):
            settings[_MIX] = self.batches.seed
        return settings

    def _check_same(self, metadata: dict[str, Any]) -> None:
        for name, value in self._settings().items():
            if name in metadata and metadata[name] != value:
                found = metadata[name]
                said = found if isinstance(found, str) else reprlib.repr(found)
                raise ValueError(f"{name} should be {said}, got {value}")
            # Older files do not say how examples were mixed.
            if name not in metadata and name != _MIX:
                raise ValueError(f"{name} is missing")


def _epoch(number: int, entry: dict[str, Any]) -> Epoch:
    said = Fields(entry, f"epochs[{number - 1}]")
    validation = (
        said.number("validation_loss", finite=False)
        if said.has("validation_loss")
        else None
    )
    return Epoch(
        said.integer("number", lowest=number, highest=number),
        said.number("loss"),
        validation,
    )


def _validate(model: Model, loss: Any, batches: Batches) -> float:
    total, examples = 0.0, 0
    for index in range(len(batches)):
        batch = as_batch(f"validation[{index}]", batches[index])
        size = len(batch.x)
        if size:
            outputs = (
                model(batch.x, lengths=batch.lengths)[0]
                if isinstance(model, Stateful)
                else model(batch.x)
            )
            total += _measure(loss, outputs, batch)[0] * size
            examples += size
    if not examples:
        raise ValueError("validation should have examples, got none")
    return total / examples


def _forward(
    model: Model, batch: Batch
) -> tuple[Array, Callable[[ArrayLike], dict[str, Array]]]:
    """The outputs, and a function from their gradient to those of the parameters."""
    if isinstance(model, Stateful):
        outputs, _, recorded = model.forward(batch.x, lengths=batch.lengths)
        return outputs, lambda gradient: model.backward(recorded, gradient)[2]
    if batch.lengths is not None:
        raise ValueError(
            f"lengths should be None for a {type(model).__name__}, "
            f"got {describe(batch.lengths)}"
        )
    outputs, tape = model.forward(batch.x)
    return outputs, lambda gradient: model.backward(tape, gradient)[1]


def _measure(loss: Any, outputs: Array, batch: Batch) -> tuple[float, ArrayLike]:
    """The loss and its gradient, of the positions that count where there are lengths."""
    mask = {}
    if batch.lengths is not None:
        mask["mask"] = _counted(batch.lengths, outputs.shape[1])
    found = loss(outputs, batch.targets, **mask)
    try:
        value, gradient = found
        return float(value), gradient
    except (TypeError, ValueError):
        raise TypeError(
            "loss should return its value and its gradient by the outputs, "
            f"got {describe(found)}"
        ) from None


def _counted(lengths: Any, time: int) -> NDArray[np.bool_]:
    return np.arange(time) < np.asarray(lengths)[:, None]


def _cause(model: Model, batch: Batch) -> str:
    """Why a loss may not be finite: the data, or else the parameters."""
    for name in ("x", "targets"):
        array = np.asarray(getattr(batch, name))
        wrong: NDArray[np.bool_] = np.zeros(0, bool)
        if array.dtype.kind == "f":
            wrong = ~np.isfinite(array)
        if batch.lengths is not None and wrong.ndim > 1:
            # What stands past a length is never read.
            wrong[~_counted(batch.lengths, wrong.shape[1])] = False
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            return f"{name} holds {array[place]} at {place}"
    for name, parameter in model.parameters().items():
        if not np.isfinite(parameter).all():
            return f"the parameter {name} is not finite: a lower learning rate may help"
    return "x, targets and the parameters are finite: a lower learning rate may help"
