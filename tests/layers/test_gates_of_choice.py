"""Activations that users choose: as gates and as candidates, there and back.

What is compared with are plain loops in float64, and finite differences.
"""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.kernels import formats
from gatewise.kernels.activations import ACTIVATIONS, Spelling, activation

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]


def elu(alpha: float) -> Function:
    return lambda z: np.where(z > 0, z, alpha * (np.exp(np.minimum(z, 0)) - 1))


def hard_sigmoid(slope: float, offset: float) -> Function:
    return lambda z: np.minimum(np.maximum(slope * z + offset, 0), 1)


def thresholded_relu(threshold: float) -> Function:
    return lambda z: np.where(z > threshold, z, np.where(np.isnan(z), z, 0))


def softsign(z: Array) -> Array:
    return np.where(np.isinf(z), np.sign(z), z / (1 + np.abs(z)))


# How a user writes each, and what it is; those with numbers also with others than theirs.
FUNCTIONS: list[tuple[Spelling, Function]] = [
    ("sigmoid", lambda z: 1 / (1 + np.exp(-z))),
    ("tanh", np.tanh),
    ("relu", lambda z: np.maximum(z, 0)),
    ("linear", lambda z: z),
    ("hard_sigmoid", hard_sigmoid(1 / 6, 0.5)),
    (("hard_sigmoid", 0.2, 0.5), hard_sigmoid(0.2, 0.5)),
    (("hard_sigmoid", 0.9, 0.3), hard_sigmoid(0.9, 0.3)),
    ("softsign", softsign),
    ("softplus", lambda z: np.logaddexp(z, 0)),
    ("exponential", np.exp),
    ("elu", elu(1)),
    (("elu", 0.3), elu(0.3)),
    ("selu", lambda z: 1.0507009873554805 * elu(1.6732632423543772)(z)),
    ("leaky_relu", lambda z: np.where(z > 0, z, 0.01 * z)),
    (("leaky_relu", 0.3), lambda z: np.where(z > 0, z, 0.3 * z)),
    ("thresholded_relu", thresholded_relu(1)),
    (("thresholded_relu", 0.1), thresholded_relu(0.1)),
    ("scaled_tanh", np.tanh),
    (("scaled_tanh", 1.7, 0.6), lambda z: 1.7 * np.tanh(0.6 * z)),
    ("affine", lambda z: z),
    (("affine", 0.4, -0.1), lambda z: 0.4 * z - 0.1),
]


def function_of(spelling: Spelling) -> Function:
    """What it is, however it is written."""
    found = activation("spelling", spelling)
    return next(f for s, f in FUNCTIONS if activation("spelling", s) == found)


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("LSTM", {}),
    ("GRU", {}),
    ("GRU", {"reset_after": False}),
]


def in_places() -> list[Any]:
    """Every cell with every activation in every place that it has."""
    cases = []
    for kind, options in KINDS:
        places = ["activation"] if kind == "RNN" else ["recurrent_activation", "activation"]
        for place in places:
            for spelling, _ in FUNCTIONS:
                name = f"{kind}-{options}-{place}-{spelling}"
                cases.append(pytest.param(kind, options | {place: spelling}, id=name))
    return cases


everywhere = pytest.mark.parametrize(("kind", "options"), in_places())

HARD: dict[str, Any] = {"recurrent_activation": ("hard_sigmoid", 0.9, 0.3)}
BOTH: dict[str, Any] = {"recurrent_activation": "hard_sigmoid", "activation": "softsign"}
MANY: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {"nonlinearity": "softsign", "num_layers": 2, "bidirectional": True}),
    ("LSTM", HARD | {"num_layers": 2, "bidirectional": True}),
    ("LSTM", BOTH | {"proj_size": 3, "peepholes": True, "bidirectional": True}),
    ("LSTM", HARD | {"peepholes": True, "activation": "relu", "num_layers": 2}),
    ("GRU", HARD | {"num_layers": 2, "bidirectional": True}),
    ("GRU", BOTH | {"reset_after": False, "bias": False, "num_layers": 2}),
]
many = pytest.mark.parametrize(("kind", "options"), MANY, ids=str)


