"""One step or a sequence, forward or back, for any cell: what the functions share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gatewise import _backend, _direction
from gatewise._checks import Array, as_numbers, check_shape, common_dtype
from gatewise._direction import Tape, Weights
from gatewise.notebook._cell import Cache, Cell, Parameters
from gatewise.notebook._steps import Steps, tape_states

Caches = tuple[Sequence[Cache], ArrayLike]

__all__ = ["Caches", "backward", "cell_backward", "cell_forward", "forward"]


def cell_forward(
    cell: Cell, xt: ArrayLike, before: tuple[ArrayLike, ...], parameters: Parameters
) -> tuple[tuple[Array, ...], Array, Cache]:
    """Return the state after one step, its prediction and its cache."""
    run, layout = _backend.kernels.cell_forward, cell.forward_layout
    # A step is over sooner than its arguments are checked one by one. That is done where
    # the kernel does not take them as they are.
    try:
        outcome = run(cell.kernel, layout, (xt, *before, *cell.all_arrays(parameters)))
    except (LookupError, TypeError):
        outcome = None
    if outcome is None:
        arrays = _checked_step(cell, xt, before, parameters)
        outcome = run(cell.kernel, layout, arrays)
    values, prediction = outcome
    states = len(before)
    after = values[:states]
    return after, prediction, (*after, *before, *values[states:], xt, parameters)


def forward(
    cell: Cell, x: ArrayLike, a0: ArrayLike, parameters: Parameters
) -> tuple[tuple[Array, ...], Array, Caches]:
    """Return the states after every step, the predictions and the caches."""
    x_array = as_numbers("x", x)
    check_shape("x", x_array, ("n_x", "m", "T_x"), free=3)
    state = _state({"a0": a0}, x_array.shape[1])
    tape, prediction, weights, packed = _run(cell, x_array, state, parameters)
    steps = Steps(cell, tape, weights, packed, x_array, a0, parameters)
    # Copies: what the caller does to them should not reach the tape.
    states = [rows.T.copy(order="K") for rows in tape_states(tape)]
    return tuple(states), prediction, (steps, x)


def cell_backward(
    cell: Cell, gradients: tuple[ArrayLike, ...], cache: Cache
) -> dict[str, Array]:
    """Return the gradients of xt, of the state before the step, and of the parameters."""
    run, layout = _backend.kernels.cell_backward, cell.backward_layout
    try:
        *values, parameters = cache
        arrays = (*gradients, *values, *cell.own_arrays(parameters))
        outcome = run(cell.kernel, layout, arrays)
    except (LookupError, TypeError, ValueError):
        outcome = None
    if outcome is None:
        outcome = run(cell.kernel, layout, _checked_step_back(cell, gradients, cache))
    return dict(zip(cell.gradient_names, outcome, strict=True))


def backward(
    cell: Cell, da: ArrayLike, caches: Caches
) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
    """Return the gradients of x, of the state before the sequence, and of parameters."""
    da_array = as_numbers("da", da)
    steps = _steps(cell, caches)
    if isinstance(steps, Steps):
        check_shape("da", da_array, steps.tape.y.T.shape)
        weights, tape = _widened(steps, common_dtype([da_array, steps.tape.y]))
        packed = steps.packed() if weights is steps.weights else weights.pack()
    else:
        values = [cell.read_cache(f"caches[0][{t}]", step) for t, step in enumerate(steps)]
        check_shape("da", da_array, (*values[0]["a_next"].shape, len(values)))
        weights, tape = _replay(cell, values, [da_array])
        packed = weights.pack()
    dy = np.ascontiguousarray(da_array.T, tape.y.dtype)
    dstate = tuple([np.zeros(part.shape, part.dtype) for part in tape.initial])
    return _back(cell, weights, packed, tape, dy, dstate)


def _state(before: Mapping[str, ArrayLike], m: int) -> list[Array]:
    """Return the arrays of the state before the first step, checked."""
    arrays: list[Array] = []
    n_a: int | str = "n_a"
    for name, value in before.items():
        array = as_numbers(name, value)
        # The first state says how many hidden units there are.
        check_shape(name, array, (n_a, m), free=0 if arrays else 1)
        n_a = array.shape[0]
        if not n_a:
            raise ValueError(
                f"{name} should have at least one row, got shape {array.shape}"
            )
        arrays.append(array)
    return arrays


def _checked_step(
    cell: Cell, xt: ArrayLike, before: tuple[ArrayLike, ...], parameters: Parameters
) -> tuple[Array, ...]:
    """Return the arrays of a step as its kernel takes them."""
    xt_array = as_numbers("xt", xt)
    check_shape("xt", xt_array, ("n_x", "m"), free=2)
    names = [f"{state}_prev" for state in cell.states]
    state = _state(dict(zip(names, before, strict=True)), xt_array.shape[1])
    n_a = len(state[0])
    own = cell.read(parameters, len(xt_array), n_a)
    head = cell.read_head(parameters, n_a)
    return _alike([xt_array, *state, *own, *head])


def _checked_step_back(
    cell: Cell, gradients: tuple[ArrayLike, ...], cache: Cache
) -> tuple[Array, ...]:
    """Return the arrays of a step back as its kernel takes them."""
    values = cell.read_cache("cache", cache)
    shape = values["a_next"].shape
    arrays = []
    for state, gradient in zip(cell.states, gradients, strict=True):
        name = f"d{state}_next"
        arrays.append(as_numbers(name, gradient))
        check_shape(name, arrays[-1], shape)
    own = cell.read(values["parameters"], len(values["xt"]), shape[0])
    return _alike([*arrays, *[values[field] for field in cell.fields[:-1]], *own])


def _alike(arrays: Sequence[Array]) -> tuple[Array, ...]:
    dtype = common_dtype(arrays)
    return tuple([np.ascontiguousarray(array, dtype) for array in arrays])


@np.errstate(all="ignore")
def _run(
    cell: Cell, x: Array, initial: Sequence[Array], parameters: Parameters
) -> tuple[Tape, Array, Weights, Any]:
    """Run over ``x (n_x, m, T_x)``; a state that `initial` does not give starts at zero."""
    n_a = initial[0].shape[0]
    arrays = cell.read(parameters, x.shape[0], n_a)
    matrix, bias = cell.read_head(parameters, n_a)
    dtype = common_dtype([x, *initial, *arrays, matrix, bias])
    weights = cell.weights(arrays, dtype)
    packed = weights.pack()
    state = [array.T.astype(dtype, "C") for array in initial]
    while len(state) < len(cell.states):
        state.append(np.zeros_like(state[0]))
    # A copy always: the tape should not follow what the caller does to x later.
    rows = x.T.astype(dtype, "C")
    tape = _direction.forward(weights, packed, rows, tuple(state))
    scores = np.dot(tape.y.reshape(-1, n_a), matrix.T.astype(dtype, copy=False))
    scores += bias[:, 0]
    prediction = np.empty(scores.shape, dtype)
    _backend.kernels.softmax(scores, prediction)
    time, m, _ = rows.shape
    return tape, prediction.reshape(time, m, len(matrix)).T, weights, packed


def _back(
    cell: Cell,
    weights: Weights,
    packed: Any,
    tape: Tape,
    dy: Array,
    dstate: tuple[Array, ...],
) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
    dx, gradients = _direction.backward(weights, packed, tape, dy, dstate)
    assert dx is not None
    return dx.T, tuple([gradient.T for gradient in dstate]), cell.gradients(gradients)


def _steps(cell: Cell, caches: Caches) -> Sequence[Cache]:
    """Return the step caches out of `caches`."""
    if not isinstance(caches, (tuple, list)) or len(caches) != 2:
        came = f"a {type(caches).__name__}"
        if isinstance(caches, (tuple, list)):
            came += f" of {len(caches)}"
        raise ValueError(f"caches should be a tuple of 2, (steps, x), got {came}")
    steps = caches[0]
    if isinstance(steps, Steps):
        if steps.cell.kernel != cell.kernel:
            raise ValueError(
                f"caches should come from {cell.name}_forward, "
                f"got those of {steps.cell.name}_forward"
            )
    elif not isinstance(steps, (tuple, list)) or not steps:
        raise ValueError(
            "caches[0] should be a list of one cache or more, one for each step, "
            f"got {'()' if steps == () else '[]' if steps == [] else type(steps).__name__}"
        )
    return steps


def _widened(steps: Steps, dtype: np.dtype[Any]) -> tuple[Weights, Tape]:
    """Return the weights and the tape of `steps` in `dtype`."""
    weights, tape = steps.weights, steps.tape
    if tape.y.dtype == dtype:
        return weights, tape
    w_ih, w_hh, bias = (a.astype(dtype) for a in (weights.w_ih, weights.w_hh, weights.bias))
    return weights._replace(w_ih=w_ih, w_hh=w_hh, bias=bias), tape._replace(
        x=tape.x.astype(dtype),
        gates=tape.gates.astype(dtype),
        extra=None if tape.extra is None else tape.extra.astype(dtype),
        y=tape.y.astype(dtype),
        initial=tuple(array.astype(dtype) for array in tape.initial),
    )


@np.errstate(all="ignore")
def _replay(
    cell: Cell, values: Sequence[Mapping[str, Any]], others: Sequence[Array]
) -> tuple[Weights, Tape]:
    """Return the weights and the tape of steps whose caches were read one by one."""
    first = values[0]
    fields = [field for field in cell.fields if field != "parameters"]
    for t, step in enumerate(values):
        for field in fields:
            check_shape(f"{field} in caches[0][{t}]", step[field], first[field].shape)
    n_x, n_a = len(first["xt"]), len(first["a_next"])
    arrays = cell.read(first["parameters"], n_x, n_a)
    cached = [step[field] for step in values for field in fields]
    dtype = common_dtype([*arrays, *others, *cached])
    rows = {
        field: np.ascontiguousarray(np.stack([step[field].T for step in values]), dtype)
        for field in fields
    }
    return cell.weights(arrays, dtype), cell.tape(rows)
