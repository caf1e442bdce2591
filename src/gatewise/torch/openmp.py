"""Sending PyTorch's own threads to sleep before the kernels use theirs.

After an operation on several threads those of OpenMP wait awake for the next, for some
milliseconds, and hold cores that the kernels' threads were to have: two of theirs then do
the work of one and a half. OpenMP has a call that ends the waiting [1]_. The next large
operation of PyTorch's starts its threads anew, which costs tens of microseconds, so only
large calls are worth it.

References
----------
.. [1] OpenMP Architecture Review Board (2018). "OpenMP Application Programming Interface",
   version 5.0, section 3.2.44, omp_pause_resource_all.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["end_waiting"]

# How many multiply-adds a call has for each thread, where it is worth it.
_LEAST_PRODUCTS = 20_000_000
_SOFT = 1


def _find() -> Callable[[int], Any] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        # PyTorch makes the library that it runs on known to everybody in the process.
        found: Any = ctypes.CDLL(None).omp_pause_resource_all
    except (AttributeError, OSError):
        return None
    found.argtypes, found.restype = [ctypes.c_int], ctypes.c_int
    pause: Callable[[int], Any] = found
    return pause


_pause = _find()


def _forget() -> None:
    """In a child the threads are gone, and who ends them would wait for them forever."""
    global _pause
    _pause = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def end_waiting(products: int, threads: int) -> None:
    """Send them to sleep, if a call of so many multiply-adds is worth it."""
    if threads > 1 and products >= _LEAST_PRODUCTS * threads and _pause is not None:
        _pause(_SOFT)
