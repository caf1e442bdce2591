"""How many threads a call may use, and who says so."""

from __future__ import annotations

import operator
import os
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from gatewise.kernels import threadpoolctl
from gatewise.kernels.cgroup import cpu_quota

__all__ = [
    "describe",
    "get_num_threads",
    "last_known",
    "register",
    "resolve",
    "set_num_threads",
]

_VARIABLE = "GATEWISE_NUM_THREADS"

# GW_MOST_THREADS of the C core.
_MOST = 64

# So many calls pass before the affinity mask is asked for again: on a machine of many cores
# the question takes longer than a small call.
_CALLS = 100
_calls = 0


class _Limit(NamedTuple):
    number: int
    source: str
    may_change: bool = False


# From the last word to the first: what threadpoolctl sets for a time, what was set in this
# process, and what the environment or the machine says.
_limited: _Limit | None = None
_set: _Limit | None = None
_found: _Limit | None = None

# The numbers of the first two and of the third, or 0: what small calls look at.
fixed = 0
host_number = 0


def get_num_threads() -> int:
    """Return how many threads a call may use.

    It is the number of the first of these that says one:

    1. `set_num_threads` or ``threadpoolctl.threadpool_limits``;
    2. the environment variable GATEWISE_NUM_THREADS;
    3. the environment variable OMP_NUM_THREADS, the first number if it is a list; as with
       OpenMP, a value is ignored that is no list of positive whole numbers;
    4. the CPU quota of the process's control group, rounded up, or the cores in its
       affinity mask, whichever are fewer; or all cores, on a system that knows neither.

    The variables and the quota are read at first use, and again after a fork. The mask,
    that of the main thread, is asked for again by this function and by one call in a
    hundred; steps of a stream do not count.

    A call of fewer than half a million multiply-adds uses one thread. Results do not depend
    on the number. ``gatewise.show_config()`` says who says it.

    Returns
    -------
    int
        The number of threads.

    Raises
    ------
    ValueError
        If GATEWISE_NUM_THREADS is no whole number of at least 1; an import of gatewise
        raises it as well.

    Examples
    --------
    >>> import gatewise
    >>> gatewise.get_num_threads() >= 1
    True
    """
    register()
    return _limit().number


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

    See Also
    --------
    get_num_threads : Says what holds where nothing is set.

    Notes
    -----
    ``threadpoolctl.threadpool_limits`` sets it for a time, unless its ``user_api`` is
    another than ``"gatewise"``. It acts on all threads of the process, but not on calls and
    streams that have numbers of their own. If threadpoolctl is imported after gatewise, it
    knows of gatewise once a layer is made or `get_num_threads` is called. On NumPy there is
    nothing to know of: the threads are those of BLAS, which threadpoolctl limits itself.

    Examples
    --------
    >>> import gatewise
    >>> before = gatewise.get_num_threads()
    >>> gatewise.set_num_threads(1)
    >>> gatewise.get_num_threads()
    1
    >>> gatewise.set_num_threads(before)
    """
    global _limited, _set
    _set = _Limit(_checked("num_threads", num_threads), "set_num_threads")
    _limited = None
    _fix()


def register() -> None:
    """Make the process's number known to threadpoolctl, if that has been imported."""
    threadpoolctl.register(get_num_threads, _set_for_a_time)


def resolve(num_threads: int | None) -> int:
    """Give the number for one call: its own, or the process's where that is None."""
    global _calls
    if num_threads is not None:
        return _checked("num_threads", num_threads)
    _calls += 1
    return _limit().number if _calls > _CALLS else fixed or host_number or _limit().number


def last_known() -> int:
    """Give the process's number without asking the machine, for steps of a microsecond."""
    return fixed or host_number or _limit().number


def describe() -> str:
    """Say the process's number, and who says it."""
    limit = _limit()
    return f"{limit.number} ({limit.source})"


def _set_for_a_time(num_threads: int) -> None:
    """Set the number for threadpoolctl, which ends a limit by setting what was before."""
    global _limited
    number = _checked("num_threads", num_threads)
    ended = number == (_set or _host()).number
    _limited = None if ended else _Limit(number, "threadpoolctl")
    _fix()


def _fix() -> None:
    global fixed
    while True:
        limit = _limited or _set
        fixed = limit.number if limit else 0
        # Unless another thread has set a number in between.
        if limit is (_limited or _set):
            return


def _limit() -> _Limit:
    """What holds now; the machine is asked where it is its to say."""
    global _calls
    _calls = 0
    return _limited or _set or _host()


def _host() -> _Limit:
    """What the environment says or, where it says nothing, the machine."""
    global _found, host_number
    found = _found
    if found is None:
        found = _found = _environment() or _machine()
    elif found.may_change:
        found = _found = _machine()
    host_number = found.number
    return found


def _environment() -> _Limit | None:
    text = os.environ.get(_VARIABLE)
    if text:
        try:
            return _Limit(_checked(_VARIABLE, int(text)), _VARIABLE)
        except ValueError:
            raise ValueError(
                f"{_VARIABLE} should be a whole number of at least 1, got {text!r}"
            ) from None
    items = os.environ.get("OMP_NUM_THREADS", "").split(",")
    digits = [item.strip().removeprefix("+").lstrip("0") for item in items]
    # As many as a C long has room for: more is as wrong as none.
    if all(item.isascii() and item.isdecimal() and len(item) < 19 for item in digits):
        return _Limit(min(int(digits[0]), _MOST), "OMP_NUM_THREADS")
    return None


def _machine() -> _Limit:
    count, source = 0, "affinity mask"
    if hasattr(os, "sched_getaffinity"):
        # Some sandboxes forbid the question.
        with suppress(OSError):
            # That of the main thread: the answer is the same whichever thread asks.
            count = len(os.sched_getaffinity(os.getpid()))
    if not count:
        count, source = os.cpu_count() or 1, "number of cores"
    quota = _quota()
    if quota is not None and quota < count:
        count, source = quota, "CPU quota of the control group"
    return _Limit(min(count, _MOST), source, may_change=True)


@cache
def _quota() -> int | None:
    return cpu_quota()


def _checked(name: str, value: object) -> int:
    try:
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"{name} should be an integer, got {type(value).__name__}"
        ) from None
    if count < 1:
        raise ValueError(f"{name} should be at least 1, got {count}")
    return min(count, _MOST)


def _forget() -> None:
    """Ask anew, in a child that may have been given another share of the machine."""
    global _found, host_number
    _found, host_number = None, 0
    _quota.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

# What is wrong with it is better said by the import than by the first large call.
_environment()
