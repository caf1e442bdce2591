"""Classes of sequences, as a scikit-learn classifier."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

import gatewise
from gatewise.sklearn.base import Pooled
from gatewise.sklearn.inputs import Panel, as_labels, as_panel
from gatewise.sklearn.options import check_number

Array = NDArray[Any]

__all__ = ["RecurrentClassifier"]


class RecurrentClassifier(ClassifierMixin, Pooled):
    """A recurrent network that tells classes of sequences apart.

    Sequences come in any of these forms, for training and for prediction:

    - a list of arrays or frames ``(time_i, features)``, of any lengths; those of single
      values may be ``(time_i,)``;
    - an array ``(n, time, features)``;
    - a table ``(n, time)``, an array or a frame of pandas or polars, each row a series of
      single values.

    Parameters
    ----------
    cell : {"gru", "lstm", "rnn"}, default "gru"
    hidden_size : int, default 32
    num_layers : int, default 1
    bidirectional : bool, default False
    pooling : {"last", "mean", "max", "attention"}, default "last"
        What is made of the steps of a sequence.
    dropout : float, default 0.0
        Between layers and before the last.
    learning_rate : float, default 0.01
        Of Adam.
    batch_size : int, default 32
    max_iter : int, default 100
        Epochs of `fit`.
    max_norm : float or None, default 1.0
        Clips the norm of the gradients.
    early_stopping : bool, default False
        Hold `validation_fraction` of the examples out, stop after `n_iter_no_change` epochs
        without a better loss on them, and keep the best parameters.
    validation_fraction : float, default 0.1
    n_iter_no_change : int, default 10
    class_weight : dict, "balanced" or None, default None
        How much examples of each class count in training.
    standardize : bool, default True
        Bring each feature to mean 0 and deviation 1 over all steps of the training data.
    warm_start : bool, default False
        Let `fit` go on with the network that is there.
    random_state : int, RandomState or None, default None
    verbose : bool, default False
        Show progress on stderr.

    Attributes
    ----------
    classes_ : ndarray
    model_ : gatewise.Sequential
        The network; `gatewise.save` can keep it. It takes scaled features.
    optimizer_ : gatewise.Adam
    history_ : gatewise.training.History
        The losses of all epochs, which can be plotted.
    loss_ : float
        Of the last epoch.
    n_iter_ : int
        How many epochs there were, of all fits that went on.
    n_features_in_ : int
        The features of a step, or the columns of a table.
    feature_names_in_ : ndarray of str
        Of a frame, or of frames for sequences, whose columns have names.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.sklearn import RecurrentClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((rng.integers(3, 9), 2)) for _ in range(60)]
    >>> y = np.array(["down" if x[:, 0].sum() < 0 else "up" for x in X])
    >>> classifier = RecurrentClassifier(hidden_size=16, max_iter=30, random_state=0)
    >>> classifier.fit(X, y).score(X, y) > 0.9
    True
    >>> classifier.history_[-1].loss < classifier.history_[0].loss
    True
    """

    _loss = staticmethod(gatewise.cross_entropy)

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
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.max_norm = max_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.standardize = standardize
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Train on sequences and their labels.

        Parameters
        ----------
        X : list of arrays, ndarray or frame
            Sequences; see the class.
        y : array_like of shape (n,)
            Labels, of numbers or strings.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If an option or the dtype of a sequence is not what it should be.
        ValueError
            If an option is out of range, a shape does not fit, or a value is not finite;
            with `warm_start`, if labels, features or an option of the network are others
            than before.
        """
        self._check_options()
        goes_on = self._goes_on(self.warm_start)
        panel = as_panel(self, X, reset=not goes_on)
        labels = as_labels(self, panel, y)
        check_classification_targets(labels)
        if not goes_on:
            self.classes_ = np.unique(labels)
            self._begin(panel, len(self.classes_))
        targets = self._encode(labels)
        validation: tuple[Panel, Array] | None = None
        if self.early_stopping:
            kept, held = train_test_split(
                np.arange(len(targets)),
                test_size=self.validation_fraction,
                random_state=self._seed(),
                stratify=targets,
            )
            validation = panel.select(held), targets[held]
            panel, targets, labels = panel.select(kept), targets[kept], labels[kept]
        return self._train(
            panel,
            targets,
            self.max_iter,
            validation=validation,
            class_weight=self._weights(labels),
        )

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Train for one epoch on these sequences, going on from where training is.

        Parameters
        ----------
        X : list of arrays, ndarray or frame
            Sequences; see the class. Those of the first call decide how features are
            scaled.
        y : array_like of shape (n,)
        classes : array_like, optional
            All labels that will ever come; needed in the first call.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            As for `fit`.
        ValueError
            As for `fit`; if `classes` are missing in the first call, or others than before.
        """
        self._check_options()
        begun = self._goes_on(True)
        if not begun and classes is None:
            raise ValueError("classes should be all labels in the first call, got None")
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight should be a dict or None for partial_fit, which does not "
                f"know how frequent classes are, got {self.class_weight!r}"
            )
        known = self.classes_ if classes is None else np.unique(classes)
        if begun and not np.array_equal(known, self.classes_):
            raise ValueError(
                f"classes should be those of the first call, {self.classes_}, got {known}"
            )
        panel = as_panel(self, X, reset=not begun)
        labels = as_labels(self, panel, y)
        check_classification_targets(labels)
        if not begun:
            self.classes_ = known
            self._begin(panel, len(known))
        targets = self._encode(labels)
        return self._train(panel, targets, 1, class_weight=self._weights(self.classes_))

    def predict(self, X: Any) -> Array:
        """Return the most likely label of each sequence.

        Raises
        ------
        TypeError
            If a sequence holds no real numbers.
        ValueError
            If a shape does not fit, or a value is not finite.
        """
        places = self._outputs(self._read(X)).argmax(axis=1)
        found: Array = self.classes_[places]
        return found

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each label, ``(n, classes)``, in their order.

        Raises
        ------
        TypeError
            If a sequence holds no real numbers.
        ValueError
            If a shape does not fit, or a value is not finite.
        """
        scores = self._outputs(self._read(X)).astype(np.float64)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: Array = scores / scores.sum(axis=1, keepdims=True)
        return shares

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`.

        Raises
        ------
        TypeError
            If a sequence holds no real numbers.
        ValueError
            If a shape does not fit, or a value is not finite.
        """
        scores = self._outputs(self._read(X)).astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        logarithms: Array = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return logarithms

    def decision_function(self, X: Any) -> Array:
        """Return the scores before the softmax, ``(n, classes)``.

        Of two classes it is one number for each sequence, above 0 for the second.

        Raises
        ------
        TypeError
            If a sequence holds no real numbers.
        ValueError
            If a shape does not fit, or a value is not finite.
        """
        scores = self._outputs(self._read(X)).astype(np.float64)
        if len(self.classes_) == 2:
            margin: Array = scores[:, 1] - scores[:, 0]
            return margin
        return scores

    def _encode(self, labels: Array) -> Array:
        check_is_fitted(self, "classes_")
        unknown = np.setdiff1d(labels, self.classes_)
        if unknown.size:
            raise ValueError(
                f"y should have labels of classes {self.classes_}, got {unknown[:3]}"
            )
        return np.searchsorted(self.classes_, labels)

    def _weights(self, labels: Array) -> dict[int, float] | None:
        """How much each class counts, by its place."""
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, dict):
            return self._given_weights(self.class_weight)
        there = np.unique(labels)
        weights = compute_class_weight(self.class_weight, classes=there, y=labels)
        places = self._encode(there).tolist()
        return dict(zip(places, map(float, weights), strict=True))

    def _given_weights(self, given: dict[Any, Any]) -> dict[int, float]:
        """The weights of a dict, which may be of more classes if it is of all that are."""
        classes = self.classes_.tolist()
        unknown = [label for label in given if label not in classes]
        if unknown and not all(label in given for label in classes):
            raise ValueError(
                f"class_weight should be of the classes {self.classes_}, got {unknown[:3]}"
            )
        for label, weight in given.items():
            check_number(f"class_weight[{label!r}]", weight)
        return {
            place: float(given[label])
            for place, label in enumerate(classes)
            if label in given
        }
