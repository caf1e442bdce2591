"""Numbers for series, as a regressor of aeon."""

from __future__ import annotations

from typing import Any, ClassVar

from aeon.regression.base import BaseRegressor

import gatewise.sklearn
from gatewise.aeon.adapter import Adapter

__all__ = ["RecurrentRegressor"]


class RecurrentRegressor(Adapter, BaseRegressor):
    """A recurrent network that says a number of each series, in aeon's terms.

    Series may have any number of channels, and unequal lengths.

    Parameters
    ----------
    cell, hidden_size, num_layers, bidirectional, pooling, dropout, learning_rate
        As for `gatewise.sklearn.RecurrentRegressor`.
    batch_size, max_iter, max_norm, early_stopping, validation_fraction, n_iter_no_change
        As there.
    loss, standardize, random_state, verbose
        As there.

    Attributes
    ----------
    estimator_ : gatewise.sklearn.RecurrentRegressor
        What has been fitted; its ``history_`` and ``model_`` are the training and the
        network.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.aeon import RecurrentRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((2, rng.integers(3, 9))) for _ in range(60)]
    >>> y = np.array([x[0].mean() for x in X])
    >>> regressor = RecurrentRegressor(pooling="mean", max_iter=50, random_state=0)
    >>> fitted = regressor.fit(X, y)
    >>> regressor.score(X, y) > 0.9
    True
    """

    _estimator_class: ClassVar[Any] = gatewise.sklearn.RecurrentRegressor

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
        self.random_state = random_state
        self.verbose = verbose
        super().__init__()
