"""How series go on, as a scikit-learn estimator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score

import gatewise
from gatewise.sklearn.base import Recurrent, as_float32
from gatewise.sklearn.inputs import Panel, as_panel
from gatewise.sklearn.options import check_integer, check_options
from gatewise.sklearn.windows import Windows, as_future, features_of, shifted, windows

Array = NDArray[Any]

__all__ = ["RecurrentForecaster"]

# What says which numbers go into the network, and which come out.
_OF_FORECASTS = ("horizon", "known", "covariates")


class RecurrentForecaster(Recurrent):
    """A recurrent network that says the next `horizon` steps of series.

    It learns from series alone: from each step of a window the network says by how much the
    next `horizon` steps differ from that step. So what it knows before any training is that
    all stays as it is. Series come in the forms that `RecurrentClassifier` takes, a single
    long one as a list or an array of one.

    Parameters
    ----------
    horizon : int, default 1
        How many steps to say at once.
    window : int, default 48
        How many steps it looks back.
    known : sequence of int, default ()
        Features whose future is known when a forecast is made, such as the calendar. They
        are not forecast, and `predict` is given them as `future`.
    covariates : sequence of int, default ()
        Other features that are not forecast, whose future nobody knows.
    cell, hidden_size, num_layers
        As for `RecurrentClassifier`.
    dropout, learning_rate, batch_size, max_iter, max_norm
        As for `RecurrentClassifier`; examples are windows.
    early_stopping, validation_fraction, n_iter_no_change
        As for `RecurrentClassifier`; the last windows of the series are held out.
    standardize, warm_start, random_state, verbose
        As for `RecurrentClassifier`.

    Attributes
    ----------
    targets_ : ndarray of int
        The features that are forecast.
    model_, optimizer_, history_, loss_, n_iter_, n_features_in_, feature_names_in_
        As for `RecurrentClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.sklearn import RecurrentForecaster
    >>> wave = np.sin(np.arange(400) / 5)[None]
    >>> forecaster = RecurrentForecaster(horizon=10, max_iter=30, random_state=0)
    >>> forecast = forecaster.fit(wave).predict(wave)
    >>> forecast.shape
    (1, 10)
    >>> bool(np.abs(forecast - np.sin(np.arange(400, 410) / 5)).max() < 0.2)
    True
    """

    _loss = staticmethod(gatewise.mse)
    bidirectional = False
    _fixed = (*Recurrent._fixed, *_OF_FORECASTS)

    def __init__(
        self,
        horizon: int = 1,
        window: int = 48,
        *,
        known: Sequence[int] = (),
        covariates: Sequence[int] = (),
        cell: str = "gru",
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        learning_rate: float = 0.01,
        batch_size: int = 32,
        max_iter: int = 100,
        max_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        standardize: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.horizon = horizon
        self.window = window
        self.known = known
        self.covariates = covariates
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.max_norm = max_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.standardize = standardize
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: None = None) -> Self:
        """Train on series.

        Parameters
        ----------
        X : list of arrays, ndarray or frame
            Series; see `RecurrentClassifier`. Each has more steps than `horizon`.
        y : None
            Not used: what is to come stands in the series.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If an option or the dtype of a series is not what it should be.
        ValueError
            If an option is out of range, a shape does not fit, a value is not finite, or a
            series is too short; with `warm_start`, if features or an option of the
            network are others than before.
        """
        found = self._start(X, goes_on=self._goes_on(self.warm_start))
        if not self.early_stopping:
            return self._train(found.panel, found.changes, self.max_iter)
        # The last in time, since those between others would be known from these.
        count = len(found.ends)
        kept = count - math.ceil(count * self.validation_fraction)
        if not kept:
            raise ValueError(
                "early_stopping should be False where the series are no longer than a "
                f"window or two, got {self.early_stopping}"
            )
        order = np.argsort(found.ends, kind="stable")
        return self._train(
            *found.select(order[:kept]),
            self.max_iter,
            validation=found.select(order[kept:]),
        )

    def partial_fit(self, X: Any, y: None = None) -> Self:
        """Train for one epoch on these series, going on from where training is.

        Those of the first call decide how features are scaled.

        Raises
        ------
        TypeError
            As for `fit`.
        ValueError
            As for `fit`, if features are others than before too.
        """
        found = self._start(X, goes_on=self._goes_on(True))
        return self._train(found.panel, found.changes, 1)

    def predict(self, X: Any, future: Any = None) -> Array:
        """Return what comes after each series.

        Parameters
        ----------
        X : list of arrays, ndarray or frame
            Series up to now; only the last `window` steps, and where there are `known`
            features `horizon` before them, are looked at.
        future : array_like of shape (n, horizon, known), optional
            The features `known` of the steps to come.

        Returns
        -------
        ndarray
            ``(n, horizon)`` for a table, otherwise ``(n, horizon, targets)``.

        Raises
        ------
        TypeError
            If a series holds no real numbers.
        ValueError
            If a shape does not fit, a value is not finite, `future` is missing or comes
            where no features are `known`, or an option says another network than `fit`
            made.
        """
        panel = self._read(X)
        self._check_made_with(_OF_FORECASTS)
        known = as_future(future, len(panel.x), self.horizon, len(self.known))
        found = self._forecast(panel, known)
        return found[..., 0] if self._fitted_on_table else found

    def score(self, X: Any, y: None = None) -> float:
        """Return the R² of the last `horizon` steps, forecast from those before them.

        Raises
        ------
        TypeError
            If a series holds no real numbers.
        ValueError
            If a shape does not fit, a value is not finite, or a series is too short.
        """
        panel = self._read(X)
        self._check_made_with(_OF_FORECASTS)
        past, future = self._last_cut_off(panel)
        found = self._forecast(past, future[:, :, list(self.known)])
        wanted = future[:, :, self.targets_]
        return float(r2_score(wanted.reshape(-1), found.reshape(-1)))

    def _forecast(self, panel: Panel, known: Array) -> Array:
        """The targets of the steps to come, ``(n, horizon, targets)``."""
        places = list(self.known)
        with np.errstate(all="ignore"):
            x = (panel.x - self._mean) / self._scale
            future = (known - self._mean[places]) / self._scale[places]
        as_float32(x, panel.x)
        as_float32(future, known, "future")
        scaled = Panel(x, panel.lengths)
        series = shifted(scaled, self.horizon, places, future)
        last = [steps[-1, self.targets_] for steps in series.targets]
        outputs = gatewise.predict(
            self.model_,
            [steps[-self.window :].astype(np.float32) for steps in series.inputs],
            batch_size=max(self.batch_size, 256),
        )
        rows = np.stack([steps[-1] for steps in outputs]).astype(np.float64)
        changes = rows.reshape(len(rows), self.horizon, len(self.targets_))
        found: Array = changes + np.stack(last)[:, None]
        return found * self._scale[self.targets_] + self._mean[self.targets_]

    def _start(self, X: Any, *, goes_on: bool) -> Windows:
        """The windows to train on, with a network for them."""
        check_options(self)
        check_integer("horizon", self.horizon)
        check_integer("window", self.window)
        panel = as_panel(self, X, reset=not goes_on)
        targets = features_of(panel.x.shape[2], self.known, self.covariates)
        self._last_cut_off(panel)
        if not goes_on:
            self.targets_ = targets
            self._begin(panel, self.horizon * len(targets))
        scaled = Panel((panel.x - self._mean) / self._scale, panel.lengths)
        series = shifted(scaled, self.horizon, list(self.known), None)
        return windows(series, self.targets_, self.horizon, self.window)

    def _last_cut_off(self, panel: Panel) -> tuple[Panel, Array]:
        """Series without their last `horizon` steps, and these."""
        count, time = panel.x.shape[:2]
        lengths = panel.lengths if panel.lengths is not None else np.full(count, time)
        short = int(lengths.min())
        if short <= self.horizon:
            # A table's columns are what scikit-learn calls features.
            got = (
                f"a table with n_features={short}, each row a series; one series alone "
                "goes into a list, [X]"
                if self._fitted_on_table
                else f"one of {short}"
            )
            raise ValueError(
                f"X should have series of more steps than the horizon, {self.horizon}, "
                f"got {got}"
            )
        places = lengths[:, None] - self.horizon + np.arange(self.horizon)
        future = panel.x[np.arange(count)[:, None], places]
        return Panel(panel.x, lengths - self.horizon), future

    def _scaled(self, panel: Panel) -> Array:
        return as_float32(panel.x, panel.x)
