"""Where the rows of a ragged batch stand: step by step, each with the longest first.

`batch_sizes` say how many sequences each step still has. NumPy repeats by integers as wide
as addresses, and by no wider ones, so all of it is counted in these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["repeated", "rows_before", "sequences"]

Indices = NDArray[np.intp]


def repeated(values: NDArray[Any], batch_sizes: NDArray[np.int64]) -> Indices:
    """What belongs to each step, for each of its rows."""
    counts = batch_sizes.astype(np.intp, copy=False)
    return np.repeat(values.astype(np.intp, copy=False), counts)


def sequences(batch_sizes: NDArray[np.int64]) -> Indices:
    """The sequence that each row is of; the longest is the first."""
    starts = np.cumsum(batch_sizes) - batch_sizes
    return np.arange(batch_sizes.sum(), dtype=np.intp) - repeated(starts, batch_sizes)


def rows_before(batch_sizes: NDArray[np.int64]) -> Indices:
    """The row that each row but the first step's comes after in its sequence."""
    later = np.arange(batch_sizes[:1].sum(), batch_sizes.sum(), dtype=np.intp)
    return later - repeated(batch_sizes[:-1], batch_sizes[1:])