def make(kind: str, options: dict[str, Any], dtype: str = "float64", size: int = 5) -> Any:
    layer = getattr(gatewise, kind)(3, size, **options, dtype=dtype, seed=4)
    if "exponential" in options.values():
        # Exponentials of exponentials soon are infinite.
        values = layer.state_dict()
        layer.set_parameters({name: value / 8 for name, value in values.items()})
    return layer


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1.5, 1.5, shape)


def state_for(layer: Any, batch: int) -> Any:
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    h = draw(count, batch, layer.output_size, seed=1) / 2
    if not isinstance(layer, gatewise.LSTM):
        return h
    return h, draw(count, batch, layer.hidden_size, seed=2)


def tuple_of(state: Any) -> tuple[Array, ...]:
    return state if isinstance(state, tuple) else (state,)


def step(layer: Any, own: dict[str, Array], x: Array, h: Array, c: Array) -> Any:
    """One step of one sequence, straight from the formulas."""
    act = function_of(layer.activation)
    size, zero = layer.hidden_size, np.zeros(len(own["weight_ih"]))
    from_x = own["weight_ih"] @ x + own.get("bias_ih", zero)
    w_hh, b_hh = own["weight_hh"], own.get("bias_hh", zero)
    if isinstance(layer, gatewise.RNN):
        return act(from_x + w_hh @ h + b_hh), c
    gate = function_of(layer.recurrent_activation)
    if isinstance(layer, gatewise.GRU):
        from_h = w_hh @ h + b_hh
        r = gate(from_x[:size] + from_h[:size])
        z = gate(from_x[size : 2 * size] + from_h[size : 2 * size])
        inner = r * from_h[2 * size :]
        if not layer.reset_after:
            inner = w_hh[2 * size :] @ (r * h) + b_hh[2 * size :]
        return (1 - z) * act(from_x[2 * size :] + inner) + z * h, c
    i, f, g, o = np.split(from_x + w_hh @ h + b_hh, 4)
    to_i, to_f, to_o = own.get("weight_peephole", np.zeros((3, size)))
    new_c = gate(f + to_f * c) * c + gate(i + to_i * c) * act(g)
    new_h = gate(o + to_o * new_c) * act(new_c)
    return own["weight_hr"] @ new_h if "weight_hr" in own else new_h, new_c


def loops(layer: Any, x: Array, state: Any, lengths: list[int]) -> tuple[Array, Any]:
    """Outputs and final state of a layer: over layers, directions, sequences and steps."""
    weights = {name: np.float64(array) for name, array in layer.parameters().items()}
    h = np.array(tuple_of(state)[0])
    c = np.array(tuple_of(state)[-1])
    directions = 2 if layer.bidirectional else 1
    for n in range(layer.num_layers):
        y = np.zeros((*x.shape[:2], directions * layer.output_size))
        for d in range(directions):
            end, k = f"_l{n}" + "_reverse" * d, n * directions + d
            own = {
                name.removesuffix(end): array
                for name, array in weights.items()
                if name.endswith(end)
            }
            out = slice(d * layer.output_size, (d + 1) * layer.output_size)
            for s, length in enumerate(lengths):
                for t in range(length)[:: -1 if d else 1]:
                    h[k, s], c[k, s] = step(layer, own, x[s, t], h[k, s], c[k, s])
                    y[s, t, out] = h[k, s]
        x = y
    return x, (h, c) if isinstance(layer, gatewise.LSTM) else h


def assert_close(found: Any, wanted: Any, tolerance: float) -> None:
    for part, other in zip(tuple_of(found), tuple_of(wanted), strict=True):
        limit = tolerance * max(1.0, np.abs(other).max(initial=0))
        np.testing.assert_allclose(part, other, rtol=0, atol=limit)


def test_every_activation_is_here() -> None:
    named = {s if isinstance(s, str) else s[0] for s, _ in FUNCTIONS}
    assert named == set(ACTIVATIONS)
    for name in ACTIVATIONS:
        assert f'``"{name}"``' in str(gatewise.LSTM.__doc__)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 3e-6)])
