"""The way back through the prediction, against differences and through a whole network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gatewise
from tests.notebook.test_gradients import assert_close, differences
from tests.notebook_cases import CELLS, RNN, Array, Notebook, draw, draw_parameters

pytestmark = pytest.mark.usefixtures("backend")


def run(
    cell: Notebook, x: Array, parameters: dict[str, Array]
) -> tuple[Array, Array, tuple[Any, Any]]:
    a0 = draw(5, x.shape[1], seed=3)
    a, y_pred, *_, caches = cell.function("forward")(x, a0, parameters)
    return a, y_pred, caches


def one_hot(classes: Array, n_y: int) -> Array:
    return np.moveaxis(np.eye(n_y)[np.maximum(classes, 0)], -1, 0)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("as_list", [False, True], ids=["run", "list"])
def test_gradients_of_all_parameters(cell: Notebook, as_list: bool) -> None:
    parameters, x = draw_parameters(cell, n_y=4), draw(3, 2, 3)
    classes = np.array([[0, 1, 3], [2, 2, 1]])

    def loss() -> float:
        _, y_pred, _ = run(cell, x, parameters)
        return -float((one_hot(classes, 4) * np.log(y_pred)).sum())

    _, y_pred, caches = run(cell, x, parameters)
    if as_list:
        caches = (list(caches[0]), x)
    gradients = gatewise.prediction_backward(y_pred, classes, caches)
    head = ["dWya", "dby"] if cell is RNN else ["dWy", "dby"]
    assert list(gradients) == ["da", *head]
    gradients |= cell.function("backward")(gradients["da"], caches)
    for name, array in {"x": x, **parameters}.items():
        assert_close(gradients[f"d{name}"], differences(loss, array), 1e-7)


def test_targets_as_classes_and_as_probabilities_are_the_same() -> None:
    parameters, x = draw_parameters(RNN, n_y=4), draw(3, 2, 5)
    _, y_pred, caches = run(RNN, x, parameters)
    classes = np.array([[0, 1, 3, -100, 2], [2, -100, 1, 1, 0]])
    known = np.where(classes == -100, 0.0, one_hot(classes, 4))
    found = gatewise.prediction_backward(y_pred, classes, caches)
    same = gatewise.prediction_backward(y_pred, known, caches)
    for name in found:
        np.testing.assert_allclose(found[name], same[name], rtol=1e-12, atol=1e-14)
    # What is left out has no gradient.
    assert not found["da"][:, 0, 3].any()
    assert found["da"][:, 0, 2].all()


def test_soft_targets_that_do_not_sum_to_one() -> None:
    parameters, x = draw_parameters(RNN, n_y=4), draw(3, 2, 3)
    targets = np.abs(draw(4, 2, 3, seed=8))

    def loss() -> float:
        return -float((targets * np.log(run(RNN, x, parameters)[1])).sum())

    _, y_pred, caches = run(RNN, x, parameters)
    gradients = gatewise.prediction_backward(y_pred, targets, caches)
    assert_close(gradients["dWya"], differences(loss, parameters["Wya"]), 1e-7)
    assert_close(gradients["dby"], differences(loss, parameters["by"]), 1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_and_no_steps(dtype: str) -> None:
    parameters = draw_parameters(RNN, n_y=4, dtype=dtype)
    for steps in (0, 1, 3):
        x, a0 = np.ones((3, 2, steps), dtype), np.zeros((5, 2), dtype)
        _, y_pred, caches = gatewise.rnn_forward(x, a0, parameters)
        targets = np.zeros((2, steps), int)
        gradients = gatewise.prediction_backward(y_pred, targets, caches)
        assert {array.dtype.name for array in gradients.values()} == {dtype}
        assert gradients["da"].shape == (5, 2, steps)
        assert gradients["dWya"].shape == (4, 5)


def test_refusals() -> None:
    parameters, x = draw_parameters(RNN, n_y=4), draw(3, 2, 3)
    _, y_pred, caches = run(RNN, x, parameters)
    right = np.zeros((2, 3), int)
    for given, wanted in [
        ((y_pred[:, :1], right, caches), r"y_pred should have shape \(4, 2, 3\), got"),
        ((y_pred, right[:1], caches), r"targets should have shape \(2, 3\), got \(1, 3\)"),
        ((y_pred, y_pred[1:], caches), r"targets should have shape \(4, 2, 3\), got"),
        ((y_pred, right + 4, caches), "targets should be from 0 to 3, or -100, got 4"),
        ((y_pred, right + 0.5, caches), "targets should be integers where they are"),
        ((y_pred, right, caches[0]), r"caches should be a tuple of 2, \(steps, x\), got"),
        ((y_pred, right, ([(1, 2)], x)), r"caches\[0\]\[0\] should be a tuple of 4"),
    ]:
        with pytest.raises(ValueError, match=wanted):
            gatewise.prediction_backward(*given)
    with pytest.raises(TypeError, match="targets should hold real numbers"):
        gatewise.prediction_backward(y_pred, right.astype(complex), caches)
    lacking = {name: array for name, array in parameters.items() if name != "Wya"}
    steps = [(*step[:-1], lacking) for step in caches[0]]
    with pytest.raises(KeyError, match="parameters should have an array 'Wya'"):
        gatewise.prediction_backward(y_pred, right, (steps, x))
