"""Layers out of Keras's arrays, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.kernels.activations import Spelling

KINDS: list[tuple[Any, int]] = [(gatewise.RNN, 1), (gatewise.LSTM, 4), (gatewise.GRU, 3)]
X = np.random.default_rng(1).normal(size=(2, 6, 3))


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def hard(z: np.ndarray) -> np.ndarray:
    return np.clip(0.2 * z + 0.5, 0, 1)


def keras(kind: str, arrays: list[np.ndarray], gate: Any, reset_after: bool) -> np.ndarray:
    """What Keras computes, written by its gates' order alone."""
    kernel, recurrent, *rest = arrays
    units = len(recurrent)
    bias = rest[0] if rest else np.zeros(kernel.shape[1])
    h = c = np.zeros((len(X), units))
    steps = []
    for x in X.transpose(1, 0, 2):
        if kind == "RNN":
            h = np.tanh(x @ kernel + h @ recurrent + bias)
        elif kind == "LSTM":
            i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
            c = gate(f) * c + gate(i) * np.tanh(g)
            h = gate(o) * np.tanh(c)
        else:
            first, second = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
            z, r, n = np.split(x @ kernel + first, 3, axis=1)
            blocks = np.split(recurrent, 3, axis=1)
            seconds = np.split(second, 3)
            z = gate(z + h @ blocks[0] + seconds[0])
            r = gate(r + h @ blocks[1] + seconds[1])
            if reset_after:
                n = np.tanh(n + r * (h @ blocks[2] + seconds[2]))
            else:
                n = np.tanh(n + (r * h) @ blocks[2])
            h = z * h + (1 - z) * n
        steps.append(h)
    return np.stack(steps, axis=1)


