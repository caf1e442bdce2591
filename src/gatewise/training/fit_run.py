"""Where a fit stands: one step after another, and all that is needed to go on."""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Header
from gatewise.formats.fields import Fields
from gatewise.kernels import computing
from gatewise.training import random_states
from gatewise.training.arguments import as_number
from gatewise.training.batches import Batch, Batches, Minibatches, as_batch
from gatewise.training.callbacks import Callback, Training
from gatewise.training.checkpoint import join_groups, open_checkpoint, save_checkpoint
from gatewise.training.clipping import clip_grad_norm
from gatewise.training.data_parallel import DataParallel
from gatewise.training.datasets import SequenceBatches
from gatewise.training.history import Epoch, History
from gatewise.training.measuring import (
    ClassWeight,
    Loss,
    Model,
    Totals,
    cause,
    loss_of,
    measure,
    options_of,
    train_forward,
)
from gatewise.training.metrics import MetricLike
from gatewise.training.optimizers import Optimizer
from gatewise.training.reading_epochs import read_epoch
from gatewise.training.schedules import Schedule

Array = NDArray[Any]

__all__ = ["Run", "Settings"]

_KIND = "fit checkpoint"
_MIX = "seed of minibatches"
# What older files do not say, each with what they had.
_SINCE: Mapping[str, Any] = {
    "metrics": [],
    "schedule": None,
    "callbacks": [],
    "compute": "float32",
}


class Settings(NamedTuple):
    """What a fit is told beside its model, optimizer, loss and batches."""

    epochs: int
    seed: int | None = 0
    max_norm: float | None = None
    metrics: Mapping[str, MetricLike] = {}
    class_weight: ClassWeight | None = None
    schedule: Schedule | None = None
    callbacks: Sequence[Callback] = ()
    compute: str | None = None


