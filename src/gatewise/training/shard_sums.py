"""Sums over the shards of a batch, in one order wherever the shards were computed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Gradients = dict[str, Array]
# Shards from the first on, and the one before which they end.
Node = tuple[int, int]

__all__ = ["Sums", "nodes", "tree_sum"]


def tree_sum(
    low: int, high: int, known: Callable[[int, int], Array | None]
) -> Array | None:
    """Return the sum over shards `low` to ``high - 1``, as a binary tree adds them.

    Parameters
    ----------
    low, high
        A node of the tree.
    known
        Gives the sum of a node where that is known, otherwise None; None for a single shard
        is one that adds nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.training.shard_sums import tree_sum
    >>> x = np.array([[0.1], [0.2], [0.3], [0.4]], np.float32)
    >>> total = tree_sum(0, 4, lambda low, high: x[low] if high - low == 1 else None)
    >>> total == (x[0] + x[1]) + (x[2] + x[3])
    array([ True])
    """
    value = known(low, high)
    if value is not None or high - low == 1:
        return value
    middle = _middle(low, high)
    left = tree_sum(low, middle, known)
    right = tree_sum(middle, high, known)
    if left is None or right is None:
        return right if left is None else left
    return np.add(left, right)


def nodes(low: int, high: int, first: int, last: int) -> Iterator[Node]:
    """The fewest nodes of the tree over `low` to `high` that make up `first` to `last`.

    Examples
    --------
    >>> from gatewise.training.shard_sums import nodes
    >>> list(nodes(0, 8, 0, 8)), list(nodes(0, 8, 2, 7))
    ([(0, 8)], [(2, 4), (4, 6), (6, 7)])
    """
    if first <= low and high <= last:
        yield low, high
    elif low < last and first < high:
        middle = _middle(low, high)
        yield from nodes(low, middle, first, last)
        yield from nodes(middle, high, first, last)


class Sums:
    """What the processes of a communicator tell each other in a step.

    Parameters
    ----------
    shards
        How many there are, over all processes.
    communicator
        One of mpi4py's, or None where this process computes all shards.

    Attributes
    ----------
    own : range
        The shards that this process computes.
    """

    def __init__(self, shards: int, communicator: Any = None) -> None:
        self._shards = shards
        self._communicator = communicator
        size, rank = 1, 0
        if communicator is not None:
            size, rank = communicator.Get_size(), communicator.Get_rank()
        self._ranges = [range(*_part(shards, size, process)) for process in range(size)]
        self._rank = rank
        self.own = self._ranges[rank]

    def gather(self, outputs: list[Array], error: Exception | None) -> list[Array]:
        """Return the outputs of all processes in their order, or raise what one raised."""
        if self._communicator is None:
            if error is not None:
                raise error
            return outputs
        found = self._communicator.allgather((outputs, error))
        for _, other in found:
            if other is not None:
                raise other if error is None else error
        return [output for parts, _ in found for output in parts]

    def total(
        self,
        known: Collection[int],
        of_shard: Callable[[int], Gradients],
        parameters: Mapping[str, Array],
    ) -> Gradients:
        """Return the sums of the gradients of all shards.

        Parameters
        ----------
        known
            The shards that have examples.
        of_shard
            Computes the gradients of one of this process's shards.
        parameters
            Of the model: which names, shapes and dtypes gradients may have.
        """
        names: list[str] = []
        error: Exception | None = None

        def of_node(low: int, high: int) -> Array | None:
            if high - low > 1 or low not in known:
                return None
            gradients = of_shard(low)
            names[:] = gradients
            return _flat(gradients)

        sums: list[Array] = []
        try:
            for node in self._nodes(self._rank, known):
                value = tree_sum(*node, of_node)
                assert value is not None
                sums.append(value)
        except Exception as found:
            error = found
        if self._communicator is None:
            if error is not None:
                raise error
            return _named(sums[0], {name: parameters[name] for name in names})
        for other_names, other in self._communicator.allgather((names, error)):
            if other is not None:
                raise other if error is None else error
            names = names or other_names
        like = {name: parameters[name] for name in names}
        return _named(self._exchange(sums, known, like), like)

    def _nodes(self, process: int, known: Collection[int]) -> list[Node]:
        """The nodes of which one process computes the sums, of those with examples."""
        own = self._ranges[process]
        return [
            (low, high)
            for low, high in nodes(0, self._shards, own.start, own.stop)
            if any(number in known for number in range(low, high))
        ]

    def _exchange(
        self, sums: list[Array], known: Collection[int], like: Mapping[str, Array]
    ) -> Array:
        """The sum of all nodes; each process adds one part of the vectors for all."""
        communicator, size = self._communicator, len(self._ranges)
        dtype, width = _dtype(like), sum(array.size for array in like.values())
        edges = [_part(width, size, process) for process in range(size)]
        of_process = [self._nodes(process, known) for process in range(size)]

        parts = [value[slice(*edge)] for edge in edges for value in sums]
        sent = np.concatenate(parts) if parts else np.empty(0, dtype)
        own_width = edges[self._rank][1] - edges[self._rank][0]
        counts = [len(found) * own_width for found in of_process]
        received = np.empty(sum(counts), dtype)
        communicator.Alltoallv(
            [sent, [len(sums) * (last - first) for first, last in edges]],
            [received, counts],
        )
        rows = received.reshape(-1, own_width) if own_width else received.reshape(0, 0)
        places = {node: row for row, node in enumerate(itertools.chain(*of_process))}

        def of_node(low: int, high: int) -> Array | None:
            place = places.get((low, high))
            return None if place is None else rows[place]

        own = tree_sum(0, self._shards, of_node) if own_width else np.empty(0, dtype)
        total = np.empty(width, dtype)
        communicator.Allgatherv(
            np.ascontiguousarray(own), [total, [last - first for first, last in edges]]
        )
        return total


def _middle(low: int, high: int) -> int:
    """Where the shards of a node are cut in two: the left part is a whole tree."""
    return low + (1 << ((high - low - 1).bit_length() - 1))


def _part(count: int, parts: int, number: int) -> tuple[int, int]:
    """From where to where one of so many parts of `count` things goes."""
    return count * number // parts, count * (number + 1) // parts


def _dtype(arrays: Mapping[str, Array]) -> np.dtype[Any]:
    return np.result_type(*(array.dtype for array in arrays.values()), np.float32)


def _flat(gradients: Mapping[str, Array]) -> Array:
    dtype = _dtype(gradients)
    parts: Sequence[Array] = [array.ravel().astype(dtype) for array in gradients.values()]
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _named(flat: Array, like: Mapping[str, Array]) -> Gradients:
    """The parts of a flat vector by their names, writable and nobody else's."""
    found: Gradients = {}
    first = 0
    for name, array in like.items():
        part = flat[first : first + array.size]
        found[name] = part.astype(array.dtype).reshape(array.shape)
        first += array.size
    return found
