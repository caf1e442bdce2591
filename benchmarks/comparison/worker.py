"""One contestant in a process of its own, and the handle by which it is told what to do.

A worker is stopped by signal whenever it is not asked anything: the threads of some peers
go on spinning for a while after a call, which would be felt by whoever runs next.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Self

from comparison.bench import Bench
from comparison.bounds import Bounds
from comparison.machine import cpu_flags, usable_cores

# A worker that says nothing for so many seconds is given up.
PATIENCE = 600.0


class WorkerError(Exception):
    """What a worker was asked for failed there."""


class Worker:
    """A handle of a process that runs a contestant, or measures bounds for ``"bounds"``.

    Parameters
    ----------
    name
        A contestant, or ``"bounds"`` or ``"numpy"`` to measure rates with the widest
        instructions of this processor, or with those that NumPy chooses.
    threads
        How many threads it may use, on as many cores.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self.threads = threads
        self.version = ""
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, self.name, self.threads), daemon=True
        )
        with _restricted(self.name, self.threads):
            self._process.start()
        other.close()

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def greet(self) -> None:
        """Wait until the process is ready."""
        self.version = self.finish()

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of the `Bench` or the `Bounds` there, and return its answer."""
        self.begin(method, *arguments)
        return self.finish()

    def begin(self, method: str, *arguments: Any) -> None:
        """Ask without waiting for the answer, which `finish` returns."""
        if not self._process.is_alive():
            self._connection.close()
            self._start()
            self.greet()
        self._signal("SIGCONT")
        self._connection.send((method, arguments))

    def finish(self) -> Any:
        """Wait for the answer; a process that died is started again when next asked."""
        try:
            if not self._connection.poll(PATIENCE):
                raise EOFError
            done, answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.kill()
            self._process.join()
            code = self._process.exitcode
            raise WorkerError(f"its process ended with exit code {code}") from None
        self._signal("SIGSTOP")
        if not done:
            raise WorkerError(answer)
        return answer

    def _signal(self, name: str) -> None:
        # Windows has no such signals: there a peer that spins is felt.
        if hasattr(signal, name):
            os.kill(self.pid, getattr(signal, name))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(connection: Connection, name: str, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server: Any = None
    try:
        server = Bounds(threads) if name in ("bounds", "numpy") else Bench(name, threads)
        # What was imported stays, and need not be looked through before every turn.
        gc.collect()
        gc.freeze()
        connection.send((True, server.version))
    except Exception as error:
        connection.send((False, f"{type(error).__name__}: {error}"))
        return
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, getattr(server, method)(*arguments))
        except Exception as error:
            answer = (False, f"{type(error).__name__}: {error}".splitlines()[0])
        connection.send(answer)


@contextmanager
def _restricted(name: str, threads: int) -> Iterator[None]:
    """Processes started within have so many threads and cores from their beginning."""
    changed = _environment(name, threads)
    before = {key: os.environ.get(key) for key in changed}
    cores = usable_cores()
    os.environ.update(changed)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores[-threads:])
    try:
        yield
    finally:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _environment(name: str, threads: int) -> dict[str, str]:
    changed = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)
    )
    changed["JAX_PLATFORMS"] = "cpu"
    if threads == 1:
        changed["XLA_FLAGS"] = (
            "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        )
    if name in ("bounds", "numpy"):
        # These run as many products side by side as there are threads.
        changed["OPENBLAS_NUM_THREADS"] = "1"
    if name == "bounds" and "avx512f" in cpu_flags():
        # OpenBLAS leaves AVX-512 unused on some processors that have it.
        changed["OPENBLAS_CORETYPE"] = "SKYLAKEX"
    return changed
