"""Every gradient of every function against central differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.notebook_cases import (
    CELLS,
    Array,
    Notebook,
    draw,
    draw_parameters,
    run_cell,
    run_sequence,
)

pytestmark = [
    pytest.mark.usefixtures("backend"),
    pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name),
]


def differences(loss: Callable[[], float], array: Array) -> Array:
    """The gradient of `loss` with respect to `array`, by moving each of its elements."""
    gradient, step = np.empty_like(array), 1e-5
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = loss()
        array[index] = value - step
        below = loss()
        array[index] = value
        gradient[index] = (above - below) / (2 * step)
    return gradient


def assert_close(got: Array, wanted: Array, tolerance: float = 1e-8) -> None:
    assert got.shape == wanted.shape
    scale = max(1.0, float(np.abs(wanted).max(initial=0)))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(("n_x", "n_a", "m"), [(3, 5, 4), (1, 1, 1), (2, 9, 2)])
def test_cell(cell: Notebook, n_x: int, n_a: int, m: int) -> None:
    parameters, xt = draw_parameters(cell, n_x, n_a), draw(n_x, m)
    before = [draw(n_a, m, seed=k) for k, _ in enumerate(cell.states)]
    das = [draw(n_a, m, seed=10 + k) for k, _ in enumerate(cell.states)]

    def loss() -> float:
        run = run_cell(cell, xt, tuple(before), parameters)
        after = [run[f"{state}_next"] for state in cell.states]
        return float(sum((da * a).sum() for da, a in zip(das, after, strict=True)))

    cache = run_cell(cell, xt, tuple(before), parameters)["cache"]
    gradients = cell.function("cell_backward")(*das, cache)
    inputs = {"xt": xt, **parameters}
    inputs |= {f"{state}_prev": a for state, a in zip(cell.states, before, strict=True)}
    for name, gradient in gradients.items():
        assert_close(gradient, differences(loss, inputs[name[1:]]))


@pytest.mark.parametrize(
    ("n_x", "n_a", "m", "time"), [(3, 5, 4, 6), (1, 1, 1, 1), (2, 9, 2, 3), (0, 4, 3, 3)]
)
def test_sequence(cell: Notebook, n_x: int, n_a: int, m: int, time: int) -> None:
    parameters, x, a0 = draw_parameters(cell, n_x, n_a), draw(n_x, m, time), draw(n_a, m)
    da = draw(n_a, m, time, seed=7)

    def loss() -> float:
        return float((da * run_sequence(cell, x, a0, parameters)["a"]).sum())

    caches = run_sequence(cell, x, a0, parameters)["caches"]
    gradients = cell.function("backward")(da, caches)
    inputs = {"x": x, "a0": a0, **parameters}
    for name, gradient in gradients.items():
        assert_close(gradient, differences(loss, inputs[name[1:]]))


def test_gradients_reach_the_first_step_from_the_last(cell: Notebook) -> None:
    parameters, x, a0 = draw_parameters(cell), draw(3, 4, 5), draw(5, 4)
    da = np.zeros((5, 4, 5))
    da[:, :, -1] = draw(5, 4, seed=3)
    caches = run_sequence(cell, x, a0, parameters)["caches"]
    gradients = cell.function("backward")(da, caches)
    assert np.abs(gradients["dx"][:, :, 0]).min() > 0
    assert np.abs(gradients["da0"]).min() > 0


def chained(cell: Notebook, da: Array, steps: Any, order: type) -> dict[str, Array]:
    """The sequence's gradients out of its cells', one step after the other."""
    dstate = [np.zeros(da.shape[:2]) for _ in cell.states]
    total: dict[str, Array] = {}
    dx = []
    for t in range(len(steps) - 1, -1, -1):
        dstate[0] = dstate[0] + da[:, :, t]
        step = cell.function("cell_backward")(*dstate, order(steps[t]))
        dx.append(step.pop("dxt"))
        dstate = [step.pop(f"d{state}_prev") for state in cell.states]
        total = {name: total.get(name, 0) + gradient for name, gradient in step.items()}
    return {"dx": np.stack(dx[::-1], axis=2), "da0": dstate[0], **total}


@pytest.mark.parametrize("order", [tuple, list])
def test_sequence_is_its_cells_in_turn(cell: Notebook, order: type) -> None:
    parameters, x, a0, da = draw_parameters(cell), draw(3, 4, 6), draw(5, 4), draw(5, 4, 6)
    caches = run_sequence(cell, x, a0, parameters)["caches"]
    gradients = cell.function("backward")(da, caches)
    for name, wanted in chained(cell, da, caches[0], order).items():
        assert_close(gradients[name], wanted, 1e-13)


@pytest.mark.parametrize("outer", [tuple, list])
@pytest.mark.parametrize("inner", [tuple, list])
def test_caches_made_by_hand(cell: Notebook, outer: type, inner: type) -> None:
    parameters, x, a0, da = draw_parameters(cell), draw(3, 4, 6), draw(5, 4), draw(5, 4, 6)
    state = (a0, np.zeros_like(a0))[: len(cell.states)]
    steps = []
    for t in range(6):
        run = run_cell(cell, x[:, :, t], state, parameters)
        state = tuple(run[f"{name}_next"] for name in cell.states)
        steps.append(inner(run["cache"]))
    caches = run_sequence(cell, x, a0, parameters)["caches"]
    wanted = cell.function("backward")(da, caches)
    got = cell.function("backward")(da, outer([outer(steps), x]))
    assert list(got) == list(wanted)
    for name, gradient in got.items():
        assert_close(gradient, wanted[name], 1e-13)


def test_a_slice_of_the_steps_is_a_shorter_sequence(cell: Notebook) -> None:
    parameters, x, a0, da = draw_parameters(cell), draw(3, 4, 6), draw(5, 4), draw(5, 4, 2)
    steps, _ = run_sequence(cell, x, a0, parameters)["caches"]
    gradients = cell.function("backward")(da, (steps[2:4], x))
    for name, wanted in chained(cell, da, steps[2:4], tuple).items():
        assert_close(gradients[name], wanted, 1e-13)


def test_gradients_are_of_the_run_as_it_was(cell: Notebook) -> None:
    parameters, x, a0, da = draw_parameters(cell), draw(3, 4, 6), draw(5, 4), draw(5, 4, 6)
    wanted = cell.function("backward")(da, run_sequence(cell, x, a0, parameters)["caches"])
    run = run_sequence(cell, x, a0, parameters)
    for array in (x, a0, run["a"], run["y"], run.get("c"), *parameters.values()):
        if array is not None:
            array[...] = 100
    got = cell.function("backward")(da, run["caches"])
    for name, gradient in got.items():
        np.testing.assert_array_equal(gradient, wanted[name])


def test_backward_twice_gives_the_same(cell: Notebook) -> None:
    parameters, x, a0, da = draw_parameters(cell), draw(3, 4, 6), draw(5, 4), draw(5, 4, 6)
    caches = run_sequence(cell, x, a0, parameters)["caches"]
    first, second = (cell.function("backward")(da, caches) for _ in range(2))
    for name, gradient in first.items():
        np.testing.assert_array_equal(gradient, second[name])


def test_backward_needs_no_head(cell: Notebook) -> None:
    parameters, x, a0, da = draw_parameters(cell), draw(3, 4, 6), draw(5, 4), draw(5, 4, 6)
    caches = run_sequence(cell, x, a0, parameters)["caches"]
    wanted = cell.function("backward")(da, caches)
    bare = {k: v for k, v in parameters.items() if k not in ("Wy", "Wya", "by")}
    steps = [(*cache[:-1], bare) for cache in caches[0]]
    for name, gradient in cell.function("backward")(da, (steps, x)).items():
        assert_close(gradient, wanted[name], 1e-13)


@pytest.mark.parametrize("arrange", ["fortran", "strided", "reversed", "broadcast"])
def test_any_layout_of_da(cell: Notebook, arrange: str) -> None:
    parameters, x, a0 = draw_parameters(cell), draw(3, 4, 6), draw(5, 4)
    da = {
        "fortran": np.asfortranarray(draw(5, 4, 6)),
        "strided": draw(10, 8, 12)[::2, 1::2, ::2],
        "reversed": draw(5, 4, 6)[::-1, ::-1, ::-1],
        "broadcast": np.broadcast_to(draw(5, 1, 1), (5, 4, 6)),
    }[arrange]
    caches = run_sequence(cell, x, a0, parameters)["caches"]
    wanted = cell.function("backward")(da.copy(order="C"), caches)
    for name, gradient in cell.function("backward")(da, caches).items():
        np.testing.assert_array_equal(gradient, wanted[name])
    das = [da[:, :, 1] for _ in cell.states]
    wanted = cell.function("cell_backward")(*(d.copy(order="C") for d in das), caches[0][1])
    for name, gradient in cell.function("cell_backward")(*das, caches[0][1]).items():
        np.testing.assert_array_equal(gradient, wanted[name])


def test_float32_gradients(cell: Notebook) -> None:
    parameters, x, a0, da = draw_parameters(cell), draw(3, 4, 6), draw(5, 4), draw(5, 4, 6)
    single = [array.astype("float32") for array in (x, a0, da)]
    single_parameters = {
        name: array.astype("float32") for name, array in parameters.items()
    }
    wanted = cell.function("backward")(da, run_sequence(cell, x, a0, parameters)["caches"])
    caches = run_sequence(cell, single[0], single[1], single_parameters)["caches"]
    narrow = cell.function("backward")(single[2], caches)
    wide = cell.function("backward")(da, caches)
    for name in wanted:
        assert narrow[name].dtype == np.float32
        assert wide[name].dtype == np.float64
        assert_close(narrow[name], wanted[name], 1e-5)
        assert_close(wide[name], wanted[name], 1e-5)
