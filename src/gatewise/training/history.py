"""What every epoch of a training came to, and how it looks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gatewise.training.charts import Curve, svg, table
from gatewise.training.drawing import draw

__all__ = ["Epoch", "History"]


@dataclass(frozen=True)
class Epoch:
    """The mean losses and the metrics of one epoch.

    What was measured on `validation` is None or empty without it. `learning_rate` is that
    of the last step.
    """

    number: int
    loss: float
    validation_loss: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    validation_metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    learning_rate: float | None = None

    def values(self) -> dict[str, float]:
        """Return all numbers by the names that a `History` has for them.

        Examples
        --------
        >>> from gatewise.training import Epoch
        >>> Epoch(1, 0.5, 0.6, {"accuracy": 0.8}, {"accuracy": 0.7}).values()
        {'loss': 0.5, 'accuracy': 0.8, 'validation_loss': 0.6, 'validation_accuracy': 0.7}
        """
        found: dict[str, float] = {"loss": self.loss, **self.metrics}
        if self.validation_loss is not None:
            found["validation_loss"] = self.validation_loss
        found |= {f"validation_{n}": v for n, v in self.validation_metrics.items()}
        if self.learning_rate is not None:
            found["learning_rate"] = self.learning_rate
        return found


class History(list[Epoch]):
    """The epochs of a training, as `fit` returns them: a list that can be looked at.

    In a notebook it shows itself as a table with curves.

    Attributes
    ----------
    stopped : str or None
        Why training ended before its last epoch, if it did.

    Examples
    --------
    >>> from gatewise.training import Epoch, History
    >>> history = History([Epoch(1, 0.9, 1.0), Epoch(2, 0.5, 0.7), Epoch(3, 0.4, 0.8)])
    >>> history
    <History of 3 epochs: loss 0.4, validation_loss 0.8; best epoch 2>
    >>> history.to_dict()
    {'epoch': [1, 2, 3], 'loss': [0.9, 0.5, 0.4], 'validation_loss': [1.0, 0.7, 0.8]}
    >>> history.best.number
    2
    """

    def __init__(self, epochs: Iterable[Epoch] = (), stopped: str | None = None) -> None:
        super().__init__(epochs)
        self.stopped = stopped

    @property
    def best(self) -> Epoch:
        """The epoch with the least loss on `validation`, or in training without it.

        Raises
        ------
        ValueError
            If there are no epochs.
        """
        if not self:
            raise ValueError("history should have epochs, got none")

        def judged(epoch: Epoch) -> float:
            value = epoch.validation_loss
            value = epoch.loss if value is None else value
            return math.inf if math.isnan(value) else value

        return min(self, key=judged)

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the numbers of every epoch by name, for pandas' DataFrame for instance.

        The names are ``epoch``, ``loss``, those of the metrics, all of these after
        ``validation_``, and ``learning_rate``. What an epoch has not is NaN.
        """
        values = [epoch.values() for epoch in self]
        names = list(dict.fromkeys(name for found in values for name in found))
        return {
            "epoch": [epoch.number for epoch in self],
            **{name: [found.get(name, math.nan) for found in values] for name in names},
        }

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the losses and the metrics over the epochs, with matplotlib.

        Parameters
        ----------
        path : path, optional
            A file to write the picture to; its suffix says the format.

        Returns
        -------
        matplotlib.figure.Figure
            With one plot for the loss and one for each metric. It is no figure of pyplot's,
            so nothing has to be closed; a notebook shows it.

        Raises
        ------
        ValueError
            If there are no epochs.
        ImportError
            If matplotlib is not installed; the extra ``gatewise[plot]`` brings it.
        OSError
            If the file cannot be written.
        """
        if not self:
            raise ValueError("history should have epochs to plot, got none")
        figure = draw(self._curves(), self.best.number)
        if path is not None:
            figure.savefig(path)
        return figure

    def _curves(self) -> dict[str, list[Curve]]:
        """The curves of each plot."""
        columns = self.to_dict()
        numbers = columns.pop("epoch")
        columns.pop("learning_rate", None)
        plots: dict[str, list[Curve]] = {}
        for name, values in columns.items():
            shown = name.removeprefix("validation_")
            what = "training" if shown == name else "validation"
            plots.setdefault(shown, []).append(Curve(what, numbers, values))
        return plots

    def _repr_html_(self) -> str:
        if not self:
            return "<p>no epochs</p>"
        pictures = "".join(svg(name, curves) for name, curves in self._curves().items())
        return (
            f"<div>{pictures}{table(self.to_dict(), self.best.number, self.stopped)}</div>"
        )

    def __repr__(self) -> str:
        if not self:
            return "<History of no epochs>"
        last = ", ".join(
            f"{name} {value:.4g}"
            for name, value in self[-1].values().items()
            if name != "learning_rate"
        )
        count = f"{len(self)} epoch{'s' if len(self) > 1 else ''}"
        return f"<History of {count}: {last}; best epoch {self.best.number}>"
