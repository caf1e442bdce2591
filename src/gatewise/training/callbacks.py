"""Callbacks: what is called while `fit` trains, and can end it."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gatewise.formats.fields import Fields
from gatewise.training.arguments import as_count, as_number, describe
from gatewise.training.history import History
from gatewise.training.optimizers import Optimizer
from gatewise.training.schedules import monitored

__all__ = ["Callback", "EarlyStopping", "TimeLimit", "Training", "as_callbacks"]


class Training(ABC):
    """A training that is under way, as callbacks see it.

    Attributes
    ----------
    model : layer
    optimizer : Optimizer
    history : History
        Of the epochs that are done.
    step : int
        How many batches are done in all.
    last_loss : float
        Of the last batch; NaN before the first.
    """

    model: Any
    optimizer: Optimizer

    @property
    @abstractmethod
    def history(self) -> History:
        """The epochs that are done."""

    @property
    @abstractmethod
    def step(self) -> int:
        """How many batches are done in all."""

    @property
    @abstractmethod
    def last_loss(self) -> float:
        """The loss of the last batch."""

    @abstractmethod
    def stop(self, reason: str) -> None:
        """End training, as if this was its last epoch; nothing goes on from here."""

    @abstractmethod
    def pause(self, reason: str) -> None:
        """End training for now; `fit` with ``resume=True`` goes on from here."""


class Callback:
    """What is called while `fit` trains; the base of those that do several things.

    For one that does something after every epoch, a function of the training is enough. An
    exception ends training as any other does. All that changes how training goes on should
    be in `state_dict`, or an interrupted training may end elsewhere; the learning rate is
    changed by a schedule.

    Examples
    --------
    >>> from gatewise.training import Callback, Training
    >>> class StopAt(Callback):
    ...     def __init__(self, accuracy: float) -> None:
    ...         self.accuracy = accuracy
    ...
    ...     def on_epoch_end(self, training: Training) -> None:
    ...         if training.history[-1].validation_metrics["accuracy"] >= self.accuracy:
    ...             training.stop(f"an accuracy of {self.accuracy:.0%} is reached")
    """

    def on_train_begin(self, training: Training) -> None:
        """Begin: forget what was seen of another training."""

    def on_batch_end(self, training: Training) -> None:
        """See a batch; an epoch that is stopped before its last one has no `Epoch`."""

    def on_epoch_end(self, training: Training) -> None:
        """See an epoch, the last of ``training.history``."""

    def on_train_end(self, training: Training) -> None:
        """See the end, but for one by an exception; the best parameters are in place."""

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen, as JSON can hold it."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` of the same class gave, after `on_train_begin`.

        Raises
        ------
        ValueError
            If it is none.
        """


CallbackLike = Callback | Callable[[Training], object]


class _AfterEpoch(Callback):
    """A function that is called after every epoch."""

    def __init__(self, function: Callable[[Training], object]) -> None:
        self._function = function

    def on_epoch_end(self, training: Training) -> None:
        self._function(training)


class EarlyStopping(Callback):
    """Ends training when a number has not got better for some epochs.

    For the loss on `validation` alone, `patience` of `fit` does the same. Which parameters
    the model has in the end does not depend on it: those with the least loss there.

    Parameters
    ----------
    monitor : str
        Which number of an epoch is looked at, by the name that a `History` has for it, such
        as ``"validation_accuracy"``.
    patience : int, default 5
        After so many epochs without a better one training ends.
    mode : {"min", "max"}, default "min"
        Whether better is less or more.
    min_delta : float, default 0.0
        By how much it has to be better.

    Raises
    ------
    TypeError
        If `monitor` is no string, `patience` no integer, or `min_delta` no number.
    ValueError
        If `patience` is less than 1, `mode` none of these, or `min_delta` negative.

    Examples
    --------
    >>> from gatewise.training import EarlyStopping
    >>> stopping = EarlyStopping("validation_accuracy", patience=3, mode="max")
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 5,
        *,
        mode: str = "min",
        min_delta: float = 0.0,
    ) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor should be a string, got {describe(monitor)}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode should be 'min' or 'max', got {mode!r}")
        self.monitor = monitor
        self.patience = as_count("patience", patience, 1)
        self.mode = mode
        self.min_delta = as_number("min_delta", min_delta)
        self._best, self._waited = math.inf, 0

    def on_train_begin(self, training: Training) -> None:
        """Forget what was seen of another training."""
        self._best, self._waited = math.inf, 0

    def on_epoch_end(self, training: Training) -> None:
        """End training if it is time.

        Raises
        ------
        ValueError
            If the epoch has no number of the name to look at.
        """
        value = monitored(training.history[-1], self.monitor)
        value = -value if self.mode == "max" else value
        if value < self._best - (0.0 if math.isinf(self._best) else self.min_delta):
            self._best, self._waited = value, 0
        else:
            self._waited += 1
        if self._waited >= self.patience:
            training.stop(f"no better {self.monitor} for {self.patience} epochs")

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen."""
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave.

        Raises
        ------
        ValueError
            If it is none.
        """
        said = Fields(state, "callback")
        best, waited = said.number("best", finite=False), said.integer("waited", lowest=0)
        self._best, self._waited = best, waited


class TimeLimit(Callback):
    """Pauses training when its time is up, after the batch that it is at.

    Parameters
    ----------
    seconds : float
        From the beginning of the call of `fit`.

    Raises
    ------
    TypeError
        If `seconds` is no number.
    ValueError
        If it is negative or not finite.

    Examples
    --------
    >>> from gatewise.training import TimeLimit
    >>> limit = TimeLimit(60)
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = as_number("seconds", seconds)
        self._end = math.inf

    def on_train_begin(self, training: Training) -> None:
        """Look at the clock."""
        self._end = time.monotonic() + self.seconds

    def on_batch_end(self, training: Training) -> None:
        """Look at the clock."""
        if time.monotonic() >= self._end:
            training.pause(f"{self.seconds:g} seconds are over")


def as_callbacks(callbacks: Sequence[CallbackLike]) -> list[Callback]:
    """Return callbacks, functions as such too.

    Raises
    ------
    TypeError
        If they are no sequence of callbacks and functions.
    """
    if isinstance(callbacks, Callback | str) or not isinstance(callbacks, Sequence):
        raise TypeError(f"callbacks should be a list of them, got {describe(callbacks)}")
    found = []
    for index, callback in enumerate(callbacks):
        if isinstance(callback, Callback):
            found.append(callback)
        elif callable(callback) and not isinstance(callback, type):
            found.append(_AfterEpoch(callback))
        else:
            raise TypeError(
                f"callbacks[{index}] should be a Callback, or a function of the training, "
                f"got {describe(callback)}"
            )
    return found
