"""What layers refuse: the exception names the argument, what was expected and what came.

Every refusal is checked on both backends, against one text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gatewise

Refusal = tuple[Callable[[], Any], type[Exception], str]

X = np.zeros((2, 4, 3), np.float32)
H = np.zeros((1, 2, 5), np.float32)


def gru(**options: Any) -> Any:
    return gatewise.GRU(3, 5, **options)


def lstm(**options: Any) -> Any:
    return gatewise.LSTM(3, 5, **options)


def after_forward(layer: Any, use: Callable[[Any, Any], Any], **given: Any) -> Any:
    y, _, tape = layer.forward(X, **given)
    return use(tape, y)


def backward_after_change() -> Any:
    layer = gru()
    _, _, tape = layer.forward(X)
    layer.set_parameters({"bias_ih_l0": np.ones(15)})
    return layer.backward(tape, None)


INPUTS: dict[str, Refusal] = {
    "rank 1": (
        lambda: gru()(np.zeros(3)),
        ValueError,
        "x should have shape (batch, time, 3) or (time, 3), got (3,)",
    ),
    "rank 4": (
        lambda: gru()(np.zeros((1, 2, 4, 3))),
        ValueError,
        "x should have shape (batch, time, 3) or (time, 3), got (1, 2, 4, 3)",
    ),
    "features": (
        lambda: gru()(np.zeros((2, 4, 4))),
        ValueError,
        "x should have shape (batch, time, 3) or (time, 3), got (2, 4, 4)",
    ),
    "features in training": (
        lambda: gru().forward(np.zeros((2, 4, 4))),
        ValueError,
        "x should have shape (batch, time, 3) or (time, 3), got (2, 4, 4)",
    ),
    "one integer": (
        lambda: gru(tokens=True)(2),
        ValueError,
        "x should have shape (batch, time) or (time,) for tokens, got ()",
    ),
    "token too high": (
        lambda: gru(tokens=True)([[0, 3]]),
        ValueError,
        "x should hold tokens from 0 to 2, got 3",
    ),
    "token below zero": (
        lambda: gru(tokens=True)([[0, -1]]),
        ValueError,
        "x should hold tokens from 0 to 2, got -1",
    ),
    "nothing": (
        lambda: gru()(None),
        TypeError,
        "x should be an array, got None",
    ),
    "no dtype": (
        lambda: gru(dtype=None),
        TypeError,
        "dtype should be float32 or float64, got None",
    ),
    "a forget bias in words": (
        lambda: gatewise.LSTM(3, 4, forget_bias="one"),  # type: ignore[arg-type]
        ValueError,
        "forget_bias should be a finite number, got 'one'",
    ),
    "a class in the place of a layer": (
        lambda: gatewise.Sequential(gatewise.GRU),  # type: ignore[arg-type]
        TypeError,
        "layers[0] should be a layer, got the class GRU",
    ),
    "no a0": (
        lambda: gatewise.rnn_forward(X.T, None, {}),  # type: ignore[arg-type]
        TypeError,
        "a0 should be an array, got None",
    ),
    "complex": (
        lambda: gru()(X * 1j),
        TypeError,
        "x should hold real numbers of at most 64 bits, got dtype complex64",
    ),
    "object": (
        lambda: gru()(X.astype(object)),
        TypeError,
        "x should hold real numbers of at most 64 bits, got dtype object",
    ),
    "string": (
        lambda: gru()("text"),
        TypeError,
        "x should hold real numbers of at most 64 bits, got dtype <U4",
    ),
    "uneven lists": (
        lambda: gru()([[[1.0, 2.0, 3.0], [1.0]]]),
        ValueError,
        "x should be an array: ",
    ),
    "length above time": (
        lambda: gru()(X, lengths=[4, 5]),
        ValueError,
        "lengths should be from 0 to 4, the time steps of x, got 5",
    ),
    "length below zero": (
        lambda: gru()(X, lengths=[-1, 4]),
        ValueError,
        "lengths should be from 0 to 4, the time steps of x, got -1",
    ),
    "too many lengths": (
        lambda: gru()(X, lengths=[1, 2, 3]),
        ValueError,
        "lengths should have shape (2,), one a sequence, got (3,)",
    ),
    "lengths in rows": (
        lambda: gru()(X, lengths=[[1, 2]]),
        ValueError,
        "lengths should have shape (2,), one a sequence, got (1, 2)",
    ),
    "one length": (
        lambda: gru()(X, lengths=3),
        ValueError,
        "lengths should have shape (2,), one a sequence, got ()",
    ),
    "floating lengths": (
        lambda: gru()(X, lengths=[1.0, 2.0]),
        TypeError,
        "lengths should hold integers, got dtype float64",
    ),
    "NaN in lengths": (
        lambda: gru()(X, lengths=[np.nan, 2]),
        TypeError,
        "lengths should hold integers, got dtype float64",
    ),
    "lengths of bool": (
        lambda: gru()(X, lengths=[True, False]),
        TypeError,
        "lengths should hold integers, got dtype bool",
    ),
    "lengths without a batch": (
        lambda: gru()(X[0], lengths=[3]),
        ValueError,
        "lengths should be None for an x without a batch axis",
    ),
    "state of another batch": (
        lambda: gru()(X, H[:, :1]),
        ValueError,
        "state should have shape (1, 2, 5), got (1, 1, 5)",
    ),
    "state of another layer": (
        lambda: gru(num_layers=2)(X, H),
        ValueError,
        "state should have shape (2, 2, 5), got (1, 2, 5)",
    ),
    "state with a batch for x without": (
        lambda: gru()(X[0], H),
        ValueError,
        "state should have shape (1, 5), got (1, 2, 5)",
    ),
    "an LSTM's state for a GRU": (
        lambda: gru()(X, (H, H)),
        ValueError,
        "state should have shape (1, 2, 5), got (2, 1, 2, 5)",
    ),
    "a GRU's state for an LSTM": (
        lambda: lstm()(X, H),
        TypeError,
        "state should be a pair (h, c) of arrays, got an array of shape (1, 2, 5)",
    ),
    "three parts of a state": (
        lambda: lstm()(X, (H, H, H)),
        TypeError,
        "state should be a pair (h, c) of arrays, got a tuple of 3",
    ),
    "a cell of the wrong shape": (
        lambda: lstm(proj_size=2)(X, (H[..., :2], H[..., :2])),
        ValueError,
        "state[1] should have shape (1, 2, 5), got (1, 2, 2)",
    ),
    "dy": (
        lambda: after_forward(gru(), lambda tape, y: gru_of(tape).backward(tape, y[:1])),
        ValueError,
        "dy should have shape (2, 4, 5), got (1, 4, 5)",
    ),
    "dstate": (
        lambda: after_forward(gru(), lambda tape, y: gru_of(tape).backward(tape, y, H[0])),
        ValueError,
        "dstate should have shape (1, 2, 5), got (2, 5)",
    ),
    "tape of another layer": (
        lambda: after_forward(gru(), lambda tape, y: gru().backward(tape, y)),
        ValueError,
        "tape should come from this GRU's forward, got one from another GRU",
    ),
    "no tape": (
        lambda: gru().backward(None, X),
        TypeError,
        "tape should be what GRU.forward returned, got NoneType",
    ),
    "tape after a change": (
        backward_after_change,
        RuntimeError,
        "tape should be used before parameters change, got one from before a change",
    ),
    "stream of two directions": (
        lambda: gru(bidirectional=True).stream(),
        ValueError,
        "a bidirectional layer cannot stream, as one direction starts at the end",
    ),
    "stream of none": (
        lambda: gru().stream(batch=0),
        ValueError,
        "batch should be at least 1, got 0",
    ),
    "step of another batch": (
        lambda: gru().stream(batch=2)(X[0]),
        ValueError,
        "x should have shape (2, 3) or (2, time, 3), got (4, 3)",
    ),
    "step without a batch": (
        lambda: gru().stream(batch=2)(X[0, 0]),
        ValueError,
        "x should have shape (2, 3) or (2, time, 3), got (3,)",
    ),
    "tokens of another batch": (
        lambda: gru(tokens=True).stream(batch=2)([1, 2, 0]),
        ValueError,
        "x should have shape (2,) or (2, time), got (3,)",
    ),
    "stream's token": (
        lambda: gru(tokens=True).stream()(7),
        ValueError,
        "x should hold tokens from 0 to 2, got 7",
    ),
    "stream's state": (
        lambda: gru().stream(batch=2).reset(H[:, :1]),
        ValueError,
        "state should have shape (1, 2, 5), got (1, 1, 5)",
    ),
    "embedding of floats": (
        lambda: gatewise.Embedding(4, 2)([0.5]),
        TypeError,
        "x should hold integers, got dtype float64",
    ),
    "embedding's token": (
        lambda: gatewise.Embedding(4, 2)([[4]]),
        ValueError,
        "x should hold tokens from 0 to 3, got 4",
    ),
    "linear": (
        lambda: gatewise.Linear(3, 2)(np.zeros((5, 4))),
        ValueError,
        "x should have shape (..., 3), got (5, 4)",
    ),
    "linear's gradient": (
        lambda: linear_backward(np.zeros((5, 3))),
        ValueError,
        "dy should have shape (5, 2), got (5, 3)",
    ),
    "sequential's gradient": (
        lambda: sequential_backward(None),
        ValueError,
        "dy should be an array: layers[1] has no state, got None",
    ),
    "sequential's state": (
        lambda: gatewise.Sequential(gru())(X, H),
        TypeError,
        "state should be a tuple with one entry for each layer, got ndarray",
    ),
    "sequential's number of states": (
        lambda: gatewise.Sequential(gru())(X, (H, None)),
        ValueError,
        "state should have 1 entries, one for each layer, got 2",
    ),
}


def gru_of(tape: Any) -> Any:
    return tape._module


def linear_backward(dy: Any) -> Any:
    layer = gatewise.Linear(3, 2)
    _, tape = layer.forward(np.zeros((5, 3)))
    return layer.backward(tape, dy)


def sequential_backward(dy: Any) -> Any:
    layer = gatewise.Sequential(gru(), gatewise.Dropout())
    _, _, tape = layer.forward(X)
    return layer.backward(tape, dy)


SETTINGS: dict[str, Refusal] = {
    "input_size": (
        lambda: gatewise.RNN(0, 5),
        ValueError,
        "input_size should be at least 1, got 0",
    ),
    "hidden_size": (
        lambda: gatewise.RNN(3, 2.5),  # type: ignore[arg-type]
        TypeError,
        "hidden_size should be an integer, got 2.5 of type float",
    ),
    "num_layers": (
        lambda: gru(num_layers=0),
        ValueError,
        "num_layers should be at least 1",
    ),
    "dropout": (
        lambda: gru(dropout=1),
        ValueError,
        "dropout should be at least 0 and below 1",
    ),
    "dropout below": (lambda: gru(dropout=-0.1), ValueError, "got -0.1"),
    "dropout NaN": (lambda: gru(dropout=np.nan), ValueError, "got nan"),
    "zoneout": (
        lambda: gru(zoneout="much"),
        TypeError,
        "zoneout should be a number, got 'much'",
    ),
    "recurrent_dropout": (
        lambda: lstm(recurrent_dropout=2),
        ValueError,
        "recurrent_dropout should be at least 0 and below 1, got 2",
    ),
    "cell_zoneout": (lambda: lstm(cell_zoneout=2), ValueError, "cell_zoneout should be"),
    "nonlinearity": (
        lambda: gatewise.RNN(3, 5, nonlinearity="sin"),
        ValueError,
        "nonlinearity should be one of sigmoid, tanh, relu, ",
    ),
    "proj_size": (
        lambda: lstm(proj_size=5),
        ValueError,
        "proj_size should be below hidden_size 5, got 5",
    ),
    "forget_bias": (
        lambda: lstm(bias=False, forget_bias=1.0),
        ValueError,
        "forget_bias should be None without biases, got 1.0",
    ),
    "dtype": (
        lambda: gru(dtype="float16"),
        ValueError,
        "dtype should be float32 or float64, got float16",
    ),
    "no dtype": (
        lambda: gru(dtype="width"),
        TypeError,
        "dtype should be float32 or float64, got 'width'",
    ),
    "layers": (lambda: gatewise.Sequential(), ValueError, "layers should be at least one"),
    "no layer": (
        lambda: gatewise.Sequential(gru(), np.tanh),  # type: ignore[arg-type]
        TypeError,
        "layers[1] should be a layer, got ufunc",
    ),
}


@pytest.mark.parametrize("which", INPUTS | SETTINGS)
def test_refusal(which: str, backend: str) -> None:
    call, kind, text = (INPUTS | SETTINGS)[which]
    with pytest.raises(kind, match=re.escape(text)) as raised:
        call()
    assert type(raised.value) is kind


def test_a_refused_step_leaves_the_stream_as_it_was(backend: str) -> None:
    stream = lstm().stream()
    stream(X[0, 0] + 1)
    h, c = stream.state
    with pytest.raises(ValueError, match="x should have shape"):
        stream(np.zeros(4))
    with pytest.raises(ValueError, match=re.escape("state[1] should have shape")):
        stream.reset((h + 1, c[:, :0]))
    np.testing.assert_array_equal(stream.state, (h, c))


def test_a_number_may_be_too_large_for_any_float() -> None:
    with pytest.raises(ValueError, match="dropout should be at least 0 and below 1"):
        gatewise.GRU(3, 4, 2, dropout=10**400)
    with pytest.raises(ValueError, match="forget_bias should be a finite number"):
        gatewise.LSTM(3, 4, forget_bias=10**400)
