"""Models that go to workers, each loaded once in a process however many tasks need it."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import threading
from collections import Counter, OrderedDict
from typing import Any

import gatewise

__all__ = ["Shipped", "loads"]

# Of so many models, the last used, a process keeps what it has loaded.
_KEPT = 4
_loaded: OrderedDict[str, Any] = OrderedDict()
_lock = threading.Lock()

# How many times this process has loaded each model, by its token.
loads: Counter[str] = Counter()


class Shipped:
    """A model as it travels: its bytes, or the path of a file that workers can read.

    Parameters
    ----------
    model
        A layer, an estimator, or a path of a file for `gatewise.load`.
    num_threads
        How many threads a process that is none of the caller's may use; None for as many as
        it would.

    Attributes
    ----------
    token : str
        The same for the same bytes, or for the same file as long as it is not written.
    """

    def __init__(self, model: Any, num_threads: int | None) -> None:
        self.num_threads = num_threads
        self._home = socket.gethostname(), os.getpid()
        self._bytes: bytes | None = None
        self._path: str | None = None
        if isinstance(model, str | os.PathLike):
            self._path = os.path.abspath(os.fspath(model))
            found = os.stat(self._path)
            content = f"{self._path} {found.st_mtime_ns} {found.st_size}".encode()
        else:
            self._bytes = content = pickle.dumps(model, protocol=5)
        self.token = hashlib.sha256(content).hexdigest()

    @property
    def key(self) -> str:
        """Its name in a graph."""
        return f"gatewise-{self.num_threads}-{self.token}"

    def __dask_tokenize__(self) -> str:
        return self.key

    def get(self) -> Any:
        """Return the model, loaded in this process at the first call."""
        # Another thread that needs it waits, and does not load it again.
        with _lock:
            if self.token not in _loaded:
                _loaded[self.token] = self._load()
                loads[self.token] += 1
                if len(_loaded) > _KEPT:
                    _loaded.popitem(last=False)
            _loaded.move_to_end(self.token)
            return _loaded[self.token]

    def _load(self) -> Any:
        is_home = self._home == (socket.gethostname(), os.getpid())
        if self.num_threads is not None and not is_home:
            # For estimators, which have no argument for it.
            gatewise.set_num_threads(self.num_threads)
        if self._path is not None:
            return gatewise.load(self._path)
        assert self._bytes is not None
        return pickle.loads(self._bytes)