@everywhere
def test_values(
    kind: str, options: dict[str, Any], dtype: str, tolerance: float, backend: str
) -> None:
    layer = make(kind, options, dtype)
    x, state = np.float32(draw(3, 4, 3)), state_for(layer, 3)
    y, final = layer(x, state)
    wanted, wanted_final = loops(layer, np.float64(x), state, [4, 4, 4])
    assert_close((y, *tuple_of(final)), (wanted, *tuple_of(wanted_final)), tolerance)


@many
def test_values_of_layers_upon_layers(
    kind: str, options: dict[str, Any], backend: str
) -> None:
    layer = make(kind, options)
    x, state, lengths = draw(4, 6, 3), state_for(layer, 4), [3, 6, 0, 1]
    y, final = layer(x, state, lengths=lengths)
    wanted, wanted_final = loops(layer, x, state, lengths)
    assert_close((y, *tuple_of(final)), (wanted, *tuple_of(wanted_final)), 1e-13)
    # In training too.
    trained, trained_final, _ = layer.forward(x, state, lengths=lengths)
    assert_close((trained, *tuple_of(trained_final)), (y, *tuple_of(final)), 1e-13)


def check_slopes(layer: Any, lengths: list[int] | None) -> None:
    """Compare the gradient of everything with finite differences along a direction."""
    x, state = draw(3, 4, 3), state_for(layer, 3)
    y, final, tape = layer.forward(x, state, lengths=lengths)
    dy = draw(*y.shape, seed=5)
    dfinal = tuple(draw(*f.shape, seed=6 + i) for i, f in enumerate(tuple_of(final)))
    is_pair = isinstance(state, tuple)
    dx, dstate, gradients = layer.backward(tape, dy, dfinal if is_pair else dfinal[0])
    parameters = layer.state_dict()
    arrays = {"x": x} | {f"state[{i}]": s for i, s in enumerate(tuple_of(state))}
    slopes = {"x": dx} | {f"state[{i}]": d for i, d in enumerate(tuple_of(dstate))}
    arrays |= parameters
    slopes |= gradients
    assert arrays.keys() == slopes.keys()

    def loss(name: str, moved: Array) -> float:
        at = arrays | {name: moved}
        layer.set_parameters({key: at[key] for key in parameters})
        parts = tuple(at[f"state[{i}]"] for i in range(len(dfinal)))
        outputs, last = layer(at["x"], parts if is_pair else parts[0], lengths=lengths)
        total = (outputs * dy).sum()
        for part, dpart in zip(tuple_of(last), dfinal, strict=True):
            total += (part * dpart).sum()
        return float(total)

    for seed, (name, array) in enumerate(arrays.items()):
        way = 1e-6 * draw(*array.shape, seed=20 + seed)
        difference = loss(name, array + way) - loss(name, array - way)
        found = 2 * (slopes[name] * way).sum()
        size = 2 * np.abs(slopes[name] * way).sum()
        assert abs(found - difference) <= 1e-6 * size + 1e-14, name


@everywhere
def test_gradients(kind: str, options: dict[str, Any], backend: str) -> None:
    check_slopes(make(kind, options), None)


@pytest.mark.parametrize("lengths", [None, [2, 4, 0]], ids=["whole", "ragged"])
@many
def test_gradients_of_layers_upon_layers(
    kind: str, options: dict[str, Any], lengths: list[int] | None, backend: str
) -> None:
    check_slopes(make(kind, options), lengths)


@pytest.mark.usefixtures("own_products")
@pytest.mark.parametrize("batch", [1, 3])
@everywhere
def test_streams(kind: str, options: dict[str, Any], batch: int, backend: str) -> None:
    layer = make(kind, options | {"num_layers": 2}, "float32", size=17)
    x = np.float32(draw(batch, 7, 3))
    y, state = layer(x)
    stream = layer.stream(batch)
    results = [np.stack([stream(x[:, t]).copy() for t in range(7)], 1), stream.state]
    stream.reset()
    results += [np.concatenate([stream(x[:, :3]), stream(x[:, 3:])], 1), stream.state]
    for found, wanted in zip(results, [y, state, y, state], strict=True):
        if backend == "native":
            for part, other in zip(tuple_of(found), tuple_of(wanted), strict=True):
                np.testing.assert_array_equal(part, other)
        else:
            assert_close(found, wanted, 1e-5)


