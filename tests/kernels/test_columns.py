"""The kernels on the notebook's own arrays, both backends' compared.

These kernels look at what they are given, since nothing does before them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from gatewise.kernels import chooser
from gatewise.kernels.numpy import columns
from gatewise.notebook import gru, lstm, rnn

Array = np.ndarray[Any, Any]
CELLS = {"rnn": rnn.CELL, "lstm": lstm.CELL, "gru": gru.CELL}
TOLERANCE = {"float32": 3e-6, "float64": 1e-14}

LAYOUTS = {
    "forward": lambda spec: spec.step_layout,
    "backward": lambda spec: spec.step_back_layout,
}

every_cell = pytest.mark.parametrize("cell", CELLS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def draw(layout: str, dtype: str, *numbers: int) -> tuple[Array, ...]:
    """Arrays of a layout with n_x, n_a, n_y, m and T_x as given; the weights are small."""
    random = np.random.default_rng(numbers)
    sizes = dict(zip("xaymt", numbers, strict=False))
    sizes |= {"j": sizes["a"] + sizes["x"], "1": 1}
    arrays = []
    for names in layout.split():
        scale = 1.0 if "m" in names else sizes["j"] ** -0.5
        values = random.uniform(-scale, scale, [sizes[name] for name in names])
        arrays.append(values.astype(dtype))
    return tuple(arrays)


def assert_alike(got: list[Array], wanted: list[Array], dtype: str) -> None:
    assert len(got) == len(wanted)
    for array, other in zip(got, wanted, strict=True):
        assert (array.shape, array.dtype) == (other.shape, np.dtype(dtype))
        scale = max(1.0, float(np.abs(other).max(initial=0)))
        np.testing.assert_allclose(array, other, rtol=0, atol=TOLERANCE[dtype] * scale)


def compare(
    native: Any,
    cell: str,
    dtype: str,
    sizes: tuple[int, int, int, int],
    change: Callable[[Array], Array] = lambda array: array,
) -> None:
    """Run both kernels of both backends; the native ones on arrays after `change`."""
    spec = CELLS[cell]
    plain = draw(spec.step_layout, dtype, *sizes)
    values, prediction = columns.cell_forward(spec.kernel, spec.step_layout, plain)
    changed = tuple(change(array) for array in plain)
    outcome = native.cell_forward(spec.kernel, spec.step_layout, changed)
    assert_alike([*outcome[0], outcome[1]], [*values, prediction], dtype)
    plain = draw(spec.step_back_layout, dtype, *sizes)
    gradients = columns.cell_backward(spec.kernel, spec.step_back_layout, plain)
    changed = tuple(change(array) for array in plain)
    got = native.cell_backward(spec.kernel, spec.step_back_layout, changed)
    assert_alike(got, gradients, dtype)


@every_cell
@every_dtype
@pytest.mark.parametrize("n_a", [1, 3, 5, 8, 12, 17, 33])
def test_sizes(native: Any, cell: str, dtype: str, n_a: int) -> None:
    for n_x, n_y, m in product((0, 1, 9), (0, 1, 2, 20), (0, 1, 2, 7, 16, 33)):
        compare(native, cell, dtype, (n_x, n_a, n_y, m))


@every_cell
@every_dtype
@pytest.mark.parametrize("m", [1, 4, 40])
def test_larger_sizes(native: Any, cell: str, dtype: str, m: int) -> None:
    compare(native, cell, dtype, (60, 130, 30, m))
    compare(native, cell, dtype, (3, 600, 2, m))


@every_cell
@pytest.mark.parametrize(
    "layout", ["fortran", "gaps", "reversed", "read-only", "broadcast"]
)
def test_strides(native: Any, cell: str, layout: str) -> None:
    def change(array: Array) -> Array:
        match layout:
            case "fortran":
                return np.asfortranarray(array)
            case "gaps":
                return np.repeat(np.repeat(array, 2, axis=1), 3, axis=0)[::3, ::2]
            case "reversed":
                return array[::-1, ::-1].copy()[::-1, ::-1]
            case "broadcast" if array.shape[1] == 1:
                return np.broadcast_to(array[:, 0], (1, len(array))).T
            case _:
                array = array.copy()
                array.flags.writeable = False
                return array

    compare(native, cell, "float64", (3, 5, 2, 10), change)


@every_cell
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite(native: Any, cell: str, value: float) -> None:
    spec = CELLS[cell]
    given = draw(spec.step_layout, "float64", 3, 5, 2, 10)
    given[0][1, 4] = value
    outcomes = [
        kernels.cell_forward(spec.kernel, spec.step_layout, given)
        for kernels in (native, columns)
    ]
    got, wanted = ([*values, prediction] for values, prediction in outcomes)
    assert_alike(got, wanted, "float64")
    others = [k for k in range(10) if k != 4]
    assert all(np.isfinite(array[:, others]).all() for array in got)


@every_cell
@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_what_a_step_does_not_take(cell: str, kind: str, backend: str) -> None:
    spec = CELLS[cell]
    layout = LAYOUTS[kind](spec)
    kernel = getattr(chooser.kernels, f"cell_{kind}")
    arrays = draw(layout, "float64", 3, 5, 2, 10)
    assert kernel(spec.kernel, layout, arrays) is not None
    assert kernel(spec.kernel, layout, arrays[:-1]) is None
    assert kernel(spec.kernel, layout, (*arrays, arrays[0])) is None
    assert kernel(spec.kernel, layout, ()) is None
    for place, array in enumerate(arrays):
        others = [
            array.tolist(),
            None,
            array.astype("float32"),
            array.astype("int64"),
            array.astype(array.dtype.newbyteorder("S")),
            array.astype(object),
            array[:, 0],
            array[:, :, None],
            np.vstack([array, array]),
            np.hstack([array, array]),
        ]
        for other in others:
            changed = (*arrays[:place], other, *arrays[place + 1 :])
            outcome = kernel(spec.kernel, layout, changed)
            assert outcome is None, (place, other)
    for dtype in ("float16", "int64", "complex128", "longdouble", "M8[s]"):
        assert kernel(spec.kernel, layout, tuple(a.astype(dtype) for a in arrays)) is None
    empty = draw(layout, "float64", 3, 0, 2, 10)
    assert kernel(spec.kernel, layout, empty) is None


@every_cell
@every_dtype
def test_arrays_are_not_written_to(cell: str, dtype: str, backend: str) -> None:
    spec = CELLS[cell]
    for kind in ("forward", "backward"):
        layout = LAYOUTS[kind](spec)
        arrays = draw(layout, dtype, 3, 5, 2, 10)
        before = [array.copy() for array in arrays]
        kernel = getattr(chooser.kernels, f"cell_{kind}")
        returned = kernel(spec.kernel, layout, arrays)
        for array, other in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, other)
        flat = [*returned[0], returned[1]] if kind == "forward" else returned
        for array in flat:
            assert array.flags.writeable
            assert not any(np.shares_memory(array, other) for other in arrays)


@every_cell
@every_dtype
def test_sequences(native: Any, cell: str, dtype: str) -> None:
    spec = CELLS[cell]
    for sizes in product((0, 3), (1, 5, 9), (0, 1, 2), (0, 1, 10), (0, 1, 2, 7)):
        arrays = draw(spec.run_layout, dtype, *sizes)
        run, wanted = (
            kernels.run_forward(spec.kernel, spec.run_layout, arrays)
            for kernels in (native, columns)
        )
        assert_alike(run.states, wanted.states, dtype)
        assert_alike([run.predictions], [wanted.predictions], dtype)
        assert_alike(run.kept, wanted.kept, dtype)
        assert len(run.values) == len(wanted.values) == sizes[4]
        for step, other in zip(run.values, wanted.values, strict=True):
            assert_alike(list(step), list(other), dtype)
        da = draw("am", dtype, *sizes[:4])[0][:, :, None] * np.ones(sizes[4], dtype)
        gradients = [
            kernels.run_backward(spec.kernel, record.values, record.kept, da)
            for kernels in (native, columns)
            for record in (run, wanted)
        ]
        for other in gradients[:-1]:
            assert_alike(other, gradients[-1], dtype)


@every_cell
def test_larger_sequences(native: Any, cell: str) -> None:
    spec = CELLS[cell]
    arrays = draw(spec.run_layout, "float64", 40, 130, 3, 2, 5)
    preference = native.run_forward(spec.kernel, spec.run_layout, arrays)
    assert preference is columns.Preference.OTHER_KERNELS
    run = columns.run_forward(spec.kernel, spec.run_layout, arrays)
    da = draw("am", "float64", 40, 130, 3, 2)[0][:, :, None] * np.ones(5)
    got, wanted = (
        kernels.run_backward(spec.kernel, run.values, run.kept, da)
        for kernels in (native, columns)
    )
    assert_alike(got, wanted, "float64")


@every_cell
def test_what_a_sequence_does_not_take(cell: str, backend: str) -> None:
    spec, kernel = CELLS[cell], chooser.kernels.run_forward
    arrays = draw(spec.run_layout, "float64", 3, 5, 2, 10, 4)
    assert kernel(spec.kernel, spec.run_layout, arrays) is not None
    assert kernel(spec.kernel, spec.run_layout, arrays[:-1]) is None
    for place, array in enumerate(arrays):
        for other in (array.tolist(), array.astype("float32"), array[:0], array[..., 0]):
            changed = (*arrays[:place], other, *arrays[place + 1 :])
            assert kernel(spec.kernel, spec.run_layout, changed) is None, place
