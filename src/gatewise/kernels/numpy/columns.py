"""The notebook's cells in plain NumPy, forward and back, on the notebook's own arrays.

A feature is a row here and an example a column. These kernels and their twins in
``kernels.native`` are for what is over sooner than its arrays could be brought into the
form of the other kernels. For the same reason they look at what they are given themselves:
in Python that can take longer than a step.

The sizes of the arrays come as a `layout`, a letter for each axis: x, a and y for n_x, n_a
and n_y, m for m, t for T_x, j for n_a + n_x, and 1. Cells are called as everywhere: the
notebook's GRU is ``"gru_reset_before"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels.activations import STANDARD
from gatewise.kernels.cells import CELLS
from gatewise.kernels.numpy.activations import functions_of, softmax_columns
from gatewise.kernels.numpy.equations import (
    blend,
    blend_back,
    gated_back,
    lstm,
    lstm_back,
    rnn,
    rnn_back,
)

Array = NDArray[Any]

__all__ = [
    "Preference",
    "Run",
    "cell_backward",
    "cell_forward",
    "run_backward",
    "run_forward",
]

# The notebook has no others.
FUNCTIONS = functions_of(STANDARD)

# How many arrays: the parameters, the state, all values that a step makes.
PARAMETERS = {"rnn": 3, "lstm": 8, "gru_reset_before": 6}
STATES = {cell: len(CELLS[cell].states) for cell in PARAMETERS}
VALUES = {
    cell: STATES[cell] + CELLS[cell].gates * CELLS[cell].keeps_gates for cell in PARAMETERS
}

# Enough for one product to be worth more than several, few enough to stay in a cache.
_JOINED_COLUMNS = 128


class Run(NamedTuple):
    """A run over a sequence, and all that its way back needs.

    `states` and `predictions` are of all steps. `values` holds for each step what
    `cell_forward` returns of it; `kept` has copies of the inputs ``(T_x, n_x, m)``, of the
    initial state and of the parameters.
    """

    states: Sequence[Array]
    predictions: Array
    values: Any
    kept: Sequence[Array]


class Preference(Enum):
    """What `run_forward` returns where the arrays fit, but other kernels are faster."""

    OTHER_KERNELS = "those of the layers"


def cell_forward(
    cell: str, layout: str, arrays: tuple[Any, ...]
) -> tuple[tuple[Array, ...], Array] | None:
    """Return what one step's cache has beyond the arguments, and the prediction.

    `arrays` are xt, the state, the cell's parameters and those of the prediction; what
    comes back is the new state and the gates, all in the notebook's order. The result is
    None unless the arrays have the sizes of `layout` and all the same dtype, float32 or
    float64.
    """
    if not _fits(layout, arrays):
        return None
    with np.errstate(all="ignore"):
        values: tuple[Array, ...] = _FORWARD[cell](*arrays[:-2])
        scores = np.dot(arrays[-2], values[0])
        scores += arrays[-1]
        softmax_columns(scores, scores)
        return values, scores


def cell_backward(cell: str, layout: str, arrays: tuple[Any, ...]) -> list[Array] | None:
    """Return the gradients of xt, of the state before the step, and of the parameters.

    `arrays` are the gradients of the state after the step, what its cache holds without the
    parameters, and the cell's parameters. When the result is None is said at
    `cell_forward`.
    """
    if not _fits(layout, arrays):
        return None
    with np.errstate(all="ignore"):
        gradients, factors = _BACKWARD[cell](*arrays)
        return [*gradients, *_GRADIENTS[cell](*factors)]


def run_forward(cell: str, layout: str, arrays: tuple[Any, ...]) -> Run | Preference | None:
    """Run over a sequence.

    `arrays` are x, a0, the cell's parameters and those of the prediction; an LSTM's c
    starts at zero. The result is None where the arrays are not as `cell_forward` wants
    them, and a preference where they are, but the layers' kernels would be faster.
    """
    if not _fits(layout, arrays):
        return None
    x, a0, *parameters, w_y, b_y = arrays
    time, m = x.shape[2], x.shape[1]
    inputs = x.transpose(2, 0, 1).copy()
    state: Sequence[Array] = [a0, np.zeros(a0.shape, a0.dtype)][: STATES[cell]]
    kept = [inputs, *[array.copy() for array in (*state, *parameters)]]
    sequences = [np.empty((*a0.shape, time), a0.dtype) for _ in state]
    values = []
    with np.errstate(all="ignore"):
        for t in range(time):
            step = _FORWARD[cell](inputs[t], *state, *parameters)
            state = step[: len(sequences)]
            for sequence, array in zip(sequences, state, strict=True):
                sequence[:, :, t] = array
            values.append(step)
        scores = np.dot(w_y, sequences[0].reshape(len(a0), m * time))
        scores += b_y
        softmax_columns(scores, scores)
    return Run(sequences, scores.reshape(len(w_y), m, time), values, kept)


def run_backward(cell: str, values: Any, kept: Sequence[Array], da: Array) -> list[Array]:
    """Return the gradients of x, a0 and the parameters, given that of all a.

    `values` and `kept` are those of a `Run`, and `da` has their dtype.
    """
    states = STATES[cell]
    inputs, parameters = kept[0], kept[1 + states :]
    dx = np.empty((*inputs.shape[1:], len(inputs)), inputs.dtype)
    dstate = [np.zeros(array.shape, array.dtype) for array in kept[1 : 1 + states]]
    sums = [np.zeros(array.shape, array.dtype) for array in parameters]
    factors = []
    with np.errstate(all="ignore"):
        for t in range(len(inputs) - 1, -1, -1):
            dstate[0] = da[:, :, t] + dstate[0]
            after, gates = values[t][:states], values[t][states:]
            before = values[t - 1][:states] if t else kept[1 : 1 + states]
            arrays = (*dstate, *after, *before, *gates, inputs[t], *parameters)
            (dx[:, :, t], *dstate), step_factors = _BACKWARD[cell](*arrays)
            factors.append(step_factors)
            if t and len(factors) * da.shape[1] < _JOINED_COLUMNS:
                continue
            # The products of some steps, summed up, are one product of all their columns.
            joined = [np.concatenate(parts, axis=1) for parts in zip(*factors, strict=True)]
            for total, gradient in zip(sums, _GRADIENTS[cell](*joined), strict=True):
                total += gradient
            factors = []
    return [dx, dstate[0], *sums]


def _fits(layout: str, arrays: tuple[Any, ...]) -> bool:
    if {type(array) for array in arrays} != {np.ndarray}:
        return False
    return {array.dtype for array in arrays} in _DTYPES and _are_shapes(
        layout, tuple([array.shape for array in arrays])
    )


_DTYPES = ({np.dtype(np.float32)}, {np.dtype(np.float64)})


@lru_cache
def _are_shapes(layout: str, shapes: tuple[tuple[int, ...], ...]) -> bool:
    """Whether these are the shapes of a layout: what call after call asks anew."""
    expected = layout.split()
    if [len(names) for names in expected] != [len(shape) for shape in shapes]:
        return False
    sizes = {"1": 1}
    for names, shape in zip(expected, shapes, strict=True):
        for name, size in zip(names, shape, strict=True):
            if name == "j":
                sizes[name] = sizes["a"] + sizes["x"]
            if sizes.setdefault(name, size) != size:
                return False
    return sizes["a"] > 0


def _gate(w: Array, stack: Array, b: Array) -> Array:
    z: Array = np.dot(w, stack)
    z += b
    return z


def _rnn(xt: Array, a_prev: Array, w_ax: Array, w_aa: Array, ba: Array) -> Any:
    a_next = np.dot(w_aa, a_prev)
    a_next += np.dot(w_ax, xt)
    a_next += ba
    rnn(a_next, FUNCTIONS)
    return (a_next,)


def _lstm(xt: Array, a_prev: Array, c_prev: Array, *parameters: Array) -> Any:
    w_f, b_f, w_i, b_i, w_c, b_c, w_o, b_o = parameters
    stack = np.concatenate((a_prev, xt))
    ft, it = _gate(w_f, stack, b_f), _gate(w_i, stack, b_i)
    cct, ot = _gate(w_c, stack, b_c), _gate(w_o, stack, b_o)
    c_next, a_next = lstm(it, ft, cct, ot, c_prev, FUNCTIONS)
    return a_next, c_next, ft, it, cct, ot


def _gru(xt: Array, a_prev: Array, *parameters: Array) -> Any:
    w_u, b_u, w_r, b_r, w_c, b_c = parameters
    stack = np.concatenate((a_prev, xt))
    u, r = _gate(w_u, stack, b_u), _gate(w_r, stack, b_r)
    gate, candidate, _ = FUNCTIONS
    gate.value(u, u)
    gate.value(r, r)
    cct = _gate(w_c, np.concatenate((r * a_prev, xt)), b_c)
    candidate.value(cct, cct)
    return blend(cct, a_prev, u, 1 - u), r, u, cct


# A step back returns the gradients of xt and of the state, and the factors of those of the
# parameters.


def _rnn_back(
    da: Array, a: Array, a_prev: Array, xt: Array, w_ax: Array, w_aa: Array, _: Any
) -> Any:
    dz = rnn_back(da, a, FUNCTIONS)
    return (np.dot(w_ax.T, dz), np.dot(w_aa.T, dz)), (dz, xt, a_prev)


def _rnn_gradients(dz: Array, xt: Array, a_prev: Array) -> list[Array]:
    return [np.dot(dz, xt.T), np.dot(dz, a_prev.T), _sum(dz)]


def _lstm_back(da: Array, dc: Array, *arrays: Array) -> Any:
    _, c, a_prev, c_prev, ft, it, cct, ot, xt, w_f, _, w_i, _, w_c, _, w_o, _ = arrays
    di, df, dg, do, dc = lstm_back(da, dc, it, ft, cct, ot, c_prev, c, FUNCTIONS)
    dstack = np.dot(w_f.T, df)
    dstack += np.dot(w_i.T, di)
    dstack += np.dot(w_c.T, dg)
    dstack += np.dot(w_o.T, do)
    dxt, da_prev = dstack[len(a_prev) :], dstack[: len(a_prev)]
    return (dxt, da_prev, dc), (df, di, dg, do, np.concatenate((a_prev, xt)))


def _lstm_gradients(
    df: Array, di: Array, dg: Array, do: Array, stack: Array
) -> list[Array]:
    return [
        gradient for dz in (df, di, dg, do) for gradient in (np.dot(dz, stack.T), _sum(dz))
    ]


def _gru_back(da: Array, *arrays: Array) -> Any:
    _, a_prev, r, u, cct, xt, w_u, _, w_r, _, w_c, _ = arrays
    n_a = len(a_prev)
    gate, candidate, _ = FUNCTIONS
    dg, da_prev, du = blend_back(da, cct, a_prev, u, 1 - u)
    dg *= candidate.slope(cct)
    du *= gate.slope(u)
    # Of the stack that the candidate saw, with r * a_prev in it.
    dreset = np.dot(w_c.T, dg)
    dr, da_reset = gated_back(dreset[:n_a], r, a_prev, FUNCTIONS)
    dstack = np.dot(w_u.T, du)
    dstack += np.dot(w_r.T, dr)
    da_prev += dstack[:n_a]
    da_prev += da_reset
    dxt = dstack[n_a:] + dreset[n_a:]
    stack, reset = np.concatenate((a_prev, xt)), np.concatenate((r * a_prev, xt))
    return (dxt, da_prev), (du, dr, dg, stack, reset)


def _gru_gradients(
    du: Array, dr: Array, dg: Array, stack: Array, reset: Array
) -> list[Array]:
    stack, reset = stack.T, reset.T
    update, candidate = [np.dot(du, stack), _sum(du)], [np.dot(dg, reset), _sum(dg)]
    return [*update, np.dot(dr, stack), _sum(dr), *candidate]


def _sum(dz: Array) -> Array:
    total: Array = np.add.reduce(dz, axis=1, keepdims=True)
    return total


_FORWARD: dict[str, Any] = {"rnn": _rnn, "lstm": _lstm, "gru_reset_before": _gru}

_BACKWARD: dict[str, Any] = {
    "rnn": _rnn_back,
    "lstm": _lstm_back,
    "gru_reset_before": _gru_back,
}

_GRADIENTS: dict[str, Any] = {
    "rnn": _rnn_gradients,
    "lstm": _lstm_gradients,
    "gru_reset_before": _gru_gradients,
}