def test_a_stream_through_a_net(backend: str) -> None:
    gru = gatewise.GRU(4, 17, recurrent_activation="hard_sigmoid", tokens=True, seed=0)
    model = gatewise.Sequential(gru, gatewise.Linear(17, 2, seed=0))
    tokens = np.array([[0, 3, 1, 1, 2]])
    stream = model.stream()
    steps = np.stack([stream(tokens[:, t]).copy() for t in range(5)], axis=1)
    assert_close(steps, model(tokens)[0], 1e-6)
    one_hot = np.eye(4, dtype=np.float32)[tokens]
    assert_close(steps, model(one_hot)[0], 1e-6)


@pytest.mark.parametrize("weight_format", ["float16", "int8"])
@many
def test_quantized(
    kind: str, options: dict[str, Any], weight_format: str, backend: str
) -> None:
    layer = make(kind, options, "float32", size=17)
    narrow = layer.quantize(weight_format)
    held = narrow.parameters()
    # The layer of the numbers that the narrow weights stand for.
    for name, array in held.items():
        if array.dtype == formats.look_up(weight_format).dtype:
            scales = held.get(f"{name}_scale", np.ones(len(array), np.float32))
            layer.set_parameters({name: array * scales[:, None]})
    x = np.float32(draw(3, 6, 3))
    y, state = narrow(x, lengths=[6, 0, 2])
    wanted, wanted_state = layer(x, lengths=[6, 0, 2])
    # What int8 multiplies is rounded as well, to 15 bits.
    limit = 1e-4 if weight_format == "int8" else 2e-6
    assert_close((y, *tuple_of(state)), (wanted, *tuple_of(wanted_state)), limit)


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_zoneout(kind: str, options: dict[str, Any], backend: str) -> None:
    chosen = {"activation": "softsign"} if kind == "RNN" else BOTH
    layer = make(kind, options | chosen | {"zoneout": 0.25})
    plain = make(kind, options | chosen)
    x, h = draw(2, 5, 3), state_for(plain, 2)
    y, _ = layer(x, h)
    for t in range(5):
        _, new = plain(x[:, t : t + 1], h)
        kept = 0.25 * tuple_of(h)[0] + 0.75 * tuple_of(new)[0]
        h = (kept, new[1]) if isinstance(new, tuple) else kept
        np.testing.assert_allclose(y[:, t], kept[0], rtol=0, atol=1e-13)
    outputs, _, tape = layer.forward(x)
    for gradient in layer.backward(tape, np.ones_like(outputs))[2].values():
        assert np.isfinite(gradient).all()


def of_one_unit(spelling: Spelling, dtype: str, values: list[float]) -> tuple[Any, Array]:
    """A layer that applies the function to each sequence's one number, and the numbers."""
    layer = gatewise.RNN(1, 1, nonlinearity=spelling, bias=False, dtype=dtype)
    layer.set_parameters({"weight_ih_l0": [[1]], "weight_hh_l0": [[0]]})
    return layer, np.array(values, dtype).reshape(-1, 1, 1)


def test_the_two_hard_sigmoids_of_keras(backend: str) -> None:
    values = [-4.0, -3, -2.5, -1, 0, 1, 2.5, 3, 4]
    older = [0, 0, 0, 0.3, 0.5, 0.7, 1, 1, 1]
    newer = [0, 0, 1 / 12, 1 / 3, 1 / 2, 2 / 3, 11 / 12, 1, 1]
    for spelling, wanted in ((("hard_sigmoid", 0.2, 0.5), older), ("hard_sigmoid", newer)):
        layer, x = of_one_unit(spelling, "float64", values)
        np.testing.assert_allclose(layer(x)[0].ravel(), wanted, rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("spelling", "function"), FUNCTIONS, ids=str)