def arrays_of(gates: int, *, inputs: int = 3, units: int = 4, two: bool = False) -> Any:
    generator = np.random.default_rng(gates + inputs + two)
    bias = (2, gates * units) if two else (gates * units,)
    shapes = [(inputs, gates * units), (units, gates * units), bias]
    return [generator.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("gate", ["sigmoid", ("hard_sigmoid", 0.2, 0.5)])
@pytest.mark.parametrize(("kind", "gates"), KINDS)
@pytest.mark.parametrize("bias", ["one", "two", "none"])
def test_outputs_follow_keras_equations(
    kind: Any, gates: int, bias: str, gate: Spelling, backend: str
) -> None:
    if bias == "two" and kind is not gatewise.GRU:
        return
    arrays = arrays_of(gates, two=bias == "two")[: 2 if bias == "none" else 3]
    options: dict[str, Any] = {} if kind is gatewise.RNN else {"recurrent_activation": gate}
    if kind is gatewise.GRU and bias == "none":
        options["reset_after"] = True
    layer = kind.from_keras(*arrays, **options)
    assert layer.dtype == np.float64
    wanted = keras(
        kind.__name__, arrays, sigmoid if gate == "sigmoid" else hard, bias != "one"
    )
    np.testing.assert_allclose(layer(X)[0], wanted, atol=1e-12)
    again = layer.to_keras()
    assert [a.tobytes() for a in again] == [a.tobytes() for a in arrays]


@pytest.mark.parametrize(("kind", "gates"), KINDS)
def test_two_directions(kind: Any, gates: int) -> None:
    first, second = arrays_of(gates), arrays_of(gates)
    second = [array[::-1].copy() for array in second]
    layer = kind.from_keras(*first, backward=second)
    one, other = (kind.from_keras(*arrays) for arrays in (first, second))
    wanted = [one(X)[0], other(X[:, ::-1])[0][:, ::-1]]
    np.testing.assert_allclose(layer(X)[0], np.concatenate(wanted, -1), atol=1e-12)
    assert [a.tobytes() for a in layer.to_keras()] == [a.tobytes() for a in first + second]


@pytest.mark.parametrize(("kind", "gates"), KINDS[1:])
def test_arrays_of_cudnn(kind: Any, gates: int) -> None:
    arrays = arrays_of(gates, two=True)
    kernel, recurrent, bias = arrays

    def blocks(array: np.ndarray) -> list[np.ndarray]:
        return np.split(array, gates, axis=1)

    packed = [
        # As the columns of the transpose would be read, one after the other.
        np.concatenate(
            [b.reshape(-1, order="F").reshape(b.shape) for b in blocks(kernel)], 1
        ),
        np.concatenate([b.T for b in blocks(recurrent)], 1),
        bias.reshape(-1),
    ]
    given = [kernel, recurrent, bias if kind is gatewise.GRU else bias.sum(0)]
    found, wanted = kind.from_keras(*packed), kind.from_keras(*given)
    np.testing.assert_allclose(found(X)[0], wanted(X)[0], atol=1e-12)


def test_narrow_arrays_become_float32() -> None:
    arrays = [array.astype(np.float16) for array in arrays_of(4)]
    layer = gatewise.LSTM.from_keras(*arrays)
    assert layer.dtype == np.float32
    assert gatewise.LSTM.from_keras(*arrays, dtype="float64").dtype == np.float64


def test_no_memory_is_taken_for_what_does_not_fit() -> None:
    """A layer of so many units would have 40 GB."""
    tall = np.zeros((100_000, 4), np.float32)
    with pytest.raises(ValueError, match=r"should have shape \(100000, 400000\)"):
        gatewise.LSTM.from_keras(tall, tall)


def test_parameters_are_the_layers_own() -> None:
    arrays = arrays_of(1, units=3)
    layer = gatewise.RNN.from_keras(*arrays)
    before = layer(X)[0]
    for array in arrays:
        array[...] = 0
    assert (layer(X)[0] == before).all()
    assert all(array.flags.c_contiguous for array in layer.parameters().values())


def test_a_state_that_is_learnt_is_there() -> None:
    layer = gatewise.GRU.from_keras(*arrays_of(3, two=True), learn_initial_state=True)
    assert layer.initial_state.shape == (1, 4)
    y, tape = layer.forward(X)[::2]
    assert layer.backward(tape, np.ones_like(y))[2]["initial_h"].any()


def test_a_negative_zero_comes_back() -> None:
    arrays = arrays_of(4)
    arrays[2][:3] = -0.0
    assert gatewise.LSTM.from_keras(*arrays).to_keras()[2].tobytes() == arrays[2].tobytes()


def test_several_layers_one_after_the_other() -> None:
    layer = gatewise.GRU(3, 4, 2, bidirectional=True, seed=0)
    every = layer.to_keras()
    assert len(every) == 12
    own = [array for index in range(2) for array in layer.to_keras(index)]
    assert all((a == b).all() for a, b in zip(every, own, strict=True))
    with pytest.raises(ValueError, match="layer should be below num_layers 2, got 2"):
        layer.to_keras(2)
    with pytest.raises(TypeError, match="layer should be an integer"):
        layer.to_keras("0")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (gatewise.LSTM, {0: np.ones(3)}, "kernel should have shape"),
        (gatewise.LSTM, {0: np.ones((3, 15))}, r"kernel should have shape \(inputs, 16\)"),
        (gatewise.LSTM, {1: np.ones((4, 12))}, "kernel should have shape"),
        (gatewise.LSTM, {0: np.ones((3, 12)), 1: np.ones((4, 12))}, r"\(4, 16\)"),
        (gatewise.LSTM, {1: np.ones((0, 16))}, "recurrent_kernel should have shape"),
        (gatewise.LSTM, {2: np.ones(15)}, r"bias should have shape \(16,\), got \(15,\)"),
        (gatewise.LSTM, {2: np.ones((2, 16))}, r"bias should have shape \(16,\)"),
    ],
)
def test_shapes_that_do_not_fit(kind: Any, change: dict[int, Any], said: str) -> None:
    arrays = arrays_of(4)
    for index, array in change.items():
        arrays[index] = array
    with pytest.raises(ValueError, match=said):
        kind.from_keras(*arrays)


def test_what_does_not_fit() -> None:
    lstm, gru = arrays_of(4), arrays_of(3, two=True)
    with pytest.raises(ValueError, match=r"l0_reverse: kernel should have shape"):
        gatewise.LSTM.from_keras(*lstm, backward=arrays_of(4, inputs=5))
    with pytest.raises(ValueError, match="backward weights should be a kernel"):
        gatewise.LSTM.from_keras(*lstm, backward=lstm[:1])
    with pytest.raises(ValueError, match="reset_after should be given"):
        gatewise.GRU.from_keras(*gru[:2])
    with pytest.raises(ValueError, match="reset_after should be True"):
        gatewise.GRU.from_keras(*gru, reset_after=False)
    with pytest.raises(TypeError, match="options should leave out hidden_size"):
        gatewise.LSTM.from_keras(*lstm, hidden_size=4)
    with pytest.raises(TypeError, match="options should leave out forget_bias"):
        gatewise.LSTM.from_keras(*lstm, forget_bias=1.0)
    with pytest.raises(TypeError, match="kernel should hold real numbers"):
        gatewise.LSTM.from_keras(np.array(["a"]), *lstm[1:])
    with pytest.raises(ValueError, match="proj_size should be 0"):
        gatewise.LSTM(3, 4, proj_size=2).to_keras()
    with pytest.raises(ValueError, match="recurrent_kernel of a GRU should have shape"):
        gatewise.GRU.from_keras(*lstm[:2], np.ones(16))
