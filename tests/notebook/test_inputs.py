"""What goes in: dtypes, layouts, sizes of zero, infinities, and what is refused."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gatewise import lstm_backward, sigmoid, softmax
from tests.notebook_cases import (
    CELLS,
    LSTM,
    RNN,
    Array,
    Notebook,
    draw,
    draw_parameters,
    everything,
    run_cell,
    run_sequence,
)

pytestmark = pytest.mark.usefixtures("backend")

every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


def given(cell: Notebook, dtype: str = "float64") -> dict[str, Any]:
    """Arguments for `everything`."""
    return {
        "x": draw(3, 4, 6, dtype=dtype),
        "a0": draw(5, 4, dtype=dtype),
        "da": draw(5, 4, 6, dtype=dtype),
        "cell": cell,
        "parameters": draw_parameters(cell, dtype=dtype),
    }


def mapped(arguments: dict[str, Any], change: Any) -> dict[str, Any]:
    """The same arguments with every array changed."""
    changed = {name: change(arguments[name]) for name in ("x", "a0", "da")}
    parameters = {name: change(array) for name, array in arguments["parameters"].items()}
    return {**arguments, **changed, "parameters": parameters}


def assert_same(got: dict[str, Array], wanted: dict[str, Array]) -> None:
    assert list(got) == list(wanted)
    for name, array in got.items():
        assert array.dtype == wanted[name].dtype, name
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)


# Dtypes


@every_cell
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_stay(cell: Notebook, dtype: str) -> None:
    for name, array in everything(**given(cell, dtype)).items():
        assert array.dtype == dtype, name


@every_cell
@pytest.mark.parametrize("wide", ["x", "a0", "parameters"])
def test_one_float64_among_float32_makes_all_float64(cell: Notebook, wide: str) -> None:
    arguments = given(cell, "float32")
    if wide == "parameters":
        name = "by"
        arguments["parameters"][name] = arguments["parameters"][name].astype("float64")
    else:
        arguments[wide] = arguments[wide].astype("float64")
    wanted = everything(**mapped(arguments, lambda array: array.astype("float64")))
    assert_same(everything(**arguments), wanted)


@every_cell
@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "int64", "uint64", "bool"])
def test_integers_are_float64(cell: Notebook, dtype: str) -> None:
    arguments = mapped(given(cell), lambda array: (3 * np.abs(array)).astype(dtype))
    wanted = everything(**mapped(arguments, lambda array: array.astype("float64")))
    assert_same(everything(**arguments), wanted)


@every_cell
def test_integers_among_float32_are_float64(cell: Notebook) -> None:
    arguments = given(cell, "float32")
    arguments["x"] = np.ones((3, 4, 6), "int8")
    for array in everything(**arguments).values():
        assert array.dtype == np.float64


@every_cell
def test_float16_is_float32(cell: Notebook) -> None:
    arguments = mapped(given(cell), lambda array: array.astype("float16"))
    wanted = everything(**mapped(arguments, lambda array: array.astype("float32")))
    assert_same(everything(**arguments), wanted)


REFUSED = ["complex64", "complex128", "object", "U8", "S8", "longdouble", "M8[s]", "V8"]


@every_cell
@pytest.mark.parametrize("dtype", REFUSED)
@pytest.mark.parametrize("name", ["x", "a0", "by", "da"])
def test_other_dtypes_are_refused(cell: Notebook, dtype: str, name: str) -> None:
    arguments = given(cell)
    home = arguments if name in arguments else arguments["parameters"]
    home[name] = np.zeros(home[name].shape, dtype)
    shown = str(np.dtype(dtype)).replace("|", r"\|").replace("[", r"\[")
    with pytest.raises(TypeError, match=f"^{name} should hold real numbers .* {shown}"):
        everything(**arguments)


@pytest.mark.parametrize("function", [sigmoid, softmax])
@pytest.mark.parametrize("dtype", REFUSED)
def test_activations_refuse_other_dtypes(function: Any, dtype: str) -> None:
    with pytest.raises(TypeError, match=r"^z should hold real numbers"):
        function(np.zeros((2, 2), dtype))


# Layouts

LAYOUTS: dict[str, Any] = {
    "fortran": np.asfortranarray,
    "swapped byte order": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "read-only": lambda a: locked(a.copy()),
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
    "unaligned": lambda a: unaligned(a),
    "lists": lambda a: a.tolist(),
    "a subclass": lambda a: a.view(Labelled),
}


class Labelled(np.ndarray[Any, Any]):
    """A subclass, which should not come back."""


def locked(array: Array) -> Array:
    array.flags.writeable = False
    return array


def unaligned(array: Array) -> Array:
    storage = np.zeros(array.nbytes + 1, "uint8")
    view = storage[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@every_cell
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(cell: Notebook, dtype: str, layout: str) -> None:
    if layout == "lists" and dtype == "float32":
        dtype = "float64"
    arguments = given(cell, dtype)
    got = everything(**mapped(arguments, LAYOUTS[layout]))
    assert_same(got, everything(**arguments))
    assert {type(array) for array in got.values()} == {np.ndarray}
    assert all(array.dtype.isnative and array.flags.writeable for array in got.values())


@every_cell
def test_broadcast_arrays(cell: Notebook) -> None:
    arguments = given(cell)
    for name in ("x", "a0", "da"):
        arguments[name] = np.broadcast_to(arguments[name][:, :1], arguments[name].shape)
    assert_same(everything(**arguments), everything(**mapped(arguments, np.array)))


@every_cell
def test_inputs_are_not_written_to(cell: Notebook) -> None:
    arguments = given(cell)
    before = copy.deepcopy(arguments)
    everything(**arguments)
    everything(**mapped(arguments, locked))
    for name in ("x", "a0", "da"):
        np.testing.assert_array_equal(arguments[name], before[name])
    for name, array in arguments["parameters"].items():
        np.testing.assert_array_equal(array, before["parameters"][name])


@every_cell
@pytest.mark.parametrize("layout", ["as drawn", "fortran"])
def test_returned_arrays_are_nobody_elses(cell: Notebook, layout: str) -> None:
    arguments = mapped(given(cell), LAYOUTS.get(layout, np.array))
    callers = [arguments["x"], arguments["a0"], arguments["da"]]
    callers += arguments["parameters"].values()
    returned = list(everything(**arguments).values())
    for number, array in enumerate(returned):
        for other in (*callers, *returned[:number]):
            assert not np.shares_memory(array, other)
    xt, before = arguments["x"][:, :, 0], (arguments["a0"],) * len(cell.states)
    run = run_cell(cell, xt, before, arguments["parameters"])
    cache = run.pop("cache")
    gradients = cell.function("cell_backward")(*before, cache)
    for array in (*run.values(), *gradients.values()):
        assert not any(np.shares_memory(array, other) for other in callers)


# Caches


@every_cell
@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_caches_refer_to_the_callers_arrays(cell: Notebook, dtype: str) -> None:
    arguments = mapped(given(cell), lambda array: (3 * array).astype(dtype))
    x, a0, parameters = arguments["x"], arguments["a0"], arguments["parameters"]
    steps, kept = run_sequence(cell, x, a0, parameters)["caches"]
    assert kept is x
    for t, step in enumerate(steps):
        cache = dict(zip(cell.cache_fields, step, strict=True))
        assert cache["parameters"] is parameters
        assert np.shares_memory(cache["xt"], x)
        np.testing.assert_array_equal(cache["xt"], x[:, :, t])
        assert cache["xt"].dtype == dtype
    assert dict(zip(cell.cache_fields, steps[0], strict=True))["a_prev"] is a0


@every_cell
def test_steps_behave_as_a_list(cell: Notebook) -> None:
    arguments = given(cell)
    steps, _ = run_sequence(cell, *[arguments[n] for n in ("x", "a0", "parameters")])[
        "caches"
    ]
    assert isinstance(steps, Sequence)
    everyone = list(steps)
    assert len(steps) == len(everyone) == 6

    def assert_steps(got: Any, wanted: Any) -> None:
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            assert type(one) is tuple
            for value, wanted_value in zip(one[:-1], other[:-1], strict=True):
                np.testing.assert_array_equal(value, wanted_value)

    for index in range(-6, 6):
        assert_steps([steps[index]], [everyone[index]])
        assert_steps([steps[np.int64(index)]], [everyone[index]])
    for part in (
        slice(None),
        slice(1, 4),
        slice(-2, None),
        slice(None, None, -2),
        slice(9, 12),
    ):
        assert_steps(steps[part], everyone[part])
    assert_steps(list(reversed(steps)), everyone[::-1])
    for index in (6, -7, 100):
        with pytest.raises(IndexError, match=f"one of 6 steps, got {index}"):
            steps[index]
    with pytest.raises(TypeError):
        steps[1.0]
    assert steps == steps
    assert "6 steps" in repr(steps)


@every_cell
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, "pickle"])
def test_caches_survive_copies(cell: Notebook, duplicate: Any) -> None:
    arguments = given(cell)
    caches = run_sequence(cell, *[arguments[n] for n in ("x", "a0", "parameters")])[
        "caches"
    ]
    if duplicate == "pickle":
        copied = pickle.loads(pickle.dumps(caches))
        assert np.shares_memory(copied[0].x, copied[1])
    else:
        copied = duplicate(caches[0]), caches[1]
    assert_same(
        cell.function("backward")(arguments["da"], copied),
        cell.function("backward")(arguments["da"], caches),
    )


# Sizes of zero and one


@every_cell
@pytest.mark.parametrize("n_x", [0, 1, 3])
@pytest.mark.parametrize("m", [0, 1, 2])
@pytest.mark.parametrize("time", [0, 1, 3])
def test_small_sizes(cell: Notebook, n_x: int, m: int, time: int) -> None:
    parameters = draw_parameters(cell, n_x)
    x, a0, da = draw(n_x, m, time), draw(5, m), draw(5, m, time)
    got = everything(x, a0, da, cell, parameters)
    assert got["a"].shape == (5, m, time)
    assert got["y"].shape == (2, m, time)
    np.testing.assert_allclose(got["y"].sum(axis=0), np.ones((m, time)))
    inputs = {"x": x, "a0": a0, **parameters}
    for name in cell.gradient_keys("dx", "da0"):
        assert got[name].shape == inputs[name[1:]].shape
        if not da.size:
            assert not got[name].any()
    xt, das = draw(n_x, m), (a0,) * len(cell.states)
    run = run_cell(cell, xt, das, parameters)
    gradients = cell.function("cell_backward")(*das, run["cache"])
    assert run["a_next"].shape == gradients["da_prev"].shape == (5, m)
    assert gradients["dxt"].shape == (n_x, m)


@every_cell
def test_no_hidden_unit_is_refused(cell: Notebook) -> None:
    parameters = draw_parameters(cell, n_a=0)
    with pytest.raises(
        ValueError, match=r"^a0 should have at least one row, got shape \(0, 4\)"
    ):
        run_sequence(cell, draw(3, 4, 6), draw(0, 4), parameters)


# Infinity and what is not a number


@every_cell
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_spreads_in_silence(
    cell: Notebook, dtype: str, value: float
) -> None:
    with np.errstate(over="ignore"):
        bad = np.array(value).astype(dtype)
    arguments = given(cell, dtype)
    wanted = everything(**arguments)
    arguments["x"][1, 2, 3] = bad
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        got = everything(**arguments)
    # Other examples and earlier steps know nothing of it.
    others = [0, 1, 3]
    for name in ("a", "y"):
        np.testing.assert_allclose(got[name][:, others], wanted[name][:, others], rtol=1e-5)
        np.testing.assert_allclose(got[name][:, :, :3], wanted[name][:, :, :3], rtol=1e-5)
    if np.isnan(value):
        assert np.isnan(got["a"][:, 2, 3:]).all()
        assert np.isnan(got["y"][:, 2, 3:]).all()
        assert np.isnan(got["dx"][:, 2, 3]).all()
    elif cell is RNN:
        assert (np.abs(got["a"][:, 2, 3]) == 1).all()


@every_cell
def test_infinities_everywhere_in_silence(cell: Notebook) -> None:
    arguments = given(cell)
    for array in arguments["parameters"].values():
        array[0, 0] = np.inf
    arguments["a0"][2] = np.inf
    before = (arguments["a0"],) * len(cell.states)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        everything(**arguments)
        cache = run_cell(cell, arguments["x"][:, :, 0], before, arguments["parameters"])[
            "cache"
        ]
        cell.function("cell_backward")(*before, cache)


# Refusals


@every_cell
@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("x", (3, 4), "(n_x, m, T_x)"),
        ("x", (3,), "(n_x, m, T_x)"),
        ("x", (), "(n_x, m, T_x)"),
        ("x", (3, 4, 6, 1), "(n_x, m, T_x)"),
        ("a0", (5, 3), "(n_a, 4)"),
        ("a0", (5, 1), "(n_a, 4)"),
        ("a0", (5,), "(n_a, 4)"),
        ("by", (3, 1), "(2, 1)"),
        ("by", (2,), "(2, 1)"),
        ("by", (1, 2), "(2, 1)"),
        ("da", (5, 4), "(5, 4, 6)"),
        ("da", (5, 4, 5), "(5, 4, 6)"),
        ("da", (5, 1, 6), "(5, 4, 6)"),
    ],
)
def test_wrong_shapes(
    cell: Notebook, name: str, shape: tuple[int, ...], expected: str
) -> None:
    arguments = given(cell)
    home = arguments["parameters"] if name == "by" else arguments
    home[name] = np.zeros(shape)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        everything(**arguments)
    assert str(caught.value) == f"{name} should have shape {expected}, got {shape}"


@every_cell
def test_every_parameter_is_checked(cell: Notebook) -> None:
    before = (draw(5, 4),) * len(cell.states)
    for name, shape in cell.shapes(3, 5, 2).items():
        # One more row, one more column, and no second axis.
        rows, columns = shape
        for wrong in [(rows + 1, columns), (rows, columns + 1), (rows,), ()]:
            if name.startswith("Wy") and wrong == (rows + 1, columns):
                continue
            arguments = given(cell)
            arguments["parameters"][name] = np.zeros(wrong)
            with pytest.raises(
                ValueError, match=rf"^{name} should have shape \(.*\), got "
            ):
                everything(**arguments)
            with pytest.raises(
                ValueError, match=rf"^{name} should have shape \(.*\), got "
            ):
                run_cell(cell, draw(3, 4), before, arguments["parameters"])
        arguments = given(cell)
        del arguments["parameters"][name]
        with pytest.raises(KeyError, match=rf"an array '{name}', got none"):
            everything(**arguments)


@every_cell
def test_cell_shapes(cell: Notebook) -> None:
    parameters, xt, a = draw_parameters(cell), draw(3, 4), draw(5, 4)
    states = tuple(f"{state}_prev" for state in cell.states)
    with pytest.raises(
        ValueError, match=r"^xt should have shape \(n_x, m\), got \(3, 4, 1\)"
    ):
        run_cell(cell, xt[:, :, None], (a,) * len(states), parameters)
    for number, state in enumerate(states):
        before = [a] * len(states)
        before[number] = a[:, :3]
        with pytest.raises(
            ValueError, match=rf"^{state} should have shape \(.*, 4\), got \(5, 3"
        ):
            run_cell(cell, xt, tuple(before), parameters)
    cache = run_cell(cell, xt, (a,) * len(states), parameters)["cache"]
    for number, state in enumerate(cell.states):
        das = [a] * len(states)
        das[number] = a[:, :3]
        with pytest.raises(
            ValueError, match=rf"^d{state}_next should have shape \(5, 4\), got \(5, 3\)"
        ):
            cell.function("cell_backward")(*das, cache)


@every_cell
def test_parameters_that_are_no_mapping(cell: Notebook) -> None:
    for parameters in (None, [1.0], 3.0, "abc"):
        with pytest.raises(
            TypeError, match=r"^parameters should map names to arrays, got "
        ):
            run_sequence(cell, draw(3, 4, 6), draw(5, 4), parameters)


@every_cell
def test_ragged_lists(cell: Notebook) -> None:
    with pytest.raises(ValueError, match=r"^x should be an array: "):
        run_sequence(cell, [[[1.0], [1.0, 2.0]]], draw(5, 2), draw_parameters(cell, 1))


@every_cell
def test_other_keys_are_ignored(cell: Notebook) -> None:
    arguments = given(cell)
    wanted = everything(**arguments)
    arguments["parameters"] |= {"Wz": "nothing", "bq": None, 3: 1j}
    assert_same(everything(**arguments), wanted)


@every_cell
def test_caches_of_another_kind(cell: Notebook) -> None:
    other = CELLS[(CELLS.index(cell) + 1) % 3]
    foreign = run_sequence(other, draw(3, 4, 6), draw(5, 4), draw_parameters(other))[
        "caches"
    ]
    backward, da = cell.function("backward"), draw(5, 4, 6)
    with pytest.raises(
        ValueError,
        match=f"^caches should come from {cell.name}_forward, got .*{other.name}_",
    ):
        backward(da, foreign)
    fields = ", ".join(cell.cache_fields)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        backward(da, (list(foreign[0]), foreign[1]))
    assert str(caught.value) == (
        f"caches[0][0] should be a tuple of {len(cell.cache_fields)}, ({fields}), "
        f"got a tuple of {len(other.cache_fields)}"
    )
    for caches, came in [
        (None, "a NoneType"),
        ((1, 2, 3), "a tuple of 3"),
        ([], "a list of 0"),
    ]:
        with pytest.raises(
            ValueError, match=rf"^caches should be .*\(steps, x\), got {came}"
        ):
            backward(da, caches)
    for steps, came in [([], r"\[\]"), ((), r"\(\)"), (3, "int")]:
        with pytest.raises(
            ValueError, match=rf"^caches\[0\] should be a list .*, got {came}"
        ):
            backward(da, (steps, None))
    with pytest.raises(ValueError, match=r"^cache should be a tuple of .*, got a NoneType"):
        cell.function("cell_backward")(*[da[:, :, 0]] * len(cell.states), None)


@every_cell
def test_caches_that_do_not_fit_together(cell: Notebook) -> None:
    arguments = given(cell)
    steps, x = run_sequence(cell, *[arguments[n] for n in ("x", "a0", "parameters")])[
        "caches"
    ]
    for number, field in enumerate(cell.cache_fields[:-1]):
        broken = [list(step) for step in steps]
        broken[2][number] = broken[2][number][:, :3]
        with pytest.raises(
            ValueError, match=r" in caches\[0\]\[2\] should have shape \(.+, "
        ):
            cell.function("backward")(arguments["da"], (broken, x))
        broken[2][number] = np.zeros((1, 1), "complex128")
        with pytest.raises(
            TypeError, match=rf"^{field} in caches\[0\]\[2\] should hold real"
        ):
            cell.function("backward")(arguments["da"], (broken, x))


# The activations


def test_sigmoid_at_extremes() -> None:
    z = np.concatenate(
        [np.linspace(-700, 700, 2801), [-1e308, -800, 800, 1e308, 0.0, -0.0]]
    )
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        got = sigmoid(z)
    with np.errstate(over="ignore"):
        wanted = (1 / (1 + np.exp(-z.astype("longdouble")))).astype("float64")
    np.testing.assert_allclose(got, wanted, rtol=2e-15, atol=1e-307)
    np.testing.assert_array_equal(sigmoid([np.inf, -np.inf, np.nan]), [1, 0, np.nan])
    single = np.linspace(-80, 80, 1601, dtype="float32")
    wanted = 1 / (1 + np.exp(-single.astype("float64")))
    assert sigmoid(single).dtype == np.float32
    np.testing.assert_allclose(sigmoid(single), wanted, rtol=1e-6, atol=1e-37)


def test_softmax_at_extremes() -> None:
    z = np.array(
        [[1e308, -1e308, 700.0, -745.0], [-1e308, -1e308, 0.0, 0.0], [0, -1e308, 1, 2]]
    )
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        got = softmax(z)
    with np.errstate(over="ignore"):
        wide = z.astype("longdouble")
        wanted = np.exp(wide - wide.max(axis=0))
        wanted = (wanted / wanted.sum(axis=0)).astype("float64")
    np.testing.assert_allclose(got, wanted, rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(got.sum(axis=0), 1, rtol=1e-15)
    columns = softmax([[0.0, np.nan, np.inf, -np.inf], [1.0, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(np.isnan(columns), [[0, 1, 1, 0], [0, 1, 1, 0]])
    np.testing.assert_array_equal(columns[:, 3], [0, 1])


@pytest.mark.parametrize("function", [sigmoid, softmax])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(1,), (4,), (3, 5), (2, 3, 4), (0,), (3, 0), (0, 3), (2, 0, 3), (1, 1, 1, 2)]
)
def test_activations_take_any_shape(
    function: Any, dtype: str, shape: tuple[int, ...]
) -> None:
    z = draw(*shape, dtype=dtype)
    before = z.copy()
    got = function(z)
    assert (got.shape, got.dtype) == (shape, np.dtype(dtype))
    assert not np.shares_memory(got, z)
    np.testing.assert_array_equal(z, before)
    wide = z.astype("float64")
    if function is sigmoid:
        wanted = 1 / (1 + np.exp(-wide))
    else:
        wanted = np.exp(wide) / np.exp(wide).sum(axis=0)
    np.testing.assert_allclose(got, wanted, rtol=1e-6 if dtype == "float32" else 1e-14)
    for name, layout in LAYOUTS.items():
        # An empty list has lost the other axes.
        if z.size or name != "lists":
            np.testing.assert_allclose(function(layout(z)), wanted, rtol=1e-6)


def test_scalars() -> None:
    assert sigmoid(0) == 0.5
    assert isinstance(sigmoid(0.0), np.float64)
    assert isinstance(sigmoid(np.float32(0)), np.float32)
    with pytest.raises(
        ValueError, match=r"^z should have at least one axis, got shape \(\)"
    ):
        softmax(1.0)


def test_lstm_cell_state_is_returned_in_its_place() -> None:
    parameters, x, a0 = draw_parameters(LSTM), draw(3, 4, 6), draw(5, 4)
    a, y, c, _ = LSTM.function("forward")(x, a0, parameters)
    assert (a.shape, y.shape, c.shape) == ((5, 4, 6), (2, 4, 6), (5, 4, 6))
    assert np.abs(a).max() < 1
    np.testing.assert_allclose(y.sum(axis=0), 1)


def test_an_array_is_no_list_of_caches(backend: str) -> None:
    with pytest.raises(ValueError, match=r"caches\[0\] should be a list .* got ndarray"):
        lstm_backward(np.ones((2, 3, 4)), (np.array([1, 2]), np.ones((2, 3, 4))))
