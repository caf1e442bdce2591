"""Numbers for sequences, as a scikit-learn regressor."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.model_selection import train_test_split

import gatewise
from gatewise.sklearn.base import Pooled, mean_and_scale
from gatewise.sklearn.inputs import Panel, as_numbers, as_panel
from gatewise.sklearn.options import check_choice

Array = NDArray[Any]

__all__ = ["RecurrentRegressor"]

_LOSSES = {"squared_error": gatewise.mse, "huber": gatewise.huber}


class RecurrentRegressor(RegressorMixin, Pooled):
    """A recurrent network that says a number, or some, of each sequence.

    Sequences come in the forms that `RecurrentClassifier` takes. Targets are brought to
    mean 0 and deviation 1 for training, and predictions back.

    Parameters
    ----------
    cell, hidden_size, num_layers, bidirectional, pooling, dropout, learning_rate
        As for `RecurrentClassifier`.
    loss : {"squared_error", "huber"}, default "squared_error"
        Of scaled targets; the second counts what is far off less.
    batch_size, max_iter, max_norm, early_stopping, validation_fraction, n_iter_no_change
        As for `RecurrentClassifier`.
    standardize, warm_start, random_state, verbose
        As for `RecurrentClassifier`.

    Attributes
    ----------
    model_, optimizer_, history_, loss_, n_iter_, n_features_in_, feature_names_in_
        As for `RecurrentClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.sklearn import RecurrentRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((rng.integers(3, 9), 2)) for _ in range(60)]
    >>> y = [x[:, 0].mean() for x in X]
    >>> regressor = RecurrentRegressor(pooling="mean", max_iter=50, random_state=0)
    >>> regressor.fit(X, y).score(X, y) > 0.9
    True
    """

    _is_single: bool
    _y_mean: Array
    _y_scale: Array

    def __init__(
        self,
        cell: str = "gru",
        hidden_size: int = 32,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        pooling: str = "last",
        dropout: float = 0.0,
        learning_rate: float = 0.01,
        loss: str = "squared_error",
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
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.loss = loss
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

    def fit(self, X: Any, y: Any) -> Self:
        """Train on sequences and their numbers.

        Parameters
        ----------
        X : list of arrays, ndarray or frame
            Sequences; see `RecurrentClassifier`.
        y : array_like of shape (n,) or (n, outputs)

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If an option or the dtype of a sequence is not what it should be.
        ValueError
            If an option is out of range, a shape does not fit, or a value is not finite;
            with `warm_start`, if features, outputs or an option of the network are others
            than before.
        """
        panel, targets = self._start(X, y, goes_on=self._goes_on(self.warm_start))
        validation: tuple[Panel, Array] | None = None
        if self.early_stopping:
            kept, held = train_test_split(
                np.arange(len(targets)),
                test_size=self.validation_fraction,
                random_state=self._seed(),
            )
            validation = panel.select(held), targets[held]
            panel, targets = panel.select(kept), targets[kept]
        return self._train(panel, targets, self.max_iter, validation=validation)

    def partial_fit(self, X: Any, y: Any) -> Self:
        """Train for one epoch on these sequences, going on from where training is.

        Those of the first call decide how features and targets are scaled.

        Raises
        ------
        TypeError
            As for `fit`.
        ValueError
            As for `fit`, if features or outputs are others than before too.
        """
        panel, targets = self._start(X, y, goes_on=self._goes_on(True))
        return self._train(panel, targets, 1)

    def predict(self, X: Any) -> Array:
        """Return a number for each sequence, or a row of them.

        Raises
        ------
        TypeError
            If a sequence holds no real numbers.
        ValueError
            If a shape does not fit, or a value is not finite.
        """
        outputs = self._outputs(self._read(X)) * self._y_scale + self._y_mean
        found: Array = outputs[:, 0] if self._is_single else outputs
        return found

    def _start(self, X: Any, y: Any, *, goes_on: bool) -> tuple[Panel, Array]:
        """What to train on, with a network for it."""
        self._check_options()
        check_choice("loss", self.loss, tuple(_LOSSES))
        self._loss = _LOSSES[self.loss]
        panel = as_panel(self, X, reset=not goes_on)
        numbers = as_numbers(self, panel, y)
        is_single = numbers.ndim == 1
        rows = numbers[:, None] if is_single else numbers
        if goes_on:
            shape = (self._is_single, self._y_mean.size)
            if shape != (is_single, rows.shape[1]):
                raise ValueError(
                    f"y should have {self._y_mean.size} outputs as before, "
                    f"got shape {numbers.shape}"
                )
        else:
            self._is_single = is_single
            self._y_mean, self._y_scale = mean_and_scale(rows)
            self._begin(panel, rows.shape[1])
        return panel, ((rows - self._y_mean) / self._y_scale).astype(np.float32)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
