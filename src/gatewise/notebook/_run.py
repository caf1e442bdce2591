"""One step or a sequence, forward or back, for any cell: what the functions share.

Much of what the notebook computes is over sooner than its arguments are checked one by one
in Python. So the kernels look at them first, and what they do not take as it is, is checked
and brought into form here, or refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gatewise._checks import Array, as_numbers, check_shape, common_dtype
from gatewise.kernels import chooser
from gatewise.kernels.numpy.columns import Preference
from gatewise.notebook._cell import Cache, Cell, Parameters
from gatewise.notebook._records import Columns, Record, Rows
from gatewise.notebook._steps import Steps

# The second is the inputs as they were given.
Caches = tuple[Sequence[Cache], Any]

# Looking it up in the enumeration would take part of a small run's time.
_OTHER_KERNELS = Preference.OTHER_KERNELS

__all__ = ["Caches", "backward", "cell_backward", "cell_forward", "forward", "read_steps"]


def cell_forward(
    cell: Cell, xt: ArrayLike, before: tuple[ArrayLike, ...], parameters: Parameters
) -> tuple[tuple[Array, ...], Array, Cache]:
    """Return the state after one step, its prediction and its cache."""
    run, layout = chooser.kernels.cell_forward, cell.step_layout
    try:
        given = cell.all_arrays(parameters)
    except (LookupError, TypeError):
        outcome = None
    else:
        outcome = run(cell.kernel, layout, (xt, *before, *given))
    if outcome is None:
        names = [f"{state}_prev" for state in cell.states]
        named = {"xt": xt, **dict(zip(names, before, strict=True))}
        outcome = run(cell.kernel, layout, _checked(cell, named, parameters))
    values, prediction = outcome
    states = len(before)
    after = values[:states]
    return after, prediction, (*after, *before, *values[states:], xt, parameters)


def forward(
    cell: Cell, x: ArrayLike, a0: ArrayLike, parameters: Parameters
) -> tuple[Sequence[Array], Array, Caches]:
    """Return the states after every step, the predictions and the caches."""
    run, layout = chooser.kernels.run_forward, cell.run_layout
    record: Record
    try:
        given = cell.all_arrays(parameters)
    except (LookupError, TypeError):
        outcome = None
    else:
        outcome = run(cell.kernel, layout, (x, a0, *given))
    if outcome is None:
        outcome = run(cell.kernel, layout, _checked(cell, {"x": x, "a0": a0}, parameters))
    if outcome is _OTHER_KERNELS:
        arrays = _checked(cell, {"x": x, "a0": a0}, parameters)
        record, states, predictions = Rows.run(cell, arrays)
    else:
        states, predictions, values, kept = outcome
        record = Columns(cell, values, kept)
    return states, predictions, (Steps(record, np.asarray(x), a0, parameters), x)


def cell_backward(
    cell: Cell, gradients: tuple[ArrayLike, ...], cache: Cache
) -> dict[str, Array]:
    """Return the gradients of xt, of the state before the step, and of the parameters."""
    run, layout = chooser.kernels.cell_backward, cell.step_back_layout
    try:
        *values, parameters = cache
        given = cell.own_arrays(parameters)
    except (LookupError, TypeError, ValueError):
        outcome = None
    else:
        outcome = run(cell.kernel, layout, (*gradients, *values, *given))
    if outcome is None:
        outcome = run(cell.kernel, layout, _checked_back(cell, gradients, cache))
    return dict(zip(cell.step_gradients, outcome, strict=True))


def backward(cell: Cell, da: ArrayLike, caches: Caches) -> dict[str, Array]:
    """Return the gradients of x, of a0 and of the parameters."""
    da_array = as_numbers("da", da)
    record = _read_caches(cell, caches)
    check_shape("da", da_array, record.shape)
    dtype = common_dtype([da_array, record.initial[0]])
    gradients = record.backward(da_array.astype(dtype, copy=False))
    return dict(zip(cell.run_gradients, gradients, strict=True))


def _checked(
    cell: Cell, named: dict[str, ArrayLike], parameters: Parameters
) -> tuple[Array, ...]:
    """Return the arrays of a step or a sequence as its kernel takes them."""
    (name, value), *states = named.items()
    x, axes = as_numbers(name, value), ("n_x", "m", "T_x")[: 2 if name == "xt" else 3]
    check_shape(name, x, axes, free=len(axes))
    state: list[Array] = []
    n_a: int | str = "n_a"
    for name, value in states:
        state.append(as_numbers(name, value))
        # The first state says how many hidden units there are.
        check_shape(name, state[-1], (n_a, x.shape[1]), free=1 if n_a == "n_a" else 0)
        n_a = len(state[-1])
        if not n_a:
            raise ValueError(
                f"{name} should have at least one row, got shape (0, {x.shape[1]})"
            )
    own = cell.read(parameters, len(x), len(state[0]))
    return _alike([x, *state, *own, *cell.read_head(parameters, len(state[0]))])


def _checked_back(
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
    return tuple([np.require(array, dtype, ["C", "A"]) for array in arrays])


def read_steps(caches: Caches) -> Steps | Sequence[Any]:
    """Return the steps that `caches` have, or refuse what is none of a run's caches."""
    if not isinstance(caches, (tuple, list)) or len(caches) != 2:
        came = f"a {type(caches).__name__}"
        if isinstance(caches, (tuple, list)):
            came += f" of {len(caches)}"
        raise ValueError(f"caches should be a tuple of 2, (steps, x), got {came}")
    steps = caches[0]
    if isinstance(steps, Steps):
        return steps
    is_list = isinstance(steps, (tuple, list))
    if not is_list or not steps:
        raise ValueError(
            "caches[0] should be a list of one cache or more, one for each step, "
            f"got {repr(steps) if is_list else type(steps).__name__}"
        )
    return steps


def _read_caches(cell: Cell, caches: Caches) -> Record:
    """Return the record that `caches` have, or make one of the steps' own."""
    steps = read_steps(caches)
    if isinstance(steps, Steps):
        name = steps.record.cell.name
        if name != cell.name:
            raise ValueError(
                f"caches should come from {cell.name}_forward, got those of {name}_forward"
            )
        return steps.record
    read = [cell.read_cache(f"caches[0][{t}]", step) for t, step in enumerate(steps)]
    return _replay(cell, read)


def _replay(cell: Cell, steps: Sequence[dict[str, Any]]) -> Record:
    """Return the record of steps whose caches were read one by one."""
    first, fields = steps[0], cell.fields[:-1]
    for t, step in enumerate(steps):
        for field in fields:
            check_shape(f"{field} in caches[0][{t}]", step[field], first[field].shape)
    n_x, n_a = len(first["xt"]), len(first["a_next"])
    parameters = cell.read(first["parameters"], n_x, n_a)
    dtype = common_dtype([*parameters, *[step[f] for step in steps for f in fields]])
    states = len(cell.states)
    made = (*fields[:states], *fields[2 * states : -1])
    values = [[step[field].astype(dtype) for field in made] for step in steps]
    before = [first[field] for field in fields[states : 2 * states]]
    inputs = np.stack([step["xt"] for step in steps])
    kept = [np.array(array, dtype, order="C") for array in (inputs, *before, *parameters)]
    return Columns(cell, values, kept)