def test_far_from_zero(
    spelling: Spelling, function: Function, dtype: str, backend: str
) -> None:
    values = [-np.inf, -1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4, np.inf, np.nan]
    layer, x = of_one_unit(spelling, dtype, values)
    with np.errstate(all="ignore"):
        wanted = function(np.float64(x)).astype(dtype).ravel()
    # What is too small for the kernels is zero.
    rtol = 1e-12 if dtype == "float64" else 2e-6
    for y in (layer(x)[0], layer.forward(x)[0], layer.stream(len(x))(x)):
        np.testing.assert_allclose(y.ravel(), wanted, rtol=rtol, atol=1e-37)
    # As a gate it lets as much through.
    y, _, tape = layer.forward(x[1:-2])
    dx, _, _ = layer.backward(tape, np.ones_like(y))
    assert np.isfinite(dx[np.isfinite(y)]).all()
    assert spelling not in ("sigmoid", "tanh", "hard_sigmoid") or not dx[[0, -1]].any()


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gates_that_are_shut_keep_the_state(kind: str, backend: str) -> None:
    layer = getattr(gatewise, kind)(1, 4, recurrent_activation="hard_sigmoid", seed=0)
    # The forget gate, and z.
    keeps = np.zeros(len(layer.parameters()["bias_ih_l0"]))
    keeps[4:8] = 1e4
    if kind == "LSTM":
        keeps[:4] = -1e4
    layer.set_parameters({"bias_ih_l0": keeps})
    state = tuple(np.float32(s) for s in tuple_of(state_for(layer, 2)))
    _, final = layer(np.ones((2, 9, 1)), state if kind == "LSTM" else state[0])
    np.testing.assert_array_equal(tuple_of(final)[-1], state[-1])


WRONG: list[tuple[Any, type[Exception], str]] = [
    ("hard", ValueError, f"should be one of {', '.join(ACTIVATIONS)}, got 'hard'"),
    (("hard", 0.2), ValueError, f"should be one of {', '.join(ACTIVATIONS)}, got 'hard'"),
    (("tanh", 1.0), ValueError, ": tanh takes no numbers, got ('tanh', 1.0)"),
    (("elu", 1, 2), ValueError, ": elu takes alpha, got ('elu', 1, 2)"),
    (("elu", "1"), TypeError, ": elu takes alpha, got ('elu', '1')"),
    (("hard_sigmoid", True), TypeError, ": hard_sigmoid takes slope and offset, got ("),
    (("elu", np.nan), ValueError, "should have numbers that float32 can hold"),
    (("elu", -1.0), ValueError, ": the slope of ('elu', -1.0) does not follow from its va"),
    (
        np.tanh,
        TypeError,
        "should be the name of an activation, or a tuple of it and ",
    ),
    (3, TypeError, "should be the name of an activation, or a tuple of it and "),
    (
        (),
        TypeError,
        "should be the name of an activation, or a tuple of it and ",
    ),
]


@pytest.mark.parametrize(("value", "error", "words"), WRONG, ids=str)
@pytest.mark.parametrize(
    ("kind", "argument"),
    [
        ("RNN", "nonlinearity"),
        ("RNN", "activation"),
        ("LSTM", "recurrent_activation"),
        ("LSTM", "activation"),
        ("GRU", "recurrent_activation"),
        ("GRU", "activation"),
    ],
)
def test_what_is_no_activation(
    kind: str, argument: str, value: Any, error: type[Exception], words: str, backend: str
) -> None:
    space = "" if words.startswith(":") else " "
    with pytest.raises(error, match="^" + re.escape(f"{argument}{space}{words}")):
        getattr(gatewise, kind)(3, 5, **{argument: value})


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_none_is_no_activation_of_a_gate(kind: str) -> None:
    with pytest.raises(TypeError, match=r"^recurrent_activation should be the name of an"):
        getattr(gatewise, kind)(3, 5, recurrent_activation=None)


