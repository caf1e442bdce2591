"""What the machine could do at best: the rate of products, and of reading weights.

A batch is bound by the rate of a large product of matrices, which is measured as one NumPy
product per thread, side by side. At batch 1 each step must read the recurrent weights once;
the rate is that of dot products that read as many bytes again and again, so that it is the
rate of the cache, or of the memory, that they fit in.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np

from comparison.grid import Case
from comparison.work import sequence_lengths

# The side of the matrices whose product is timed, and the bytes that are read at least.
SIDE = 1024
READ = 2**28
UNLOCKED = 1000


class Bounds:
    """What runs within the worker that measures rates."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self.version = f"NumPy {np.__version__}{_blas_kernels()}"

    def rates(self, case: Case) -> tuple[float, float]:
        """Return operations and bytes per second, as they matter to a case."""
        return self.product_rate(case.dtype), self.read_rate(case.dtype, bytes_read(case))

    def product_rate(self, dtype: str) -> float:
        """Return the floating-point operations per second of products of matrices."""

        def prepare() -> Callable[[], Any]:
            a, b = np.ones((SIDE, SIDE), dtype), np.ones((SIDE, SIDE), dtype)
            out = np.empty_like(a)
            return lambda: np.matmul(a, b, out=out)

        return 2 * SIDE**3 * self._threads / self._fastest(prepare)

    def read_rate(self, dtype: str, size: int) -> float:
        """Return the bytes per second of reading `size` bytes again and again."""
        itemsize = np.dtype(dtype).itemsize
        times = max(4, READ // size)
        # Below some number of products NumPy holds the lock that lets one thread run.
        parts = max(1, -(-UNLOCKED // times))
        items = max(1, size // (2 * self._threads * itemsize * parts))

        def prepare() -> Callable[[], Any]:
            rows, columns = (
                np.ones((parts, 1, items), dtype),
                np.ones((parts, items, 1), dtype),
            )
            again = np.broadcast_to(rows, (times, *rows.shape))
            out = np.empty((times, parts, 1, 1), dtype)
            return lambda: np.matmul(again, columns, out=out)

        read = 2 * items * parts * itemsize * self._threads * times
        return read / self._fastest(prepare)

    def _fastest(self, prepare: Callable[[], Callable[[], Any]]) -> float:
        """The seconds that all threads together take for one call each."""
        calls = [prepare() for _ in range(self._threads)]
        durations = []
        for _ in range(3):
            start = perf_counter()
            for future in [self._pool.submit(call) for call in calls]:
                future.result()
            durations.append(perf_counter() - start)
        return min(durations)


def bytes_read(case: Case) -> int:
    """How many bytes of weights a step reads, over and over.

    A sequence runs through one layer after the other, its input's product outside the loop.
    A streaming step reads all weights of all layers.
    """
    rows = case.gates * case.hidden_size
    columns = case.hidden_size
    if case.streaming:
        columns = sum(size + case.hidden_size for size in case.input_sizes())
    return rows * columns * np.dtype(case.dtype).itemsize


def bound_seconds(case: Case, product_rate: float, read_rate: float) -> float:
    """Return the least time a case can take: all its products at the rate of the largest.

    At batch 1 the recurrent products take as long as reading their weights. The backward
    pass has twice the products of the forward one, half of them outside the loop.
    Activations count as nothing.
    """
    steps = int(sequence_lengths(case).sum())
    rows = case.gates * case.hidden_size
    if case.streaming and case.batch == 1:
        return bytes_read(case) / read_rate
    inputs = 2 * steps * rows * sum(case.input_sizes())
    recurrent = 2 * steps * rows * case.hidden_size * case.layers * case.directions
    passes = 3 if case.training else 1
    if case.batch > 1:
        return passes * (inputs + recurrent) / product_rate
    loops = 2 if case.training else 1
    reads = steps * bytes_read(case) * case.layers * case.directions
    outside = passes * inputs + (passes - loops) * recurrent
    return outside / product_rate + loops * reads / read_rate


def _blas_kernels() -> str:
    """For which processor NumPy's BLAS takes this one, where that can be asked."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return ""
    names = [str(library.get("architecture", "")) for library in threadpool_info()]
    return "".join(f", BLAS kernels for {name}" for name in names if name)
