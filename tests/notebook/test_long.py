"""Sequences too long for the kernels that the notebook's small ones run on.

The compiled backend runs them on the layers' kernels, over rows; NumPy as all others.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from gatewise.kernels import chooser
from gatewise.notebook._records import Columns, Rows
from tests.notebook_cases import CELLS, Array, Notebook, draw, draw_parameters, run_sequence

every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)

N_X, N_A, M, TIME = 20, 33, 9, 60


def arguments(cell: Notebook, dtype: str = "float64") -> tuple[Array, Array, Any]:
    parameters = draw_parameters(cell, N_X, N_A, dtype=dtype)
    scaled = {name: (0.3 * array).astype(dtype) for name, array in parameters.items()}
    return draw(N_X, M, TIME, dtype=dtype), draw(N_A, M, dtype=dtype), scaled


def flat(run: dict[str, Any]) -> dict[str, Array]:
    """The arrays of a run, those of its step caches among them."""
    steps, _ = run["caches"]
    arrays = {name: array for name, array in run.items() if name != "caches"}
    for t in (0, 1, TIME - 1):
        arrays |= {f"cache {t} {k}": array for k, array in enumerate(steps[t][:-1])}
    return arrays


def assert_close(got: dict[str, Array], wanted: dict[str, Array], tolerance: float) -> None:
    assert list(got) == list(wanted)
    for name, array in got.items():
        assert (array.shape, array.dtype) == (wanted[name].shape, wanted[name].dtype), name
        scale = max(1.0, float(np.abs(wanted[name]).max()))
        np.testing.assert_allclose(
            array, wanted[name], rtol=0, atol=tolerance * scale, err_msg=name
        )


@every_cell
def test_which_kernels_run(cell: Notebook, backend: str) -> None:
    steps, _ = run_sequence(cell, *arguments(cell))["caches"]
    assert type(steps.record) is (Rows if backend == "native" else Columns)
    x, a0, parameters = arguments(cell)
    steps, _ = run_sequence(cell, x[:, :, :2], a0, parameters)["caches"]
    assert type(steps.record) is Columns


@every_cell
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
def test_values_are_those_of_numpy(
    cell: Notebook, dtype: str, tolerance: float, backend: str
) -> None:
    x, a0, parameters = arguments(cell, dtype)
    whole = flat(run_sequence(cell, x, a0, parameters))
    with chooser.use("numpy"):
        assert_close(whole, flat(run_sequence(cell, x, a0, parameters)), tolerance)


@every_cell
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-11)])
@pytest.mark.parametrize("there", ["numpy", "native"])
def test_gradients_on_either_backend(
    cell: Notebook,
    dtype: str,
    tolerance: float,
    there: str,
    backend: str,
    request: pytest.FixtureRequest,
) -> None:
    if there == "native":
        request.getfixturevalue("both_backends")
    x, a0, parameters = arguments(cell, dtype)
    da, backward = draw(N_A, M, TIME, dtype=dtype), cell.function("backward")
    caches = run_sequence(cell, x, a0, parameters)["caches"]
    steps = (list(caches[0]), x)
    wanted = backward(da, steps)
    wide = backward(da.astype("float64"), caches)
    assert {array.dtype for array in wide.values()} == {np.dtype("float64")}
    assert_close({k: v.astype(dtype) for k, v in wide.items()}, wanted, tolerance)
    copied = pickle.loads(pickle.dumps(caches))
    with chooser.use(there):
        assert_close(backward(da, caches), wanted, tolerance)
        assert_close(backward(da, copied), wanted, tolerance)
        assert_close(backward(np.asfortranarray(da), steps), wanted, tolerance)


@every_cell
def test_the_record_is_nobody_elses(cell: Notebook, backend: str) -> None:
    x, a0, parameters = arguments(cell)
    da, backward = draw(N_A, M, TIME), cell.function("backward")
    wanted = backward(da, run_sequence(cell, x, a0, parameters)["caches"])
    run = run_sequence(cell, x, a0, parameters)
    given = [x, a0, *parameters.values()]
    returned = [run[name] for name in run if name != "caches"]
    for array in returned:
        assert not any(np.shares_memory(array, other) for other in given)
    for array in (*given, *returned):
        array[...] = 100
    for name, gradient in backward(da, run["caches"]).items():
        np.testing.assert_array_equal(gradient, wanted[name], err_msg=name)
