"""Numbers that callers give, checked in the same words everywhere in training."""

from __future__ import annotations

import math
import numbers
import operator

import numpy as np

__all__ = ["as_count", "as_number", "describe"]


def as_number(name: str, value: object) -> float:
    """Return `value` as a float, if it is a finite number of at least 0."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{name} should be a number, got {describe(value)}")
    number = float(value)
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"{name} should be a finite number of at least 0, got {value!r}")
    return number


def as_count(name: str, value: object, lowest: int) -> int:
    """Return `value` as an int, if it is a whole number of at least `lowest`."""
    try:
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} should be an integer, got {describe(value)}") from None
    if count < lowest:
        raise ValueError(f"{name} should be at least {lowest}, got {count}")
    return count


def describe(value: object) -> str:
    """What `value` is, in brief, for an error.

    Examples
    --------
    >>> from gatewise.training.arguments import describe
    >>> describe(gatewise.Adam), describe("adam"), describe(np.ones((2, 3))), describe([1])
    ('the class Adam', "'adam'", 'an array of shape (2, 3)', 'a list')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if value is None or isinstance(value, str | bytes | numbers.Number):
        return repr(value)[:60]
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
