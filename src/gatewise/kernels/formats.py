"""The table of formats: how the kernels can keep weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["FORMATS", "Format", "look_up"]


class Format(NamedTuple):
    """A format: the dtype of its elements, and whether each row has a scale as well.

    What is not `narrow` has the precision of the sums. `largest` is the largest weight that
    a narrow one can hold.
    """

    dtype: np.dtype[Any]
    narrow: bool
    scaled: bool
    largest: float


def _largest(dtype: Any) -> float:
    return float(np.finfo(dtype).max)


FORMATS = {
    "float32": Format(np.dtype(np.float32), False, False, _largest(np.float32)),
    "float64": Format(np.dtype(np.float64), False, False, _largest(np.float64)),
    "float16": Format(np.dtype(np.float16), True, False, _largest(np.float16)),
    "int8": Format(np.dtype(np.int8), True, True, _largest(np.float32)),
}


def look_up(name: str) -> Format:
    """Return the format of this name.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> from gatewise.kernels import formats
    >>> formats.look_up("int8").scaled
    True
    """
    try:
        return FORMATS[name]
    except KeyError:
        expected = ", ".join(FORMATS)
        raise ValueError(f"format should be one of {expected}, got {name!r}") from None
