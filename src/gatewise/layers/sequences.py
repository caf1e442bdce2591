"""The way from a batch of sequences to the rows that kernels run on, and back.

A plain batch ``(batch, time, features)`` becomes ``(time, batch, features)`` without a
copy. A ragged one, whose sequences have lengths, becomes the rows of the steps that exist
and no others, so that the work done is proportional to them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.direction import empty_like_rows
from gatewise.kernels import ragged
from gatewise.layers import inputs

Array = NDArray[Any]


class Ragged:
    """The order in which the steps of sequences of unequal length stand as rows.

    Sequences are sorted by falling length; the rows of a time step follow those of the step
    before, as many as `batch_sizes` says.
    """

    def __init__(self, lengths: NDArray[np.int64]) -> None:
        self.order = np.argsort(-lengths, kind="stable")
        longest = int(lengths.max(initial=0))
        shorter = np.searchsorted(np.sort(lengths), np.arange(longest), side="right")
        self.batch_sizes = (len(lengths) - shorter).astype(np.int64)
        self.time = ragged.repeated(np.arange(longest), self.batch_sizes)
        # Where the row's sequence stands in the sorted batch, and in the caller's.
        self.sorted = ragged.sequences(self.batch_sizes)
        self.sequence = self.order[self.sorted]


class Batch:
    """The rows of one input of a layer, and the shapes in which the caller wants answers.

    Parameters
    ----------
    x
        ``(batch, time, features)`` or ``(time, features)``; or tokens, which stand for
        one-hot rows, without the features.
    features
        How many features a row must have, or how many tokens there are.
    dtype
        The dtype of the layer.
    lengths
        How many steps of each sequence exist.
    takes_tokens
        Whether integers without the features are tokens.
    resets
        Which steps start anew, ``(batch, time)`` or ``(time,)``.
    """

    def __init__(
        self,
        x: ArrayLike,
        features: int,
        dtype: np.dtype[Any],
        lengths: ArrayLike | None = None,
        *,
        takes_tokens: bool = False,
        resets: ArrayLike | None = None,
    ) -> None:
        given = inputs.as_array("x", x)
        self.tokens = takes_tokens and inputs.is_integer(given) and given.ndim < 3
        array = given if self.tokens else inputs.real("x", given, dtype)
        self._check_shape(array, features, given)
        if self.tokens:
            array = inputs.tokens("x", array, features)
        self.dtype = dtype
        self.batched = array.ndim == (2 if self.tokens else 3)
        if not self.batched:
            array = array[None]
        self.size, self.time = array.shape[:2]
        self.ragged: Ragged | None = None
        if lengths is not None:
            if not self.batched:
                raise ValueError("lengths should be None for an x without a batch axis")
            counts = inputs.sequence_lengths(lengths, self.size, self.time)
            if (counts < self.time).any():
                self.ragged = Ragged(counts)
        self.batch_sizes = None if self.ragged is None else self.ragged.batch_sizes
        self.rows = self._to_rows(array)
        self.resets = None if resets is None else self._reset_rows(resets)
        self.owns_rows = not np.may_share_memory(self.rows, given)

    def _check_shape(self, array: Array, features: int, given: Array) -> None:
        if self.tokens:
            if array.ndim == 0:
                raise ValueError(
                    "x should have shape (batch, time) or (time,) for tokens, got ()"
                )
        elif array.ndim not in (2, 3) or array.shape[-1] != features:
            hint = ""
            if inputs.is_integer(given) and given.ndim < 3:
                hint = "; integers are tokens for a layer made with tokens=True"
            raise ValueError(
                f"x should have shape (batch, time, {features}) or (time, {features}), "
                f"got {array.shape}{hint}"
            )

    def _to_rows(self, array: Array) -> Array:
        if self.ragged is None:
            return array.swapaxes(0, 1)
        return array[self.ragged.sequence, self.ragged.time][None]

    def _reset_rows(self, resets: ArrayLike) -> NDArray[np.bool_] | None:
        """Which rows start anew, in an array that nobody else has; None if none does."""
        shape = (self.size, self.time) if self.batched else (self.time,)
        flags = inputs.sequence_resets("resets", resets, shape)
        rows = np.array(self._to_rows(flags.reshape(self.size, self.time)), order="C")
        return rows if rows.any() else None

    def empty(self, features: int) -> Array:
        """Rows to be filled, in the same order in memory as those of the input."""
        return empty_like_rows(self.rows, features, self.dtype)

    def restore(self, rows: Array) -> Array:
        """Rows as the caller wants them: with zeros for the steps that do not exist."""
        if self.ragged is None:
            array = rows.swapaxes(0, 1)
        else:
            array = np.zeros((self.size, self.time, rows.shape[2]), rows.dtype)
            array[self.ragged.sequence, self.ragged.time] = rows[0]
        return array if self.batched else array[0]

    def gradient_rows(self, dy: ArrayLike | None, features: int) -> Array:
        """The rows of a gradient of what `restore` returned; None stands for zeros."""
        if dy is None:
            rows = self.empty(features)
            rows[...] = 0
            return rows
        array = inputs.real("dy", dy, self.dtype)
        shape: tuple[int, ...] = (self.size, self.time, features)
        shape = shape if self.batched else shape[1:]
        if array.shape != shape:
            raise ValueError(f"dy should have shape {shape}, got {array.shape}")
        return self._to_rows(array if self.batched else array[None])

    def zero_state(self, states: int, features: int) -> Array:
        """One part of a state of zeros, for the kernels to overwrite."""
        return np.zeros((states, self.size, features), self.dtype)

    def repeat_state(self, part: Array) -> Array:
        """One part of the state that all sequences start from, for the same."""
        states, features = part.shape
        array = np.empty((states, self.size, features), self.dtype)
        array[...] = part[:, None]
        return array

    def take_state(self, name: str, part: ArrayLike, states: int, features: int) -> Array:
        """One part of a state, copied for the kernels to overwrite.

        The copy is ``(states, batch, features)`` in the order of the rows' sequences.
        """
        array = inputs.real(name, part, self.dtype)
        shape = (states, self.size, features) if self.batched else (states, features)
        if array.shape != shape:
            raise ValueError(f"{name} should have shape {shape}, got {array.shape}")
        if not self.batched:
            array = array[:, None]
        if self.ragged is None:
            return array.copy()
        # Indexing with an array alone would leave the batch axis outermost in memory.
        return np.take(array, self.ragged.order, axis=1)

    def restore_state(self, part: Array) -> Array:
        """One part of a state in the order and shape of the caller's batch."""
        if self.ragged is None:
            return part if self.batched else part[:, 0]
        restored = np.empty_like(part)
        restored[:, self.ragged.order] = part
        return restored

    def restore_cells(self, cells: list[Array]) -> Array:
        """The rows of several directions, stacked in front of the caller's axes."""
        return np.stack([self.restore(rows) for rows in cells])
