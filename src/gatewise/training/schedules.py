"""Learning-rate schedules: by how much the optimizer's rate is multiplied, and when.

A schedule is asked before every step where training stands. Those that depend on nothing
else are the same after an interruption by themselves; `ReduceOnPlateau` has a state, which
the checkpoints of `fit` keep.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gatewise.formats.fields import Fields
from gatewise.training.arguments import as_count, as_number, describe
from gatewise.training.history import Epoch
from gatewise.training.portable import cosine, power

__all__ = ["Constant", "Cosine", "ReduceOnPlateau", "Schedule", "Step", "WarmUp"]


class Schedule:
    """The base of all schedules; one of your own needs `factor` alone.

    Examples
    --------
    >>> from gatewise.training import Schedule
    >>> class Inverse(Schedule):
    ...     def factor(self, epoch: float, epochs: int) -> float:
    ...         return 1 / (1 + epoch)
    >>> Inverse().factor(1.0, 10)
    0.5
    """

    def factor(self, epoch: float, epochs: int) -> float:
        """Return what the optimizer's learning rate is multiplied by for one step.

        Parameters
        ----------
        epoch : float
            How many epochs are done, parts of them included: 2.5 in the midst of the third.
        epochs : int
            How many there will be in all.
        """
        raise NotImplementedError(f"{type(self).__name__} should have a method factor")

    def reset(self) -> None:
        """Forget what was seen: a training begins."""

    def end_epoch(self, epoch: Epoch) -> None:
        """See what an epoch came to."""

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen, as JSON can hold it."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` of the same class gave.

        Raises
        ------
        ValueError
            If it is none.
        """


class Constant(Schedule):
    """Always the same, which is what `fit` does without a schedule, too.

    Parameters
    ----------
    factor : float, default 1.0

    Raises
    ------
    TypeError
        If `factor` is no number.
    ValueError
        If it is negative or not finite.

    Examples
    --------
    >>> from gatewise.training import Constant
    >>> Constant(0.5).factor(3.0, 10)
    0.5
    """

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = as_number("factor", factor)

    def factor(self, epoch: float, epochs: int) -> float:
        """Return it."""
        return self._factor