class Run(Training):
    """A fit between two of its steps."""

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        loss: Loss,
        batches: Batches,
        settings: Settings,
    ) -> None:
        self.model: Any = model
        self.optimizer = optimizer
        self.loss: Any = loss
        self.batches = batches
        self.size = len(batches)
        self.settings = settings
        self.seed = settings.seed
        self._history = History()
        # Of the present epoch: how many batches are done, and what they come to.
        self.position = 0
        self.total = 0.0
        self.examples = 0
        self.totals = Totals(settings.metrics)
        self.best: dict[str, Array] = {}
        self.best_loss = math.inf
        self.best_epoch = 0
        self._last_loss = math.nan
        self.is_paused = False
        # What the schedule multiplies, and the optimizer has again in the end.
        self._rate = optimizer.learning_rate

    @property
    def history(self) -> History:
        """The epochs that are done."""
        return self._history

    @property
    def last_loss(self) -> float:
        """The loss of the last batch."""
        return self._last_loss

    @property
    def step(self) -> int:
        """How many batches are done in all."""
        return len(self.history) * self.size + self.position

    def stop(self, reason: str) -> None:
        """End training, as if this was its last epoch."""
        self.history.stopped = str(reason)

    def pause(self, reason: str) -> None:
        """End training for now."""
        if self.history.stopped is None:
            self.history.stopped = str(reason)
            self.is_paused = True

    @property
    def is_over(self) -> bool:
        """Whether something has ended training, or all epochs are done."""
        return self.history.stopped is not None or len(self.history) >= self.settings.epochs

    def begin(self) -> None:
        """Let the schedule and the callbacks forget what they saw of another training."""
        if self.settings.schedule is not None:
            self.settings.schedule.reset()
        for callback in self.settings.callbacks:
            callback.on_train_begin(self)

    def end(self) -> None:
        """Give the optimizer its own learning rate back."""
        if self.settings.schedule is not None:
            self.optimizer.learning_rate = self._rate

    def share_done(self) -> float:
        """Return which share of all epochs is done."""
        return self._epochs_done() / max(self.settings.epochs, 1)

    def _epochs_done(self) -> float:
        return len(self.history) + self.position / self.size

    def describe(self) -> str:
        """Return in brief how it goes."""
        text = f"epoch {len(self.history) + 1}"
        if self.examples:
            text += f", loss {self.total / self.examples:.4g}"
        if self.history and self.history[-1].validation_loss is not None:
            text += f", validation {self.history[-1].validation_loss:.4g}"
        return text

    def remaining(self) -> Iterator[Batch]:
        """The batches of this epoch that are still to come."""
        batches, number = self.batches, len(self.history) + 1
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
            with computing.using(self.settings.compute):
                outputs, backward = train_forward(self.model, batch)
            options = options_of(self.model, batch, outputs)
            weighted = options
            if self.settings.class_weight is not None:
                # The loss alone: a metric is to be comparable to that of validation.
                weighted = options_of(
                    self.model, batch, outputs, self.settings.class_weight
                )
            value, gradient = loss_of(self.loss, outputs, batch.targets, weighted)
            if not math.isfinite(value):
                raise ValueError(
                    f"the loss is {value} at batch {self.position} of epoch "
                    f"{len(self.history) + 1}; {cause(self.model, batch)}"
                )
            self.totals.add(outputs, batch, options)
            gradients = backward(gradient)
            if self.settings.max_norm is not None:
                clip_grad_norm(gradients, self.settings.max_norm)
            if self.settings.schedule is not None:
                factor = self.settings.schedule.factor(
                    self._epochs_done(), self.settings.epochs
                )
                factor = as_number("schedule.factor(...)", factor)
                self.optimizer.learning_rate = self._rate * factor
            self.optimizer.step(self.model, gradients)
            self.total += value * size
            self.examples += size
            self._last_loss = value
        self.position += 1
        for callback in self.settings.callbacks:
            callback.on_batch_end(self)

    def end_epoch(self, validation: Batches | None) -> None:
        """Measure on `validation`, and remember the parameters if they are the best."""
        number = len(self.history) + 1
        if not self.examples:
            raise ValueError(f"batches should have examples, got none in epoch {number}")
        validation_loss: float | None = None
        found: dict[str, float] = {}
        if validation is not None:
            validation_loss, found = measure(
                self.model, validation, self.loss, self.settings.metrics, "validation"
            )
        epoch = Epoch(
            number,
            self.total / self.examples,
            validation_loss,
            self.totals.values(),
            found,
            self.optimizer.learning_rate,
        )
        self.history.append(epoch)
        self.position, self.total, self.examples = 0, 0.0, 0
        self.totals = Totals(self.settings.metrics)
        if validation_loss is not None and validation_loss < self.best_loss:
            self.best = self.model.state_dict()
            self.best_loss, self.best_epoch = validation_loss, number
        if self.settings.schedule is not None:
            self.settings.schedule.end_epoch(epoch)
        for callback in self.settings.callbacks:
            callback.on_epoch_end(self)
        if self.is_paused and number >= self.settings.epochs:
            # There is nothing to go on with.
            self.history.stopped, self.is_paused = None, False

    def out_of_patience(self, patience: int | None) -> bool:
        """Whether the last so many epochs were no better than one before."""
        return patience is not None and len(self.history) - self.best_epoch >= patience

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
        schedule = self.settings.schedule
        metadata = self._settings() | {
            "epochs": [asdict(epoch) for epoch in self.history],
            "stopped": None if self.is_paused else self.history.stopped,
            "sums": {name: sums.tolist() for name, sums in self.totals.sums.items()},
            "states": {
                "schedule": {} if schedule is None else schedule.state_dict(),
                "callbacks": [each.state_dict() for each in self.settings.callbacks],
            },
            "position": self.position,
            "total": self.total,
            "examples": self.examples,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "random": random_states.states(self.model),
        }
        # What is trained, whoever helps with it.
        model = self.model
        model = model.model if isinstance(model, DataParallel) else model
        save_checkpoint(
            path,
            _KIND,
            join_groups(groups),
            metadata,
            model=model,
            group="best" if self.best else "weights",
        )

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint; where it does not fit, nothing is changed."""
        with open_checkpoint(path, _KIND, "does not fit this training") as checkpoint:
            self._check_same(checkpoint.metadata)
            said = Fields(checkpoint.metadata, "metadata")
            epochs = [
                read_epoch(number, entry, set(self.settings.metrics))
                for number, entry in enumerate(said.dictionaries("epochs"), 1)
            ]
            position = said.integer("position", lowest=0, highest=self.size)
            total = said.number("total")
            examples = said.integer("examples", lowest=0)
            best_loss = said.number("best_loss", lowest=-math.inf, finite=False)
            best_epoch = said.integer("best_epoch", lowest=0, highest=len(epochs))
            random = said.dictionaries("random")
            random_states.check_states(self.model, random)
            sums = self._read_sums(said)
            stopped = said.text("stopped") if said.has("stopped") else None
            # It is written again, which half a character could not be.
            (stopped or "").encode()
            states = said.fields("states") if said.has("states") else None

            own = {
                name: Header(array.dtype, array.shape)
                for name, array in self.model.parameters().items()
            }
            checkpoint.check_groups("weights", "best", "optimizer")
            checkpoint.check_group("weights", own)
            checkpoint.check_group("best", own if best_epoch else {})
            self.optimizer.check_state(checkpoint.group("optimizer"), own)

            weights, best = checkpoint.read_group("weights"), checkpoint.read_group("best")
            self._load_states(states)
            self.optimizer.load_state_dict(checkpoint.read_group("optimizer"))
        self.model.load_state_dict(weights)
        random_states.load_states(self.model, random)
        self._history, self.position = History(epochs, stopped), position
        self.totals.sums = sums
        self.total, self.examples = total, examples
        self.best, self.best_loss, self.best_epoch = best, best_loss, best_epoch

    def _settings(self) -> dict[str, Any]:
        schedule = self.settings.schedule
        settings = {
            "optimizer": type(self.optimizer).__name__,
            "batches": self.size,
            "seed": self.seed,
            "metrics": list(self.settings.metrics),
            "schedule": None if schedule is None else type(schedule).__name__,
            "callbacks": [type(each).__name__ for each in self.settings.callbacks],
            "compute": self.settings.compute or computing.chosen(),
        }
        if isinstance(self.batches, Minibatches):
            settings[_MIX] = self.batches.seed
        elif isinstance(self.batches, SequenceBatches):
            settings[_MIX] = list(self.batches.settings)
        return settings

    def _check_same(self, metadata: dict[str, Any]) -> None:
        for name, value in self._settings().items():
            # Older files do not say how examples were mixed.
            if name not in metadata and name not in (_MIX, *_SINCE):
                raise ValueError(f"{name} is missing")
            found = metadata.get(name, _SINCE.get(name, value))
            if found != value:
                said = found if isinstance(found, str) else reprlib.repr(found)
                raise ValueError(f"{name} should be {said}, got {value}")

    def _read_sums(self, said: Fields) -> dict[str, NDArray[np.float64]]:
        """The sums of the metrics in the epoch that is not done."""
        sums = {}
        if said.has("sums"):
            for name, numbers in said.dictionary("sums").items():
                listed = isinstance(numbers, list) and numbers
                if not listed or not all(type(n) in (int, float) for n in numbers):
                    raise ValueError(f"sums[{reprlib.repr(name)}] should be numbers")
                sums[name] = np.array(numbers, np.float64)
        expected = (
            set(self.settings.metrics) if said.integer("examples", lowest=0) else set()
        )
        if sums.keys() != expected:
            raise ValueError("sums should be those of the metrics")
        return sums

    def _load_states(self, states: Fields | None) -> None:
        """Take up what the schedule and the callbacks have seen."""
        if states is None:
            return
        own = self.settings.callbacks
        found = states.dictionaries("callbacks")
        if len(found) != len(own):
            raise ValueError(f"callbacks should have {len(own)} states, got {len(found)}")
        seen = states.dictionary("schedule")
        if self.settings.schedule is not None:
            self.settings.schedule.load_state_dict(seen)
        elif seen:
            raise ValueError("states.schedule should be empty without a schedule")
        for callback, state in zip(own, found, strict=True):
            callback.load_state_dict(state)
