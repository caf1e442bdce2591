"""A communicator between threads of one process, with the methods of mpi4py's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")


class Communicator:
    """What one of the threads holds."""

    def __init__(self, rank: int, boxes: list[Any], barrier: threading.Barrier) -> None:
        self._rank, self._boxes, self._barrier = rank, boxes, barrier

    def Get_rank(self) -> int:
        return self._rank

    def Get_size(self) -> int:
        return len(self._boxes)

    def allgather(self, value: Any) -> list[Any]:
        self._boxes[self._rank] = value
        self._barrier.wait()
        found = list(self._boxes)
        self._barrier.wait()
        return found

    def bcast(self, value: Any, root: int) -> Any:
        return self.allgather(value)[root]

    def Alltoallv(self, sent: list[Any], received: list[Any]) -> None:
        values, counts = sent
        parts = np.split(values, np.cumsum(counts)[:-1])
        mine = [others[self._rank] for others in self.allgather(parts)]
        assert [len(part) for part in mine] == received[1]
        received[0][:] = np.concatenate(mine)

    def Allgatherv(self, sent: Any, received: list[Any]) -> None:
        parts = self.allgather(sent)
        assert [len(part) for part in parts] == received[1]
        received[0][:] = np.concatenate(parts)


def in_processes(size: int, work: Callable[[Any], Result]) -> list[Result]:
    """What `work(communicator)` returns in each of so many threads."""
    boxes: list[Any] = [None] * size
    barrier = threading.Barrier(size, timeout=30)

    def one(rank: int) -> Result:
        try:
            return work(Communicator(rank, boxes, barrier))
        except threading.BrokenBarrierError:
            raise
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return [done.result() for done in [pool.submit(one, rank) for rank in range(size)]]
