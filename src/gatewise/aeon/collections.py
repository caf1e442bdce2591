"""aeon's collections, with the axes that gatewise has."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["TAGS", "time_first"]

# What aeon asks of an estimator before it gives it a collection.
TAGS: dict[str, Any] = {
    "X_inner_type": ["np-list", "numpy3D"],
    "capability:multivariate": True,
    "capability:unequal_length": True,
    "algorithm_type": "deeplearning",
}


def time_first(collection: Any) -> Any:
    """Return ``(cases, channels, timepoints)`` with time before channels.

    A list has an array ``(channels, timepoints_i)`` for each case.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.aeon.collections import time_first
    >>> time_first(np.zeros((2, 3, 5))).shape
    (2, 5, 3)
    >>> [series.shape for series in time_first([np.zeros((3, 5)), np.zeros((3, 4))])]
    [(5, 3), (4, 3)]
    """
    if isinstance(collection, np.ndarray):
        return collection.transpose(0, 2, 1)
    return [series.T for series in collection]
