"""One step of the notebook's cells in plain NumPy, forward and back, on its own arrays.

A feature is a row here and an example a column, as the notebook has it. A part of
``_fallback``; for a single step, whose arrays are small, to bring them into the form of the
other kernels would take longer than the step.

The sizes of the arrays come as a `layout`, two letters for each array: x, a and y for
n_x, n_a and n_y, m for m, j for n_a + n_x, and 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

__all__ = ["FIRST_PARAMETER", "VALUES", "cell_backward", "cell_forward"]

# How many arrays of values a step makes, and where those for its way back end.
VALUES = {"rnn_tanh": 1, "lstm": 6, "gru_reset_before": 4}
FIRST_PARAMETER = {"rnn_tanh": 4, "lstm": 11, "gru_reset_before": 7}


def cell_forward(
    cell: str, layout: str, arrays: tuple[Any, ...]
) -> tuple[tuple[Array, ...], Array] | None:
    """Return what one step's cache has beyond the arguments, and the prediction.

    `arrays` are xt, the state, the cell's parameters and those of the prediction; what
    comes back is the new state and the gates, all in the notebook's order. The result is
    None unless the arrays have the sizes of `layout` and all the same dtype, float32 or
    float64: this is the one kernel that looks at what it is given.
    """
    if not _fits(layout, arrays):
        return None
    with np.errstate(all="ignore"):
        values: tuple[Array, ...] = _FORWARD[cell](*arrays[:-2])
        scores = np.dot(arrays[-2], values[0])
        scores += arrays[-1]
        return values, _softmax(scores)


def cell_backward(cell: str, layout: str, arrays: tuple[Any, ...]) -> list[Array] | None:
    """Return the gradients of xt, of the state before the step, and of the parameters.

    `arrays` are the gradients of the state after the step, what its cache holds without the
    parameters, and the cell's parameters. When the result is None is said at
    `cell_forward`.
    """
    if not _fits(layout, arrays):
        return None
    with np.errstate(all="ignore"):
        gradients: list[Array] = _BACKWARD[cell](*arrays)
        return gradients


def _fits(layout: str, arrays: tuple[Any, ...]) -> bool:
    if {type(array) for array in arrays} != {np.ndarray}:
        return False
    return {array.dtype for array in arrays} in _DTYPES and _are_shapes(
        layout, tuple([array.shape for array in arrays])
    )


_DTYPES = ({np.dtype(np.float32)}, {np.dtype(np.float64)})


@lru_cache
def _are_shapes(layout: str, shapes: tuple[tuple[int, ...], ...]) -> bool:
    """Whether these are the shapes of a layout: what step after step asks anew."""
    expected = layout.split()
    if len(shapes) != len(expected):
        return False
    sizes = {"1": 1}
    for names, shape in zip(expected, shapes, strict=True):
        if len(shape) != 2:
            return False
        for name, size in zip(names, shape, strict=True):
            if name == "j":
                sizes[name] = sizes["a"] + sizes["x"]
            if sizes.setdefault(name, size) != size:
                return False
    return sizes["a"] > 0


def _sigmoid(z: Array) -> Array:
    # Where exp overflows to infinity, the result is 0, as it should be.
    np.negative(z, out=z)
    np.exp(z, out=z)
    z += 1
    return np.reciprocal(z, out=z)


def _softmax(scores: Array) -> Array:
    if scores.size:
        scores -= np.maximum.reduce(scores)
        np.exp(scores, out=scores)
        scores /= np.add.reduce(scores)
    return scores


def _gate(w: Array, stack: Array, b: Array) -> Array:
    z: Array = np.dot(w, stack)
    z += b
    return z


def _rnn(xt: Array, a_prev: Array, w_ax: Array, w_aa: Array, ba: Array) -> Any:
    z = np.dot(w_aa, a_prev)
    z += np.dot(w_ax, xt)
    z += ba
    return (np.tanh(z, out=z),)


def _lstm(xt: Array, a_prev: Array, c_prev: Array, *parameters: Array) -> Any:
    w_f, b_f, w_i, b_i, w_c, b_c, w_o, b_o = parameters
    stack = np.concatenate((a_prev, xt))
    ft = _sigmoid(_gate(w_f, stack, b_f))
    it = _sigmoid(_gate(w_i, stack, b_i))
    cct = np.tanh(_gate(w_c, stack, b_c))
    ot = _sigmoid(_gate(w_o, stack, b_o))
    c_next = ft * c_prev
    c_next += it * cct
    a_next = np.tanh(c_next)
    a_next *= ot
    return a_next, c_next, ft, it, cct, ot


def _gru(xt: Array, a_prev: Array, *parameters: Array) -> Any:
    w_u, b_u, w_r, b_r, w_c, b_c = parameters
    stack = np.concatenate((a_prev, xt))
    u = _sigmoid(_gate(w_u, stack, b_u))
    r = _sigmoid(_gate(w_r, stack, b_r))
    cct = np.tanh(_gate(w_c, np.concatenate((r * a_prev, xt)), b_c))
    a_next = u * cct
    a_next += (1 - u) * a_prev
    return a_next, r, u, cct


def _rnn_back(
    da: Array, a: Array, a_prev: Array, xt: Array, w_ax: Array, w_aa: Array, _: Any
) -> Any:
    dz = da * (1 - a * a)
    dxt, da_prev = np.dot(w_ax.T, dz), np.dot(w_aa.T, dz)
    return [dxt, da_prev, np.dot(dz, xt.T), np.dot(dz, a_prev.T), _sum(dz)]


def _lstm_back(da: Array, dc: Array, *arrays: Array) -> Any:
    _, c, a_prev, c_prev, ft, it, cct, ot, xt, w_f, _, w_i, _, w_c, _, w_o, _ = arrays
    tanh_c = np.tanh(c)
    dc = dc + da * ot * (1 - tanh_c * tanh_c)
    df = dc * c_prev * ft * (1 - ft)
    di = dc * cct * it * (1 - it)
    dg = dc * it * (1 - cct * cct)
    do = da * tanh_c * ot * (1 - ot)
    dstack = np.dot(w_f.T, df)
    dstack += np.dot(w_i.T, di)
    dstack += np.dot(w_c.T, dg)
    dstack += np.dot(w_o.T, do)
    columns = np.concatenate((a_prev, xt)).T
    gradients = [dstack[len(a_prev) :], dstack[: len(a_prev)], dc * ft]
    for dz in (df, di, dg, do):
        gradients += np.dot(dz, columns), _sum(dz)
    return gradients


def _gru_back(da: Array, *arrays: Array) -> Any:
    _, a_prev, r, u, cct, xt, w_u, _, w_r, _, w_c, _ = arrays
    n_a = len(a_prev)
    dg = da * u * (1 - cct * cct)
    # Of the stack that the candidate saw, with r * a_prev in it.
    dreset = np.dot(w_c.T, dg)
    du = da * (cct - a_prev) * u * (1 - u)
    dr = dreset[:n_a] * a_prev * r * (1 - r)
    dstack = np.dot(w_u.T, du)
    dstack += np.dot(w_r.T, dr)
    da_prev = dstack[:n_a] + dreset[:n_a] * r + da * (1 - u)
    columns = np.concatenate((a_prev, xt)).T
    reset_columns = np.concatenate((r * a_prev, xt)).T
    gradients = [dstack[n_a:] + dreset[n_a:], da_prev]
    for dz, inputs in ((du, columns), (dr, columns), (dg, reset_columns)):
        gradients += np.dot(dz, inputs), _sum(dz)
    return gradients


def _sum(dz: Array) -> Array:
    total: Array = np.add.reduce(dz, axis=1, keepdims=True)
    return total


_FORWARD: dict[str, Any] = {"rnn_tanh": _rnn, "lstm": _lstm, "gru_reset_before": _gru}

_BACKWARD: dict[str, Any] = {
    "rnn_tanh": _rnn_back,
    "lstm": _lstm_back,
    "gru_reset_before": _gru_back,
}
