"""How many threads a call may use."""

from __future__ import annotations

import operator
import os

__all__ = ["get_num_threads", "resolve", "set_num_threads"]

_VARIABLE = "GATEWISE_NUM_THREADS"

# GW_MOST_THREADS of the C core.
_MOST = 64


def _checked(name: str, value: object) -> int:
    try:
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer; got {type(value).__name__}") from None
    if count < 1:
        raise ValueError(f"{name} must be at least 1; got {count}")
    return min(count, _MOST)


def _initial() -> int:
    text = os.environ.get(_VARIABLE)
    if text:
        try:
            return _checked(_VARIABLE, int(text))
        except ValueError:
            raise ValueError(
                f"{_VARIABLE} must be a whole number of at least 1; got {text!r}"
            ) from None
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), _MOST)
    return min(os.cpu_count() or 1, _MOST)


_count = _initial()


def get_num_threads() -> int:
    """Return how many threads a call may use.

    At first that is the number of cores this process may run on, or what the environment
    variable GATEWISE_NUM_THREADS says. A call uses fewer where more would not be faster,
    and its results do not depend on the number.

    Returns
    -------
    int
        The number of threads.

    Examples
    --------
    >>> import gatewise
    >>> gatewise.get_num_threads() >= 1
    True
    """
    return _count


def set_num_threads(num_threads: int) -> None:
    """Set how many threads a call may use, in this process, from now on.

    Parameters
    ----------
    num_threads : int
        At least 1; the calling thread counts. More than 64 count as 64.

    Raises
    ------
    TypeError
        If `num_threads` is not an integer.
    ValueError
        If `num_threads` is less than 1.

    Examples
    --------
    >>> import gatewise
    >>> before = gatewise.get_num_threads()
    >>> gatewise.set_num_threads(1)
    >>> gatewise.get_num_threads()
    1
    >>> gatewise.set_num_threads(before)
    """
    global _count
    _count = _checked("num_threads", num_threads)


def resolve(num_threads: int | None) -> int:
    """Give the number for one call: its own, or the process's where that is None."""
    return _count if num_threads is None else _checked("num_threads", num_threads)
