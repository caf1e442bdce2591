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
        names = _column_names(X)
        panel = _of_sequences(estimator, sequences, reset)
        if names is not None:
            _check_names(estimator, names, reset)
        return panel
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
            arrays.append(_as_array(sequence))
        except ValueError as error:
            raise ValueError(f"X[{place}] should be an array: {error}") from error
    if all(array.ndim < 2 for array in arrays):
        # Rows of a table, unless they are of unequal length.
        is_table = len({array.shape for array in arrays}) < 2
        if is_table or any(array.ndim == 0 for array in arrays):
            return None
    return arrays


def _as_array(sequence: Any) -> Array:
    """One sequence as an array, whose dtype holds all columns of a frame of numbers."""
    array = np.asarray(sequence)
    if array.dtype == object and hasattr(sequence, "to_numpy"):
        # pandas has no common dtype of numbers and booleans, or of what may be missing.
        dtypes = np.atleast_1d(np.asarray(getattr(sequence, "dtypes", None), object))
        if all(getattr(dtype, "kind", "O") in "fiub" for dtype in dtypes):
            array = sequence.to_numpy(dtype=np.float64, na_value=np.nan)
    return array


def _column_names(X: Any) -> list[str] | None:
    """The columns of frames that are sequences; None if they are no frames with names."""
    names: list[str] | None = None
    for place, sequence in enumerate(X):
        columns = getattr(sequence, "columns", None)
        if columns is None or not all(isinstance(name, str) for name in columns):
            return None
        if names is not None and list(columns) != names:
            raise ValueError(
                f"X[{place}] should have the columns {names} as the first has, "
                f"got {list(columns)}"
            )
        names = list(columns)
    return names


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


def _check_names(estimator: Any, names: list[str], reset: bool) -> None:
    """Set what the features of a step are called, or compare it."""
    if reset:
        estimator.feature_names_in_ = np.array(names, object)
        return
    before = getattr(estimator, "feature_names_in_", None)
    if estimator._fitted_on_table or before is None:
        return
    if names != before.tolist():
        raise ValueError(
            f"X should have frames with the columns {before.tolist()} as in fit, "
            f"got {names}"
        )


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
