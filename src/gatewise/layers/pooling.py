"""Layers that make one vector of a sequence: its last step, a mean, or the largest values.

Each sequence is pooled by itself, over the steps that it has, so a batch and its padding
change no bit of the result.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise import _checks
from gatewise.kernels import thread_limits
from gatewise.layers import inputs
from gatewise.layers.kinds import Feedforward
from gatewise.layers.module import Gradients, Module
from gatewise.layers.parameters import Snapshot
from gatewise.layers.tape import ModuleTape, check_tape

Array = NDArray[Any]
Lengths = NDArray[np.int64]

__all__ = ["Last", "MaxPool", "MeanPool", "Pool", "PoolTape", "sum_of_steps"]


class PoolTape(ModuleTape):
    """Holds the lengths, what a layer needs of the input, and the input's shape."""

    def __init__(
        self,
        module: Module,
        snapshot: Snapshot,
        lengths: Lengths,
        held: Any,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        super().__init__(module, snapshot)
        self.lengths = lengths
        self.held = held
        self.shape = shape
        self.dtype = dtype


class Pool(Feedforward):
    """The base of the layers that make one vector of each sequence.

    They take ``(batch, time, features)`` and return ``(batch, features)``, or take one
    sequence ``(time, features)`` and return ``(features,)``.
    """

    _keeps_dtype = True

    def __call__(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> Array:
        """Return one vector for each sequence of `x`.

        Parameters
        ----------
        x
            ``(batch, time, features)``, or one sequence ``(time, features)``.
        lengths
            How many steps of each sequence exist; integers from 0 to time. What stands in
            `x` past a length is never read, and a sequence without steps gives zeros. All
            steps exist if None.
        num_threads
            How many threads this call may use; as `gatewise.set_num_threads` says if None.

        Raises
        ------
        TypeError
            If `x` holds no real numbers, `lengths` no integers, or `num_threads` is no
            integer.
        ValueError
            If a shape does not fit, a length is out of range, or `num_threads` is less than
            1.
        """
        return self._call_ragged(self._snapshot(), x, lengths, num_threads)

    def forward(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[Array, Any]:
        """Return one vector for each sequence of `x`, and a tape for `backward`.

        The arguments are those of a call. The tape may refer to `x`, which may not change
        before `backward`.

        Raises
        ------
        TypeError
            If `x` holds no real numbers, `lengths` no integers, or `num_threads` is no
            integer.
        ValueError
            If a shape does not fit, a length is out of range, or `num_threads` is less than
            1.
        """
        return self._forward_ragged(self._snapshot(), x, lengths, num_threads)

    def backward(
        self, tape: PoolTape, dy: ArrayLike, *, num_threads: int | None = None
    ) -> tuple[Array, Gradients]:
        """Return the gradients of `x`, with zeros past each length, and of the parameters.

        Raises
        ------
        TypeError
            If `tape` is not what `forward` returned, `dy` holds no real numbers, or
            `num_threads` is no integer.
        ValueError
            If `tape` is another layer's, a shape does not fit, or `num_threads` is less
            than 1.
        RuntimeError
            If the parameters have changed since `forward`.
        """
        check_tape(tape, PoolTape, self)
        threads = thread_limits.resolve(num_threads)
        shape = (*tape.shape[:-2], tape.shape[-1])
        array = inputs.real("dy", dy, tape.dtype)
        if array.shape != shape:
            raise ValueError(f"dy should have shape {shape}, got {array.shape}")
        rows = array.reshape(len(tape.lengths), tape.shape[-1])
        with np.errstate(all="ignore"):
            dx, gradients = self._unpool(tape, rows, threads)
        return dx.reshape(tape.shape), gradients

    def _call(self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None) -> Array:
        return self._call_ragged(snapshot, x, None, num_threads)

    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, num_threads: int | None
    ) -> tuple[Array, PoolTape]:
        return self._forward_ragged(snapshot, x, None, num_threads)

    def _call_ragged(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        lengths: ArrayLike | None,
        num_threads: int | None,
    ) -> Array:
        return self._forward_ragged(snapshot, x, lengths, num_threads)[0]

    def _forward_ragged(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        lengths: ArrayLike | None,
        num_threads: int | None,
    ) -> tuple[Array, PoolTape]:
        threads = thread_limits.resolve(num_threads)
        array = self._checked(x)
        if array.ndim == 2:
            if lengths is not None:
                raise ValueError("lengths should be None for an x without a batch axis")
            batch = array[None]
        else:
            batch = array
        size, time, _ = batch.shape
        counts = (
            np.full(size, time, np.int64)
            if lengths is None
            else inputs.sequence_lengths(lengths, size, time)
        )
        with np.errstate(all="ignore"):
            y, held = self._pool(snapshot, batch, counts, threads)
        tape = PoolTape(self, snapshot, counts, held, array.shape, array.dtype)
        return y.reshape(*array.shape[:-2], y.shape[-1]), tape

    def _checked(self, x: ArrayLike) -> Array:
        """The input as an array of the layer's dtype and of a shape that fits."""
        array = _checks.as_floating("x", x)
        if array.ndim not in (2, 3):
            raise ValueError(
                "x should have shape (batch, time, features) or (time, features), "
                f"got {array.shape}"
            )
        return array

    @abstractmethod
    def _pool(
        self, snapshot: Snapshot, x: Array, lengths: Lengths, threads: int
    ) -> tuple[Array, Any]:
        """The vectors ``(batch, features)``, and what `_unpool` needs of the input."""

    @abstractmethod
    def _unpool(self, tape: PoolTape, dy: Array, threads: int) -> tuple[Array, Gradients]:
        """The gradients of the input ``(batch, time, features)`` and of the parameters."""

    def _lengths_after(self, lengths: ArrayLike | None) -> None:
        return None

    def _time_axis(self) -> tuple[bool, bool]:
        return True, True

    def _no_stream(self) -> str | None:
        return f"a {type(self).__name__} cannot stream, as it takes whole sequences"

    def _arguments_and_defaults(self) -> dict[str, tuple[Any, Any]]:
        return {}


class Last(Pool):
    """The last step of each sequence, which is that at its length.

    A sequence without steps gives zeros. The output has the dtype of the input.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> x = np.arange(12.0).reshape(2, 3, 2)
    >>> gatewise.Last()(x, lengths=[3, 1])
    array([[4., 5.],
           [6., 7.]])
    """

    def _pool(
        self, snapshot: Snapshot, x: Array, lengths: Lengths, threads: int
    ) -> tuple[Array, None]:
        y = np.zeros((len(x), x.shape[2]), x.dtype)
        there = np.flatnonzero(lengths)
        y[there] = x[there, lengths[there] - 1]
        return y, None

    def _unpool(self, tape: PoolTape, dy: Array, threads: int) -> tuple[Array, Gradients]:
        dx = np.zeros((len(tape.lengths), *tape.shape[-2:]), tape.dtype)
        there = np.flatnonzero(tape.lengths)
        dx[there, tape.lengths[there] - 1] = dy[there]
        return dx, {}


class MeanPool(Pool):
    """The mean over the steps of each sequence.

    It is summed in float64. A sequence without steps gives zeros. The output has the dtype
    of the input.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> x = np.arange(12.0).reshape(2, 3, 2)
    >>> gatewise.MeanPool()(x, lengths=[3, 1])
    array([[2., 3.],
           [6., 7.]])
    """

    def _pool(
        self, snapshot: Snapshot, x: Array, lengths: Lengths, threads: int
    ) -> tuple[Array, None]:
        y = np.zeros((len(x), x.shape[2]), x.dtype)
        for row, (steps, length) in enumerate(zip(x, lengths.tolist(), strict=True)):
            if length:
                y[row] = sum_of_steps(steps[:length]) / length
        return y, None

    def _unpool(self, tape: PoolTape, dy: Array, threads: int) -> tuple[Array, Gradients]:
        lengths = tape.lengths
        shares = dy / np.maximum(lengths, 1)[:, None].astype(dy.dtype)
        exist = np.arange(tape.shape[-2]) < lengths[:, None]
        return np.where(exist[..., None], shares[:, None], tape.dtype.type(0)), {}


class MaxPool(Pool):
    """The largest value of each feature over the steps of each sequence.

    NaN counts as larger than any number. Where several steps have the largest value, the
    gradient is the first one's. A sequence without steps gives zeros. The output has the
    dtype of the input.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> x = np.array([[[1.0, 5.0], [2.0, 4.0], [9.0, 9.0]]])
    >>> gatewise.MaxPool()(x, lengths=[2])
    array([[2., 5.]])
    """

    def _pool(
        self, snapshot: Snapshot, x: Array, lengths: Lengths, threads: int
    ) -> tuple[Array, NDArray[np.intp]]:
        y = np.zeros((len(x), x.shape[2]), x.dtype)
        places = np.zeros(y.shape, np.intp)
        for row, (steps, length) in enumerate(zip(x, lengths.tolist(), strict=True)):
            if length:
                places[row] = steps[:length].argmax(axis=0)
                y[row] = steps[places[row], np.arange(x.shape[2])]
        return y, places

    def _unpool(self, tape: PoolTape, dy: Array, threads: int) -> tuple[Array, Gradients]:
        dx = np.zeros((len(tape.lengths), *tape.shape[-2:]), tape.dtype)
        if tape.shape[-2]:
            there = (tape.lengths > 0)[:, None]
            values = np.where(there, dy, tape.dtype.type(0))
            np.put_along_axis(dx, tape.held[:, None], values[:, None], axis=1)
        return dx, {}


def sum_of_steps(steps: Array) -> NDArray[np.float64]:
    """Sum ``(time, features)`` over time in float64, in an order that time alone decides.

    So it is from a copy in one order: with another, NumPy would add in another.
    """
    contiguous = np.ascontiguousarray(steps)
    total: NDArray[np.float64] = np.add.reduce(contiguous, axis=0, dtype=np.float64)
    return total
