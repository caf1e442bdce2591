"""What all estimators share: the network, how it is trained, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

import gatewise
from gatewise.sklearn.inputs import Panel, as_panel
from gatewise.sklearn.options import POOLINGS, check_choice, check_options

Array = NDArray[Any]

__all__ = ["Recurrent"]

_CELLS = {"gru": gatewise.GRU, "lstm": gatewise.LSTM, "rnn": gatewise.RNN}


class Recurrent(BaseEstimator):
    """The base of the estimators."""

    # Set by their constructors.
    cell: str
    hidden_size: int
    num_layers: int
    bidirectional: bool
    dropout: float
    learning_rate: float
    batch_size: int
    max_iter: int
    max_norm: float | None
    early_stopping: bool
    n_iter_no_change: int
    standardize: bool
    warm_start: bool
    random_state: Any
    verbose: bool

    # What was fitted: a table, whose columns are the steps, or sequences.
    _fitted_on_table: bool

    # The loss that the network is trained with, given outputs and targets.
    _loss: Any

    # The options that say what network it is, and so may not change once it is made.
    _fixed: ClassVar[tuple[str, ...]] = (
        "cell",
        "hidden_size",
        "num_layers",
        "bidirectional",
        "dropout",
    )

    def _goes_on(self, wanted: bool) -> bool:
        """Whether there is a network to go on with, which has to have these options."""
        if not wanted or not hasattr(self, "model_"):
            return False
        self._check_made_with(self._fixed)
        return True

    def _check_made_with(self, names: tuple[str, ...]) -> None:
        """Raise ValueError if one of these options is not what the network has."""
        for name in names:
            value = self._made_with[name]
            if not np.array_equal(getattr(self, name), value):
                raise ValueError(
                    f"{name} should be {value!r} as before, to go on with the network that "
                    f"is there, got {getattr(self, name)!r}"
                )

    def _begin(self, panel: Panel, outputs: int) -> None:
        """Make a network of its first values, for sequences like these."""
        self._random = check_random_state(self.random_state)
        features = panel.x.shape[2]
        self._mean, self._scale = np.zeros(features), np.ones(features)
        if self.standardize:
            self._mean, self._scale = mean_and_scale(panel.steps())
        self.model_ = self._network(features, outputs)
        self.optimizer_ = gatewise.Adam(float(self.learning_rate))
        self.history_ = gatewise.training.History()
        self._made_with = {name: getattr(self, name) for name in self._fixed}

    def _network(self, features: int, outputs: int) -> gatewise.Sequential:
        directions = 2 if self.bidirectional else 1
        layers: list[Any] = [
            _CELLS[self.cell](
                features,
                self.hidden_size,
                num_layers=self.num_layers,
                bidirectional=bool(self.bidirectional),
                dropout=self.dropout if self.num_layers > 1 else 0.0,
                seed=self._seed(),
            ),
            *self._pooling(self.hidden_size * directions),
        ]
        if self.dropout:
            layers.append(gatewise.Dropout(self.dropout, seed=self._seed()))
        layers.append(
            gatewise.Linear(self.hidden_size * directions, outputs, seed=self._seed())
        )
        return gatewise.Sequential(*layers)

    def _pooling(self, features: int) -> list[Any]:
        """The layers between the recurrent ones and the last."""
        return []

    def _seed(self) -> int:
        return int(self._random.randint(1 << 31))

    def _train(
        self,
        panel: Panel,
        targets: Array,
        epochs: int,
        *,
        validation: tuple[Panel, Array] | None = None,
        class_weight: dict[int, float] | None = None,
    ) -> Self:
        """Train for some epochs, and add them to the history."""
        held = None
        if validation is not None:
            held = self._batches(*validation, shuffle=False)
        # The optimizer of a warm start has the learning rate of this fit.
        self.optimizer_.learning_rate = float(self.learning_rate)
        history = gatewise.fit(
            self.model_,
            self._batches(panel, targets, shuffle=True),
            self._loss,
            self.optimizer_,
            epochs=epochs,
            validation=held,
            patience=None if held is None else self.n_iter_no_change,
            max_norm=self.max_norm,
            class_weight=class_weight,
            seed=None,
            progress=bool(self.verbose),
        )
        done = len(self.history_)
        self.history_ = gatewise.training.History(
            [*self.history_, *(replace(e, number=done + e.number) for e in history)],
            stopped=history.stopped,
        )
        self.n_iter_ = len(self.history_)
        self.loss_ = self.history_[-1].loss
        return self

    def _batches(self, panel: Panel, targets: Array, *, shuffle: bool) -> Any:
        return gatewise.training.minibatches(
            self._scaled(panel),
            targets,
            panel.lengths,
            batch_size=self.batch_size,
            shuffle=shuffle,
            seed=self._seed() if shuffle else 0,
        )

    def _scaled(self, panel: Panel) -> Array:
        with np.errstate(all="ignore"):
            scaled = (panel.x - self._mean) / self._scale
        return as_float32(scaled, panel.x)

    def _outputs(self, panel: Panel) -> Array:
        """What the network says of each sequence."""
        return gatewise.predict(
            self.model_,
            self._scaled(panel),
            lengths=panel.lengths,
            batch_size=max(self.batch_size, 256),
        )

    def _read(self, X: Any) -> Panel:
        """The sequences to predict for."""
        check_is_fitted(self, "model_")
        return as_panel(self, X, reset=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        return tags


class Pooled(Recurrent):
    """The base of the estimators whose networks make one vector of each sequence."""

    pooling: str
    _fixed = (*Recurrent._fixed, "pooling")

    def _check_options(self) -> None:
        check_options(self)
        check_choice("pooling", self.pooling, POOLINGS)

    def _pooling(self, features: int) -> list[Any]:
        if self.pooling == "attention":
            return [gatewise.AttentionPool(features, seed=self._seed())]
        made: dict[str, Any] = {
            "last": gatewise.Last,
            "mean": gatewise.MeanPool,
            "max": gatewise.MaxPool,
        }
        return [made[self.pooling]()]


def as_float32(scaled: Array, given: Array, name: str = "X") -> Array:
    """Scaled values as the network takes them; those that are too large are refused."""
    with np.errstate(all="ignore"):
        found: Array = scaled.astype(np.float32)
    wrong = ~np.isfinite(found)
    if wrong.any():
        raise ValueError(
            f"{name} should hold values within float32's range, scaled as those of fit "
            f"were, got {float(given[wrong][0])!r}"
        )
    return found


def mean_and_scale(values: Array) -> tuple[Array, Array]:
    """The mean and the standard deviation of each column, 1 where that is 0."""
    values = values.astype(np.float64, copy=False)
    # Of values of about 1, whose squares are all within float64.
    peak = np.abs(values).max(axis=0)
    peak = np.where(peak == 0, 1.0, peak)
    shares = values / peak
    mean, scale = shares.mean(axis=0) * peak, shares.std(axis=0) * peak
    # What is constant but for rounding is constant.
    flat = scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)
    return mean, np.where(flat, 1.0, scale)
