"""What is known of a run over a sequence, for its step caches and for its way back.

There are two kinds. `Columns` holds the notebook's own arrays, step by step. `Rows` holds
what the layers' kernels leave, which long sequences of large nets run on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatewise import direction
from gatewise._checks import Array
from gatewise.direction import Prepared, Stretch, Tape
from gatewise.kernels import chooser
from gatewise.notebook._cell import Cell

__all__ = ["Columns", "Record", "Rows"]


@dataclass
class Columns:
    """The `values` and what else was `kept` of a ``Run`` of the kernels."""

    cell: Cell
    values: Any
    kept: Sequence[Array]

    @property
    def shape(self) -> tuple[int, ...]:
        """n_a, m and T_x."""
        return (*self.kept[1].shape, len(self.kept[0]))

    @property
    def dtype(self) -> np.dtype[Any]:
        """What was computed in."""
        return self.kept[1].dtype

    @property
    def initial(self) -> Sequence[Array]:
        """The state before the first step."""
        return self.kept[1 : 1 + len(self.cell.states)]

    def step(self, t: int) -> Sequence[Array]:
        """Return the state after a step and its gates, in the order of caches."""
        return tuple(self.values[t])

    def backward(self, da: Array) -> list[Array]:
        """Return the gradients of x, a0 and the parameters, in the dtype of `da`."""
        values, kept = self.values, self.kept
        if da.dtype != self.dtype:
            values = [[array.astype(da.dtype) for array in step] for step in values]
            kept = [array.astype(da.dtype) for array in kept]
        gradients: list[Array]
        gradients = chooser.kernels.run_backward(self.cell.kernel, values, kept, da)
        return gradients


class Rows:
    """The tape of one direction of one layer."""

    def __init__(self, cell: Cell, tape: Tape) -> None:
        self.cell = cell
        self.tape = tape

    @classmethod
    @np.errstate(all="ignore")
    def run(cls, cell: Cell, arrays: Sequence[Array]) -> tuple[Rows, list[Array], Array]:
        """Run over the arrays of a sequence; return also the states and predictions."""
        x, a0, *own, w_y, b_y = arrays
        a = a0.T.copy()
        state = (a, np.zeros_like(a))[: len(cell.states)]
        # A copy: the tape should not follow what the caller does to x later.
        tape = direction.forward(Prepared(cell.weights(own)), x.T.copy(), state)
        record = cls(cell, tape)
        scores = np.dot(tape.y.reshape(-1, len(a0)), w_y.T)
        scores += b_y[:, 0]
        chooser.kernels.softmax(scores, scores)
        # Copies: what the caller does to them should not reach the tape.
        states = [rows.T.copy(order="K") for rows in record._states]
        return record, states, scores.reshape(*tape.y.shape[:2], len(w_y)).T

    @property
    def shape(self) -> tuple[int, ...]:
        """n_a, m and T_x."""
        return self.tape.y.T.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """What was computed in."""
        return self.tape.y.dtype

    @property
    def initial(self) -> Sequence[Array]:
        """The state before the first step."""
        return [array.T for array in self._stretch.initial]

    @property
    def _stretch(self) -> Stretch:
        # The notebook knows no zoneout, which would make several.
        return self.tape.stretches[0]

    @property
    def _states(self) -> list[Array]:
        """The rows of the states that the steps left: a, and for the LSTM c."""
        return [self._stretch.states(index) for index in range(len(self.cell.states))]

    def step(self, t: int) -> Sequence[Array]:
        """Return the state after a step and its gates, in the order of caches."""
        after = [rows[t].T for rows in self._states]
        return (*after, *self.cell.cached_gates(self._stretch.gates[t]))

    def backward(self, da: Array) -> list[Array]:
        """Return the gradients of x, a0 and the parameters, in the dtype of `da`."""
        if da.dtype != self.dtype:
            return Rows(self.cell, self.tape.astype(da.dtype)).backward(da)
        dstate = tuple([np.zeros_like(part) for part in self._stretch.initial])
        dx, gradients = direction.backward(self.tape, np.ascontiguousarray(da.T), dstate)
        assert dx is not None
        return [dx.T, dstate[0].T, *self.cell.gradients(gradients)]


Record = Columns | Rows