def test_two_words_for_the_activation_of_an_rnn(backend: str) -> None:
    assert repr(gatewise.RNN(3, 4)) == "RNN(3, 4) with 36 parameters"
    for words in (
        {"nonlinearity": "relu"},
        {"activation": "relu"},
        {"nonlinearity": "relu", "activation": "relu"},
        {"nonlinearity": ("relu",), "activation": "relu"},
    ):
        layer = gatewise.RNN(3, 4, **words)  # type: ignore[arg-type]
        assert layer.nonlinearity == layer.activation == "relu"
        assert repr(layer) == "RNN(3, 4, nonlinearity='relu') with 36 parameters"
    with pytest.raises(ValueError, match="nonlinearity and activation should be") as caught:
        gatewise.RNN(3, 4, nonlinearity="tanh", activation="relu")
    assert str(caught.value) == (
        "nonlinearity and activation should be the same where both are given, got 'tanh' "
        "and 'relu'"
    )


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_choice_is_kept(kind: str, backend: str) -> None:
    assert "activation" not in repr(make(kind, {}))
    layer = make(
        kind,
        {
            "recurrent_activation": ["hard_sigmoid", 1 / 6, 0.5],
            "activation": ("elu", 1),
        },
        "float32",
    )
    assert layer.recurrent_activation == "hard_sigmoid"
    assert layer.activation == "elu"
    x = np.float32(draw(2, 5, 3))
    twins = [copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    for twin in twins:
        np.testing.assert_array_equal(twin(x)[0], layer(x)[0])
    for twin in (*twins, layer.quantize("int8"), gatewise.Sequential(layer).layers[0]):
        assert twin.recurrent_activation == "hard_sigmoid"
        assert "recurrent_activation='hard_sigmoid', activation='elu'" in repr(twin)
    for name in ("recurrent_activation", "activation"):
        with pytest.raises(AttributeError, match=f"^{name} is fixed once an? {kind} is"):
            setattr(layer, name, "tanh")
    older = make(kind, {"recurrent_activation": ("hard_sigmoid", 0.2, 0.5)}, "float32")
    assert older.recurrent_activation == ("hard_sigmoid", 0.2)
    assert "recurrent_activation=('hard_sigmoid', 0.2)" in repr(older)
    # Parameters say nothing of activations, so those of one go into the other.
    older.load_state_dict(layer.state_dict())
    assert (older(x)[0] != layer(x)[0]).any()


def test_numbers_are_those_of_both_precisions() -> None:
    for numbers in ((1e-60,), (1e39,), (1.0, 1e39), (10**400,)):
        with pytest.raises(ValueError, match="numbers that float32 can hold"):
            gatewise.RNN(3, 4, activation=("scaled_tanh", *numbers))
    for one in (np.float32(1), np.int64(1), np.float16(1), 1):
        layer = gatewise.RNN(3, 4, activation=(np.str_("elu"), one))
        assert repr(layer) == "RNN(3, 4, nonlinearity='elu') with 36 parameters"
    with pytest.raises(TypeError, match="elu takes alpha"):
        gatewise.RNN(3, 4, activation=("elu", True))


def test_zoneout_keeps_no_share_of_an_infinite_state(backend: str) -> None:
    gates = {"activation": "linear", "recurrent_activation": "hard_sigmoid"}
    layer = gatewise.LSTM(1, 1, bias=False, zoneout=0.25, **gates)
    layer.set_parameters(
        {"weight_ih_l0": np.ones((4, 1)), "weight_hh_l0": np.zeros((4, 1))}
    )
    _, (h, c) = layer(np.full((1, 1, 1), np.inf, "f"))
    assert (h.item(), c.item()) == (np.inf, np.inf)
    layer = gatewise.RNN(1, 1, activation="linear", bias=False, zoneout=0.5)
    layer.set_parameters({"weight_ih_l0": [[1.0]], "weight_hh_l0": [[0.0]]})
    y, _ = layer(np.array([[[3e38], [-3e38]]], "f"))
    np.testing.assert_allclose(y.ravel(), [1.5e38, -7.5e37], rtol=1e-6)


def test_nothing_warns_of_what_becomes_infinite(backend: str) -> None:
    x = np.full((2, 4, 3), 1000, "f")
    chosen = {"activation": "exponential", "recurrent_activation": "exponential"}
    options = {"dropout": 0.5, "recurrent_dropout": 0.5, "zoneout": 0.1}
    layer = gatewise.LSTM(3, 5, 2, seed=0, **chosen, **options)
    with np.errstate(all="raise"):
        layer(x)
        layer.stream(2)(x[:, 0])
        y, _, tape = layer.forward(x)
        layer.backward(tape, y)
        model = gatewise.Sequential(layer, gatewise.Dropout(0.5, seed=0))
        model.forward(x)
