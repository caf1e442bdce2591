"""Classes of series, as a classifier of aeon."""

from __future__ import annotations

from typing import Any, ClassVar

from aeon.classification.base import BaseClassifier
from numpy.typing import NDArray

import gatewise.sklearn
from gatewise.aeon.adapter import Adapter
from gatewise.aeon.collections import time_first

Array = NDArray[Any]

__all__ = ["RecurrentClassifier"]


class RecurrentClassifier(Adapter, BaseClassifier):
    """A recurrent network that tells classes of series apart, in aeon's terms.

    Series may have any number of channels, and unequal lengths.

    Parameters
    ----------
    cell, hidden_size, num_layers, bidirectional, pooling, dropout, learning_rate
        As for `gatewise.sklearn.RecurrentClassifier`.
    batch_size, max_iter, max_norm, early_stopping, validation_fraction, n_iter_no_change
        As there.
    class_weight, standardize, random_state, verbose
        As there.

    Attributes
    ----------
    estimator_ : gatewise.sklearn.RecurrentClassifier
        What has been fitted; its ``history_`` and ``model_`` are the training and the
        network.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.aeon import RecurrentClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((2, rng.integers(3, 9))) for _ in range(60)]
    >>> y = np.array(["down" if x[0].sum() < 0 else "up" for x in X])
    >>> classifier = RecurrentClassifier(hidden_size=16, max_iter=30, random_state=0)
    >>> fitted = classifier.fit(X, y)
    >>> bool((classifier.predict(X) == y).mean() > 0.9)
    True
    """

    _estimator_class: ClassVar[Any] = gatewise.sklearn.RecurrentClassifier

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
        batch_size: int = 32,
        max_iter: int = 100,
        max_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        class_weight: Any = None,
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
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.max_norm = max_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.standardize = standardize
        self.random_state = random_state
        self.verbose = verbose
        super().__init__()

    def _predict_proba(self, X: Any) -> Array:
        shares: Array = self.estimator_.predict_proba(time_first(X))
        return shares
