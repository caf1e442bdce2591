"""Rows that start anew within a sequence, in place of going on from the step before."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import ragged

Array = NDArray[Any]
Flags = NDArray[np.bool_]
State = tuple[Array, ...]

__all__ = ["Resets"]


class Resets(NamedTuple):
    """Which rows of which steps start anew, and the state that they start from.

    `rows` are ``(time, batch)``, for a ragged batch ``(1, rows)``, C-contiguous; `state`
    has a vector ``(features,)`` for each part, for all rows.
    """

    rows: Flags
    state: State

    def astype(self, dtype: np.dtype[Any]) -> Resets:
        """Return these with the state in another dtype."""
        return Resets(self.rows, tuple([part.astype(dtype) for part in self.state]))

    def at(self, where: Any) -> Resets:
        """Return those of the rows that stand there."""
        return Resets(np.ascontiguousarray(self.rows[where]), self.state)

    def backwards(self, batch_sizes: NDArray[np.int64] | None) -> Resets:
        """Return these for a run from the last step to the first.

        Where an episode begins at step t, such a run comes from it to the one before at
        step t - 1, and that is where it starts anew.
        """
        rows = np.zeros_like(self.rows)
        if batch_sizes is None:
            rows[:-1] = self.rows[1:]
        else:
            later = self.rows[0, batch_sizes[:1].sum() :]
            rows[0, ragged.rows_before(batch_sizes)] = later
        return Resets(rows, self.state)

    def restart(self, rows: Flags, state: State) -> None:
        """Bring the state of a step's `rows` to where they start from."""
        for part, start in zip(state, self.state, strict=True):
            part[rows] = start

    @staticmethod
    def cut(rows: Flags, dstate: State, dresets: State | None) -> None:
        """Take away the gradient of the state before, which those rows did not use.

        It is added to `dresets`, those of the state that they started from, where wanted.
        """
        for index, part in enumerate(dstate):
            if dresets is not None:
                dresets[index][: len(rows)][rows] += part[rows]
            part[rows] = 0
