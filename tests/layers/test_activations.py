"""ReLU, Tanh, Sigmoid and Softmax as layers, and Linear on arrays of all kinds."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import gatewise

Array = np.ndarray[Any, Any]


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = powers / powers.sum(axis=-1, keepdims=True)
    return result


FORMULAS = {
    "ReLU": lambda x: np.maximum(x, 0),
    "Tanh": np.tanh,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Softmax": softmax,
}
every_kind = pytest.mark.parametrize("kind", FORMULAS)


def make(kind: str) -> Any:
    return getattr(gatewise, kind)()


@every_kind
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(kind: str, dtype: str, backend: str) -> None:
    random = np.random.default_rng(0)
    tolerance = 3e-6 if dtype == "float32" else 1e-13
    for shape in [(1,), (7,), (3, 17), (2, 4, 9), (0, 3), (2, 0), (3, 0, 2)]:
        x = (2 * random.standard_normal(shape)).astype(dtype)
        given = x.copy()
        y = make(kind)(x)
        assert (y.dtype, y.shape) == (dtype, shape)
        np.testing.assert_array_equal(x, given)
        if x.size:
            np.testing.assert_allclose(y, FORMULAS[kind](x.astype("f8")), rtol=tolerance)


@every_kind
def test_any_numbers_in_any_order_of_memory(kind: str, backend: str) -> None:
    x = np.random.default_rng(0).standard_normal((4, 6))
    layer = make(kind)
    expected = layer(x)
    for form in (
        x.T.copy().T,
        np.repeat(x, 2, axis=1)[:, ::2],
        x.astype(">f8"),
        x.tolist(),
    ):
        np.testing.assert_array_equal(layer(form), expected)
    assert layer(x.astype("float16")).dtype == np.float32
    assert layer(np.arange(6).reshape(2, 3)).dtype == np.float64
    assert layer([True, False]).dtype == np.float64


@every_kind
def test_what_is_not_finite(kind: str, backend: str) -> None:
    layer = make(kind)
    for dtype in ("float32", "float64"):
        x = np.array([[np.nan, 1, -2, 0, 3], [np.inf, -np.inf, 1e30, -1e30, 0]], dtype)
        y = layer(x)
        assert np.isnan(y[0]).any()
        if kind == "Softmax":
            assert np.isnan(y[0]).all()
            assert np.isnan(y[1]).any()
            continue
        assert np.isnan(y[0, 0])
        assert np.isfinite(y[0, 1:]).all()
        ends = {"ReLU": (np.inf, 0), "Tanh": (1, -1), "Sigmoid": (1, 0)}[kind]
        np.testing.assert_array_equal(y[1, :2], np.array(ends, dtype))


@every_kind
def test_gradients(kind: str, backend: str) -> None:
    random = np.random.default_rng(0)
    x, dy = random.standard_normal((2, 3, 5, 4))
    layer = make(kind)
    y, tape = layer.forward(x)
    np.testing.assert_array_equal(y, layer(x))
    dx, gradients = layer.backward(tape, dy)
    assert gradients == {}
    numeric = np.empty_like(x)
    for index in np.ndindex(x.shape):
        moved = np.stack([x, x])
        moved[0][index] += 1e-6
        moved[1][index] -= 1e-6
        losses = [(layer(values) * dy).sum() for values in moved]
        numeric[index] = (losses[0] - losses[1]) / 2e-6
    np.testing.assert_allclose(dx, numeric, atol=1e-8)
    again, _ = layer.backward(tape, dy)
    np.testing.assert_array_equal(again, dx)
    single = layer.forward(x.astype("float32"))[1]
    assert layer.backward(single, dy)[0].dtype == np.float32


def test_the_slope_at_the_kink_is_zero_and_nan_stays_to_be_seen(backend: str) -> None:
    layer = gatewise.ReLU()
    _, tape = layer.forward([0.0, -1.0, 2.0, np.nan])
    dx, _ = layer.backward(tape, [5.0, np.inf, 7.0, 3.0])
    np.testing.assert_array_equal(dx, [0, 0, 7, 3])


@every_kind
def test_a_tape_is_its_layers_and_its_output_is_kept(kind: str, backend: str) -> None:
    layer = make(kind)
    y, tape = layer.forward(np.ones((2, 3)))
    with pytest.raises(ValueError, match="read-only"):
        y[...] = 5
    with pytest.raises(ValueError, match=r"^dy should have shape \(2, 3\), got \(3, 2\)$"):
        layer.backward(tape, np.ones((3, 2)))
    with pytest.raises(ValueError, match=f"got one from another {kind}"):
        make(kind).backward(tape, y)
    for twin in (copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(twin(np.ones((2, 3))), y)
    assert repr(layer) == f"{kind}() with 0 parameters"


def test_what_softmax_and_others_refuse(backend: str) -> None:
    with pytest.raises(
        ValueError, match=r"^x should have shape \(..., classes\), got \(\)$"
    ):
        gatewise.Softmax()(1.0)
    assert gatewise.Tanh()(0.0).shape == ()
    with pytest.raises(TypeError, match="x should hold real numbers"):
        gatewise.ReLU()(["a"])


def test_a_classifier_with_a_hidden_layer_learns(backend: str) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((64, 1, 2)).astype("float32")
    targets = (x[..., 0] * x[..., 1] > 0).astype(int)
    model = gatewise.Sequential(
        gatewise.Linear(2, 16, seed=0), gatewise.ReLU(), gatewise.Linear(16, 2, seed=1)
    )
    adam = gatewise.Adam(1e-2)
    parameters, losses = model.state_dict(), []
    for _ in range(150):
        y, _, tape = model.forward(x)
        loss, dy = gatewise.softmax_cross_entropy(y, targets)
        adam.step(parameters, model.backward(tape, dy)[2])
        model.set_parameters(parameters)
        losses.append(loss)
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_linear_takes_arrays_of_all_kinds(dtype: str, backend: str) -> None:
    layer = gatewise.Linear(5, 3, dtype=dtype, seed=0)
    random = np.random.default_rng(0)
    x = random.integers(-9, 9, (4, 6, 5)).astype(dtype)
    w, b = layer.parameters().values()
    expected = x.astype("f8") @ w.T.astype("f8") + b
    packed = np.zeros(x.shape[:2], [("byte", "i1"), ("row", dtype, 5)])
    packed["row"] = x
    forms: list[Any] = [
        x,
        x.tolist(),
        x.astype(int),
        x.astype("float16"),
        x.astype("float64" if dtype == "float32" else "float32"),
        x.astype(x.dtype.newbyteorder()),
        packed["row"],
        np.asfortranarray(x),
        x.swapaxes(0, 1).copy().swapaxes(0, 1),
        np.repeat(x, 2, axis=2)[..., ::2],
        x[::-1, ::-1][::-1, ::-1],
        x.view(type("Subclass", (np.ndarray,), {})),
    ]
    for form in forms:
        y = layer(form)
        assert type(y) is np.ndarray
        assert (y.dtype, y.shape) == (dtype, (4, 6, 3))
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(layer.forward(form)[0], y)
    np.testing.assert_allclose(layer(x[0, 0]), expected[0, 0], rtol=0, atol=1e-5)
    assert layer(x[:0]).shape == (0, 6, 3)


def test_linear_follows_its_parameters(backend: str) -> None:
    layer = gatewise.Linear(2, 1, seed=0)
    x = np.ones((3, 2), np.float32)
    layer(x)
    layer.set_parameters({"weight": [[1, 2]], "bias": [3]})
    np.testing.assert_array_equal(layer(x), np.full((3, 1), 6))
    layer.set_parameters({"bias": [-3]})
    y, tape = layer.forward(x)
    np.testing.assert_array_equal(y, np.zeros((3, 1)))
    np.testing.assert_array_equal(layer.backward(tape, y + 1)[0], [[1, 2]] * 3)