class Step(Schedule):
    """Multiplied once more after every so many epochs.

    Parameters
    ----------
    every : int
        How many epochs lie between two changes.
    factor : float, default 0.1
        What each multiplies the rate by.

    Raises
    ------
    TypeError
        If `every` is no integer, or `factor` no number.
    ValueError
        If `every` is less than 1, or `factor` negative or not finite.

    Examples
    --------
    >>> from gatewise.training import Step
    >>> [Step(10, 0.5).factor(epoch, 30) for epoch in (0.0, 9.9, 10.0, 25.0)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, every: int, factor: float = 0.1) -> None:
        self.every = as_count("every", every, 1)
        self._factor = as_number("factor", factor)

    def factor(self, epoch: float, epochs: int) -> float:
        """Return the power of the factor that the epoch has."""
        return float(power(self._factor, math.floor(epoch / self.every)))


class Cosine(Schedule):
    """From 1 down to `final` along half a wave, without a step.

    Parameters
    ----------
    final : float, default 0.0
        The factor at the end.
    epochs : int, optional
        When the end is reached, after which the factor stays; the last epoch of `fit` if
        None.

    Raises
    ------
    TypeError
        If `final` is no number, or `epochs` no integer.
    ValueError
        If `final` is negative or not finite, or `epochs` less than 1.

    Notes
    -----
    This is the annealing of [1]_, without restarts.

    References
    ----------
    .. [1] Loshchilov, I., and Hutter, F. (2017). "SGDR: Stochastic Gradient Descent with
       Warm Restarts". ICLR 2017. arXiv:1608.03983.

    Examples
    --------
    >>> from gatewise.training import Cosine
    >>> [round(Cosine().factor(epoch, 20), 3) for epoch in (0.0, 5.0, 10.0, 20.0)]
    [1.0, 0.854, 0.5, 0.0]
    """

    def __init__(self, final: float = 0.0, epochs: int | None = None) -> None:
        self.final = as_number("final", final)
        self.epochs = None if epochs is None else as_count("epochs", epochs, 1)

    def factor(self, epoch: float, epochs: int) -> float:
        """Return how high the wave is."""
        share = min(epoch / max(self.epochs or epochs, 1), 1.0)
        return self.final + (1 - self.final) * (1 + cosine(math.pi * share)) / 2


class WarmUp(Schedule):
    """From little up to all in a line over the first epochs, times another schedule.

    Parameters
    ----------
    epochs : float, default 1.0
        How long that takes, in epochs or parts of one.
    start : float, default 0.0
        The factor of the first step.
    then : Schedule, optional
        What it is multiplied by; its epochs count from the end of the warm-up.

    Raises
    ------
    TypeError
        If a number is none, or `then` no schedule.
    ValueError
        If a number is negative or not finite.

    Examples
    --------
    >>> from gatewise.training import Cosine, WarmUp
    >>> schedule = WarmUp(2, then=Cosine())
    >>> [round(schedule.factor(epoch, 12), 3) for epoch in (0.0, 1.0, 2.0, 7.0, 12.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(
        self, epochs: float = 1.0, start: float = 0.0, then: Schedule | None = None
    ) -> None:
        self.epochs = as_number("epochs", epochs)
        self.start = as_number("start", start)
        self.then = Constant() if then is None else as_schedule("then", then)

    def factor(self, epoch: float, epochs: int) -> float:
        """Return how far it is up, or what comes then."""
        if epoch < self.epochs:
            risen = self.start + (1 - self.start) * epoch / self.epochs
            return risen * self.then.factor(0.0, max(round(epochs - self.epochs), 1))
        return self.then.factor(epoch - self.epochs, max(round(epochs - self.epochs), 1))

    def reset(self) -> None:
        """Forget what was seen: a training begins."""
        self.then.reset()

    def end_epoch(self, epoch: Epoch) -> None:
        """See what an epoch came to."""
        self.then.end_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return what the schedule after it has seen."""
        return self.then.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` of the same class gave.

        Raises
        ------
        ValueError
            If it is none.
        """
        self.then.load_state_dict(state)


class ReduceOnPlateau(Schedule):
    """Multiplied once more whenever a loss has not got better for some epochs.

    Parameters
    ----------
    factor : float, default 0.1
        What each reduction multiplies the rate by.
    patience : int, default 10
        So many epochs without a better loss are borne; the next one reduces.
    threshold : float, default 1e-4
        By which share of the best a loss must be below it to be better.
    cooldown : int, default 0
        How many epochs after a reduction do not count.
    lowest : float, default 0.0
        The least factor.
    monitor : str, optional
        Which number of an epoch is looked at, by the name that a `History` has for it; that
        which is to get less. The loss on `validation` if None, or in training without it.

    Raises
    ------
    TypeError
        If an option is no number, or `monitor` no string.
    ValueError
        If an option is negative or not finite, or `factor` 1 or more.

    Examples
    --------
    >>> from gatewise.training import Epoch, ReduceOnPlateau
    >>> schedule = ReduceOnPlateau(0.5, patience=1)
    >>> for number, loss in enumerate([3.0, 2.0, 2.0, 2.5], 1):
    ...     schedule.end_epoch(Epoch(number, loss))
    >>> schedule.factor(4.0, 10)
    0.5
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        *,
        threshold: float = 1e-4,
        cooldown: int = 0,
        lowest: float = 0.0,
        monitor: str | None = None,
    ) -> None:
        self._factor = as_number("factor", factor)
        if self._factor >= 1:
            raise ValueError(f"factor should be below 1, got {factor!r}")
        self.patience = as_count("patience", patience, 0)
        self.threshold = as_number("threshold", threshold)
        self.cooldown = as_count("cooldown", cooldown, 0)
        self.lowest = as_number("lowest", lowest)
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"monitor should be a string, got {describe(monitor)}")
        self.monitor = monitor
        self.reset()

    def reset(self) -> None:
        """Forget what was seen: a training begins."""
        self._reached = 1.0
        self._best = math.inf
        self._waited = self._cooling = 0

    def factor(self, epoch: float, epochs: int) -> float:
        """Return what the reductions so far come to."""
        return self._reached

    def end_epoch(self, epoch: Epoch) -> None:
        """Reduce the rate if it is time.

        Raises
        ------
        ValueError
            If the epoch has no number of the name to look at.
        """
        value = monitored(epoch, self.monitor)
        if value < self._best * (1 - math.copysign(self.threshold, self._best)):
            self._best, self._waited = value, 0
        else:
            self._waited += 1
        if self._cooling:
            self._cooling, self._waited = self._cooling - 1, 0
        if self._waited > self.patience:
            self._reached = max(self._reached * self._factor, self.lowest)
            self._cooling, self._waited = self.cooldown, 0

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen."""
        return {
            "reached": self._reached,
            "best": self._best,
            "waited": self._waited,
            "cooling": self._cooling,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` of the same class gave.

        Raises
        ------
        ValueError
            If it is none.
        """
        said = Fields(state, "schedule")
        reached = said.number("reached", lowest=0)
        best = said.number("best", finite=False)
        waited = said.integer("waited", lowest=0)
        cooling = said.integer("cooling", lowest=0)
        self._reached, self._best = reached, best
        self._waited, self._cooling = waited, cooling


def as_schedule(name: str, value: object) -> Schedule:
    """Return `value`, if it is a schedule.

    Raises
    ------
    TypeError
        If it is none.
    """
    if not isinstance(value, Schedule):
        raise TypeError(
            f"{name} should be a schedule such as gatewise.training.Cosine(), "
            f"got {describe(value)}"
        )
    return value


def monitored(epoch: Epoch, monitor: str | None) -> float:
    """Return the number of an epoch that is looked at; the loss to be judged if None.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if monitor is None:
        validation = epoch.validation_loss
        return epoch.loss if validation is None else validation
    values = epoch.values()
    if monitor not in values:
        raise ValueError(f"monitor should be one of {', '.join(values)}, got {monitor!r}")
    return values[monitor]
