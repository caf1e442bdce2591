"""Lets threadpoolctl, where a program uses it, limit the threads of the compiled kernels.

It looks for the file names of libraries among all that are loaded, and asks a class that
was registered with it. Nothing can be registered before it is imported, which gatewise does
not do; so whatever comes before a call of the kernels looks whether it has been.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from gatewise.kernels import chooser

__all__ = ["register"]

# Taken for good by the one thread that registers.
_turn = threading.Lock()


def register(get: Callable[[], int], set_: Callable[[int], None]) -> None:
    """Make compiled kernels known to threadpoolctl, once, if it has been imported.

    Parameters
    ----------
    get, set_ : callable
        What gives and what sets the number of threads of the process.
    """
    if _turn.locked() or "threadpoolctl" not in sys.modules:
        return
    threadpoolctl: Any = sys.modules["threadpoolctl"]
    if not hasattr(threadpoolctl, "register") or not _turn.acquire(blocking=False):
        return
    if chooser.name == "native":
        path = os.path.realpath(str(chooser.kernels.__file__))
        threadpoolctl.register(_controller(threadpoolctl.LibController, path, get, set_))


def _controller(
    base: Any, path: str, get: Callable[[], int], set_: Callable[[int], None]
) -> type:
    """A subclass of threadpoolctl's LibController, for the compiled module at `path`."""

    class GatewiseController(base):  # type: ignore[misc]
        user_api = "gatewise"
        internal_api = "gatewise"
        filename_prefixes = (os.path.basename(path).lower(),)
        check_symbols = ("PyInit_compiled",)

        def get_num_threads(self) -> int:
            return get()

        def set_num_threads(self, num_threads: int) -> None:
            set_(num_threads)

        def get_version(self) -> str:
            import gatewise

            return gatewise.__version__

        def set_additional_attributes(self) -> None:
            # A module of this name in another package has the symbol too, and is not ours.
            if not os.path.samefile(self.filepath, path):
                self.dynlib = None

    return GatewiseController
