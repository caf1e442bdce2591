"""What estimators are given, in any of its forms, as sequences in one array."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, check_consistent_length, validation
from sklearn.utils.validation import column_or_1d

import gatewise

Array = NDArray[Any]

__all__ = ["Panel", "as_labels", "as_numbers", "as_panel", "check_array"]

# Their types, as checkers guess them, are those of their defaults.
check_array: Any = validation.check_array
validate_data: Any = validation.validate_data

_FLOATS = [np.float64, np.float32]


class Panel(NamedTuple):
    """Sequences ``(n, time, features)``, and how many steps of each exist if not all do."""

    x: Array
    lengths: NDArray[np.int64] | None

    def select(self, places: Any) -> Panel:
        """The sequences at these places."""
        lengths = None if self.lengths is None else self.lengths[places]
        return Panel(self.x[places], lengths)

    def steps(self) -> Array:
        """All steps that exist, ``(steps, features)``."""
        if self.lengths is None:
            return self.x.reshape(-1, self.x.shape[2])
        return self.x[np.arange(self.x.shape[1]) < self.lengths[:, None]]


def as_panel(estimator: Any, X: Any, *, reset: bool) -> Panel:
    """Return the sequences in `X`, checked in scikit-learn's words where it has some.

    Parameters
    ----------
    estimator
        Has ``n_features_in_`` and its like set if `reset`, and compared with otherwise.
    X
        A list of arrays or frames ``(time_i, features)``, an array ``(n, time, features)``,
        or a table ``(n, time)``, frames too, whose rows are series of single values.
    reset
        Whether this is for a fit.
    """
    sequences = _as_list(X)
    if sequences is not None:
        return _of_sequences(estimator, sequences, reset)
    if isinstance(X, np.ndarray) and X.ndim == 3:
        x: Array = check_array(X, dtype=_FLOATS, allow_nd=True, input_name="X")
        if 0 in x.shape:
            raise ValueError(f"X should have steps and features, got shape {x.shape}")
        _check_features(estimator, x.shape[2], reset)
        return Panel(x, None)
    if not reset and not estimator._fitted_on_table:
        x = check_array(X, dtype=_FLOATS, input_name="X", estimator=estimator)
        if estimator.n_features_in_ != 1:
            raise ValueError(
                "X should be a list of sequences, or have shape (n, time, "
                f"{estimator.n_features_in_}), got shape {x.shape}"
            )
    else:
        x = validate_data(estimator, X, reset=reset, dtype=_FLOATS)
        estimator._fitted_on_table = True
    return Panel(x[:, :, None], None)


def as_labels(estimator: Any, panel: Panel, y: Any) -> Array:
    """Return one label for each sequence."""
    _check_there(estimator, y)
    labels: Array = column_or_1d(y, warn=True)
    assert_all_finite(labels, input_name="y")
    check_consistent_length(panel.x, labels)
    return labels


def as_numbers(estimator: Any, panel: Panel, y: Any) -> Array:
    """Return one number for each sequence, or one row of them."""
    _check_there(estimator, y)
    numbers: Array = check_array(y, ensure_2d=False, dtype=_FLOATS, input_name="y")
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = column_or_1d(numbers, warn=True)
    check_consistent_length(panel.x, numbers)
    return numbers.astype(np.float64, copy=False)


def _check_there(estimator: Any, y: Any) -> None:
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the "
            "target y is None."
        )


def _as_list(X: Any) -> list[Array] | None:
    """The sequences in a list of them; None if it is a table, or nothing of the kind."""
    # An array of objects, or a series of pandas or polars, that holds sequences.
    is_column = len(getattr(X, "shape", ())) == 1 and hasattr(X, "__iter__")
    if not isinstance(X, list | tuple) and not is_column:
        return None
    arrays = []
    for place, sequence in enumerate(X):
        try:
            arrays.append(np.asarray(sequence))
        except ValueError as error:
            raise ValueError(f"X[{place}] should be an array: {error}") from error
    if all(array.ndim < 2 for array in arrays):
        # Rows of a table, unless they are of unequal length.
        is_table = len({array.shape for array in arrays}) < 2
        if is_table or any(array.ndim == 0 for array in arrays):
            return None
    return arrays


def _of_sequences(estimator: Any, arrays: list[Array], reset: bool) -> Panel:
    features = arrays[0].shape[1] if arrays[0].ndim == 2 else 1
    whole = []
    for place, array in enumerate(arrays):
        if np.iscomplexobj(array):
            raise ValueError(f"Complex data not supported\nX[{place}] has {array.dtype}")
        if array.dtype.kind not in "fiub":
            raise TypeError(f"X[{place}] should hold real numbers, got {array.dtype}")
        sequence = array[:, None] if array.ndim == 1 else array
        if sequence.ndim != 2 or sequence.shape[1] != features or not features:
            raise ValueError(
                f"X[{place}] should have shape (time, {max(features, 1)}), "
                f"got {array.shape}"
            )
        if not len(sequence):
            raise ValueError(f"X[{place}] should have at least one step, got none")
        whole.append(sequence)
    x, lengths = gatewise.training.pad_sequences(whole)
    if x.dtype not in _FLOATS:
        x = x.astype(np.float64)
    assert_all_finite(x, input_name="X")
    _check_features(estimator, features, reset)
    return Panel(x, None if (lengths == x.shape[1]).all() else lengths)


def _check_features(estimator: Any, features: int, reset: bool) -> None:
    """Set how many features a step has, or compare it."""
    if reset:
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
        estimator.n_features_in_ = features
        estimator._fitted_on_table = False
        return
    wanted = 1 if estimator._fitted_on_table else estimator.n_features_in_
    if features != wanted:
        raise ValueError(
            f"X has {features} features, but {type(estimator).__name__} is expecting "
            f"{wanted} features as input."
        )
