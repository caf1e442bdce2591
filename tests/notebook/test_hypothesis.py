"""Whatever goes in, both backends answer alike: the same arrays, or the same refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise import sigmoid, softmax
from gatewise.kernels import chooser
from tests.notebook_cases import CELLS, Notebook, draw_parameters, everything

DTYPES = ["float64", "float32", "float16", "int8", "uint64", "bool", "complex64", "object"]
LAYOUTS = ["C", "F", "reversed", "gaps", "broadcast", "swapped", "read-only", "list"]
SPECIAL = [np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-40, 0.0]


pytestmark = pytest.mark.usefixtures("both_backends")


def outcome(function: Any, *arguments: Any) -> tuple[str, Any]:
    try:
        result = function(*arguments)
    except Exception as error:
        return "raised", (type(error), str(error))
    return "ran", result if isinstance(result, dict) else {"result": result}


def assert_alike(function: Any, *arguments: Any) -> None:
    """Run `function` on both backends and compare what came of it."""
    with chooser.use("numpy"):
        wanted = outcome(function, *arguments)
    with chooser.use("native"):
        got = outcome(function, *arguments)
    assert got[0] == wanted[0], f"one raised, the other ran: {got}, {wanted}"
    if got[0] == "raised":
        assert got[1] == wanted[1]
        assert got[1][0] in (ValueError, TypeError, KeyError)
        return
    assert list(got[1]) == list(wanted[1])
    # One pass can be in float32 and the next, with a gradient in float64, in float64.
    narrow = any(array.dtype != np.float64 for array in wanted[1].values())
    tolerance = 2e-5 if narrow else 1e-11
    for name, array in got[1].items():
        other = wanted[1][name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape), name
        finite = np.isfinite(other)
        if name in ("a", "y", "c", "result"):
            np.testing.assert_array_equal(np.isfinite(array), finite, err_msg=name)
        else:
            # Near the largest number, the order of summation decides what is infinite.
            finite = finite & np.isfinite(array)
        scale = float(np.abs(other[finite]).max(initial=1.0))
        np.testing.assert_allclose(
            array[finite], other[finite], rtol=0, atol=tolerance * scale, err_msg=name
        )


@st.composite
def arrays(drawn: Any, shape: tuple[int, ...]) -> Any:
    """An array of this shape in any dtype and layout, with special values now and then."""
    random = np.random.default_rng(drawn(st.integers(0, 1000)))
    values = random.standard_normal(shape)
    if values.size and drawn(st.integers(0, 5)) == 0:
        values.flat[drawn(st.integers(0, values.size - 1))] = drawn(
            st.sampled_from(SPECIAL)
        )
    # Mostly what is computed with, seldom what is refused.
    dtype = drawn(st.sampled_from(DTYPES[:2] * 8 + DTYPES))
    with np.errstate(all="ignore"):
        values = values.astype(dtype)
    return arranged(values, drawn(st.sampled_from(LAYOUTS)))


def arranged(values: Any, layout: str) -> Any:
    match layout:
        case "F":
            return np.asfortranarray(values)
        case "reversed" if values.ndim:
            return values[..., ::-1]
        case "gaps" if values.ndim:
            return np.repeat(values, 2, axis=-1)[..., ::2]
        case "broadcast" if values.ndim and values.size:
            return np.broadcast_to(values[:1], values.shape)
        case "swapped":
            return values.astype(values.dtype.newbyteorder("S"))
        case "read-only":
            values.flags.writeable = False
            return values
        case "list" if values.size:
            return values.tolist()
        case _:
            return values


@st.composite
def sequences(drawn: Any) -> tuple[Any, ...]:
    """The arguments of `everything`, mostly such that they fit together."""
    cell: Notebook = drawn(st.sampled_from(CELLS))
    n_x, n_a, n_y = (drawn(st.integers(low, 6)) for low in (0, 1, 1))
    m, time = drawn(st.integers(0, 9)), drawn(st.integers(0, 5))
    parameters: dict[str, Any] = dict(
        draw_parameters(cell, n_x, n_a, n_y, drawn(st.sampled_from(DTYPES[:2])))
    )
    shapes = {"x": (n_x, m, time), "a0": (n_a, m), "da": (n_a, m, time)}
    odd: str = drawn(st.sampled_from([*["nothing"] * 6, *shapes, *parameters]))
    how = drawn(st.sampled_from(["missing", "wrong shape", "another array"]))
    if odd in shapes and how == "wrong shape":
        shapes[odd] = tuple(drawn(st.lists(st.integers(0, 4), max_size=4)))
    values = {name: drawn(arrays(shape)) for name, shape in shapes.items()}
    if odd in parameters:
        shape = parameters[odd].shape
        if how == "missing":
            del parameters[odd]
        elif how == "wrong shape":
            shape = tuple(drawn(st.lists(st.integers(0, 4), max_size=3)))
            parameters[odd] = np.ones(shape)
        else:
            parameters[odd] = drawn(arrays(shape))
    return values["x"], values["a0"], values["da"], cell, parameters


@settings(max_examples=400)
@given(sequences())
def test_sequences(arguments: tuple[Any, ...]) -> None:
    assert_alike(everything, *arguments)


def one_step(
    cell: Notebook, xt: Any, state: Any, gradient: Any, parameters: Any
) -> dict[str, Any]:
    """Everything that one step forward and back returns, its cache included."""
    states = [state] * len(cell.states)
    *arrays, cache = cell.function("cell_forward")(xt, *states, parameters)
    values = dict(enumerate(arrays))
    values |= {f"cache {k}": np.asarray(value) for k, value in enumerate(cache[:-1])}
    back = cell.function("cell_backward")(*[gradient] * len(cell.states), cache)
    named = {str(name): array for name, array in {**values, **back}.items()}
    return {name: array for name, array in named.items() if array.dtype.kind == "f"}


@settings(max_examples=200)
@given(sequences(), st.data())
def test_cells(arguments: tuple[Any, ...], data: Any) -> None:
    _, a0, _, cell, parameters = arguments
    m = np.shape(a0)[1] if np.ndim(a0) == 2 else 2
    n_x = next(
        (
            np.shape(array)[1] - (0 if cell.name == "rnn" else np.shape(array)[0])
            for name, array in parameters.items()
            if name in ("Wax", "Wf", "Wu") and np.ndim(array) == 2
        ),
        1,
    )
    xt = data.draw(arrays((max(n_x, 0), m)))
    gradient = data.draw(arrays(np.shape(a0)))
    assert_alike(one_step, cell, xt, a0, gradient, parameters)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 9), max_size=3).map(tuple), st.data())
def test_activations(shape: tuple[int, ...], data: Any) -> None:
    z = data.draw(arrays(shape)) if shape else 0.5
    assert_alike(sigmoid, z)
    assert_alike(softmax, z)
