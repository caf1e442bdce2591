"""Parameters: names, changes that are always seen, state dicts, copies, tapes' memory."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gatewise

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {"num_layers": 2, "bidirectional": True}),
    ("LSTM", {"proj_size": 2, "peepholes": True, "bidirectional": True}),
    ("LSTM", {"bias": False}),
    ("GRU", {}),
    ("GRU", {"bias": False}),
    ("GRU", {"reset_after": False, "num_layers": 2}),
]
X = np.float32(np.random.default_rng(0).standard_normal((2, 4, 3)))


def make(kind: str, options: dict[str, Any], **more: Any) -> Any:
    return getattr(gatewise, kind)(3, 5, **options, tokens=True, **more)


def new_values(layer: Any, seed: int = 9) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        name: np.float32(generator.uniform(-1, 1, array.shape))
        for name, array in layer.parameters().items()
    }


def test_names() -> None:
    layer = gatewise.LSTM(3, 5, 2, proj_size=2, peepholes=True, bidirectional=True)
    own = {
        "weight_ih": (20, 3),
        "weight_hh": (20, 2),
        "bias_ih": (20,),
        "bias_hh": (20,),
        "weight_hr": (2, 5),
        "weight_peephole": (3, 5),
    }
    expected = {name + "_l0": shape for name, shape in own.items()}
    expected |= {name + "_l0_reverse": shape for name, shape in own.items()}
    own["weight_ih"] = (20, 4)
    expected |= {name + "_l1": shape for name, shape in own.items()}
    expected |= {name + "_l1_reverse": shape for name, shape in own.items()}
    found = {name: array.shape for name, array in layer.parameters().items()}
    assert list(found.items()) == list(expected.items())
    assert layer.parameter_count == sum(int(np.prod(shape)) for shape in expected.values())


def test_reprs() -> None:
    assert repr(gatewise.GRU(3, 5)) == "GRU(3, 5) with 150 parameters"
    layer = gatewise.LSTM(3, 5, 2, bidirectional=True, proj_size=2, dtype=np.float64)
    assert repr(layer) == (
        "LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2, dtype='float64') "
        "with 640 parameters"
    )
    assert (
        repr(gatewise.RNN(3, 5).stream(2)) == "RNN(3, 5) with 50 parameters.stream(batch=2)"
    )
    model = gatewise.Sequential(
        gatewise.Embedding(7, 3),
        gatewise.GRU(3, 5),
        gatewise.Dropout(0.25),
        gatewise.Linear(5, 7, bias=False),
    )
    assert repr(model) == (
        "Sequential(Embedding(7, 3), GRU(3, 5), Dropout(0.25), Linear(5, 7, bias=False)) "
        "with 206 parameters"
    )


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_the_first_values(kind: str, options: dict[str, Any]) -> None:
    layers = [make(kind, options, seed=seed) for seed in (4, 4, 5)]
    first, same, other = (layer.state_dict() for layer in layers)
    bound = np.float32(1 / np.sqrt(5))
    for name, array in first.items():
        assert array.dtype == np.float32
        assert np.abs(array).max() <= bound
        np.testing.assert_array_equal(array, same[name])
        assert (array != other[name]).any()
    everything = np.concatenate([array.ravel() for array in first.values()])
    assert everything.std() == pytest.approx(bound / np.sqrt(3), rel=0.2)
    double = make(kind, options, seed=4, dtype="float64").state_dict()
    for name, array in first.items():
        np.testing.assert_array_equal(np.float32(double[name]), array)


def test_forget_bias() -> None:
    values = gatewise.LSTM(
        3, 5, 2, bidirectional=True, forget_bias=1.5, seed=0
    ).state_dict()
    plain = gatewise.LSTM(3, 5, 2, bidirectional=True, seed=0).state_dict()
    for name, value in values.items():
        if name.startswith("bias"):
            other = name.replace("_ih_", "_hh_")
            if name != other:
                np.testing.assert_array_equal(
                    (value + values[other])[5:10], np.full(5, 1.5)
                )
            value[5:10] = plain[name][5:10]
        np.testing.assert_array_equal(value, plain[name])


def changes() -> dict[str, Callable[[Any, dict[str, Any]], None]]:
    def one_by_one(layer: Any, values: dict[str, Any]) -> None:
        for name, value in values.items():
            layer.set_parameters({name: value})
            layer(X)

    def unpickled(layer: Any, values: dict[str, Any]) -> None:
        layer.__setstate__(pickle.loads(pickle.dumps(layer)).__getstate__())
        layer.load_state_dict(values)

    return {
        "set_parameters": lambda layer, values: layer.set_parameters(values),
        "one by one": one_by_one,
        "load_state_dict": lambda layer, values: layer.load_state_dict(values),
        "unpickled": unpickled,
    }


@pytest.mark.parametrize("how", changes())
@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_a_change_is_seen_at_once(
    kind: str, options: dict[str, Any], how: str, backend: str
) -> None:
    layer = make(kind, options, seed=0)
    fresh = make(kind, options, seed=1)
    values = new_values(layer)
    # Everything that a layer prepares exists before the change.
    layer(X)
    layer.forward(X)
    layer([[0, 1, 2]])
    views, before = layer.parameters(), layer.state_dict()
    if not layer.bidirectional:
        stream, expected_stream = layer.stream(), fresh.stream()
        stream(X[0, 0])
        stream.reset()
    changes()[how](layer, values)
    fresh.load_state_dict(values)

    y, _, tape = layer.forward(X)
    expected, _, fresh_tape = fresh.forward(X)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(layer(X)[0], fresh(X)[0])
    np.testing.assert_array_equal(layer([[0, 1, 2]])[0], fresh([[0, 1, 2]])[0])
    np.testing.assert_array_equal(
        layer.backward(tape, y)[0], fresh.backward(fresh_tape, expected)[0]
    )
    if not layer.bidirectional:
        np.testing.assert_array_equal(stream(X[0, 0]), expected_stream(X[0, 0]))
    for name, value in values.items():
        np.testing.assert_array_equal(layer.parameters()[name], value)
        np.testing.assert_array_equal(views[name], before[name])


def with_copies(layer: Any) -> list[Any]:
    """A layer, and what came of it by copying."""
    return [
        layer,
        copy.copy(layer),
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
    ]


@pytest.mark.parametrize("which", range(4), ids=["itself", "copy", "deepcopy", "pickle"])
def test_parameters_cannot_be_written_past_the_layer(which: int) -> None:
    models = [
        gatewise.GRU(3, 5),
        gatewise.Linear(3, 5),
        gatewise.Embedding(3, 5),
        gatewise.Sequential(gatewise.LSTM(3, 5), gatewise.Linear(5, 2)),
    ]
    for model in models:
        for parameter in with_copies(model)[which].parameters().values():
            with pytest.raises(ValueError, match="read-only"):
                parameter[...] = 0
            with pytest.raises(ValueError, match="WRITEABLE"):
                parameter.flags.writeable = True


def test_a_layer_over_borrowed_memory_still_changes() -> None:
    layer = gatewise.Linear(3, 5, seed=0)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(layer, protocol=5, buffer_callback=buffers.append)
    twin = pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])
    assert len(buffers) == 2
    twin.set_parameters({"bias": np.ones(5)})
    np.testing.assert_array_equal(twin.parameters()["bias"], np.ones(5, np.float32))


def test_what_makes_a_layer_is_fixed(backend: str) -> None:
    layer = gatewise.GRU(3, 5, 2, seed=0)
    layer(X)
    fixed: list[tuple[Any, str, Any]] = [
        (layer, "reset_after", False),
        (layer, "hidden_size", 6),
        (layer, "bidirectional", True),
        (gatewise.RNN(3, 5), "nonlinearity", "relu"),
        (gatewise.LSTM(3, 5), "peepholes", True),
        (gatewise.Linear(3, 5), "bias", False),
        (gatewise.Sequential(layer), "layers", ()),
    ]
    for module, name, value in fixed:
        with pytest.raises(AttributeError, match=f"{name} is fixed once a"):
            setattr(module, name, value)
    layer.dropout, layer.zoneout = 0.5, 0.5
    y, _, _ = layer.forward(X)
    assert (y[:, 1:] == y[:, :-1]).any()


def test_state_dicts_are_copies(backend: str) -> None:
    layer = gatewise.GRU(3, 5, seed=0)
    expected = layer(X)[0]
    state = layer.state_dict()
    for array in state.values():
        array[...] = 0
    np.testing.assert_array_equal(layer(X)[0], expected)
    values = new_values(layer)
    layer.load_state_dict(values)
    expected = layer(X)[0]
    for array in values.values():
        array[...] = 0
    np.testing.assert_array_equal(layer(X)[0], expected)


def test_what_does_not_fit_is_listed_and_changes_nothing() -> None:
    layer = gatewise.GRU(3, 5, seed=0)
    before = layer.state_dict()
    state = new_values(layer) | {
        "bias_hn_l0": np.zeros(5),
        "weight_ih_l0": np.zeros((15, 4)),
    }
    del state["weight_hh_l0"], state["bias_ih_l0"]
    with pytest.raises(ValueError, match="state_dict should fit this GRU") as raised:
        layer.load_state_dict(state)
    assert str(raised.value) == (
        "state_dict should fit this GRU: missing weight_hh_l0, bias_ih_l0; "
        "unexpected bias_hn_l0; weight_ih_l0 should have shape (15, 3), got (15, 4)"
    )
    with pytest.raises(ValueError, match=r"weight_ih_l0 should have shape \(15, 3\)"):
        layer.load_state_dict(state, strict=False)
    with pytest.raises(ValueError, match=r"values should fit this GRU: unexpected w$"):
        layer.set_parameters({"bias_ih_l0": np.zeros(15), "w": 1})
    with pytest.raises(TypeError, match="state_dict should map names to arrays, got list"):
        layer.load_state_dict([1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"values\['bias_ih_l0'\] should hold real numbers"):
        layer.set_parameters({"bias_ih_l0": np.zeros(15, complex)})
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_loading_what_is_there() -> None:
    layer = gatewise.GRU(3, 5, seed=0)
    before = layer.state_dict()
    layer.load_state_dict({"bias_ih_l0": np.ones(15), "other": np.ones(2)}, strict=False)
    expected = before | {"bias_ih_l0": np.ones(15, np.float32)}
    for name, array in layer.state_dict().items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected[name])


def test_a_stack_passes_parameters_on(backend: str) -> None:
    inner = gatewise.GRU(4, 5, seed=0)
    model = gatewise.Sequential(
        gatewise.Embedding(3, 4, seed=0),
        gatewise.Sequential(inner, gatewise.Dropout()),
        *(gatewise.Linear(5, 5, seed=0) for _ in range(9)),
    )
    names = list(model.parameters())
    assert names[:3] == ["0.weight", "1.0.weight_ih_l0", "1.0.weight_hh_l0"]
    assert names[-2:] == ["10.weight", "10.bias"]
    tokens = [[0, 1, 2]]
    _, _, tape = model.forward(tokens)
    before, _ = model(tokens)
    values = new_values(model)
    model.load_state_dict(values)
    np.testing.assert_array_equal(
        inner.parameters()["weight_hh_l0"], values["1.0.weight_hh_l0"]
    )
    np.testing.assert_array_equal(model.layers[-1].parameters()["bias"], values["10.bias"])
    assert (model(tokens)[0] != before).any()
    with pytest.raises(RuntimeError, match="before parameters change"):
        model.backward(tape, before)
    _, _, tape = model.forward(tokens)
    inner.set_parameters({"bias_ih_l0": np.zeros(15)})
    with pytest.raises(RuntimeError, match="before parameters change"):
        model.backward(tape, before)
    with pytest.raises(ValueError, match=r"this Sequential: unexpected 11\.weight"):
        model.set_parameters({"11.weight": np.zeros((5, 5))})


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_copies_are_alike_and_apart(
    kind: str, options: dict[str, Any], way: Callable[[Any], Any], backend: str
) -> None:
    layer = make(kind, options, seed=0)
    before = layer(X)[0]
    twin = way(layer)
    assert repr(twin) == repr(layer)
    np.testing.assert_array_equal(twin(X)[0], before)
    twin.set_parameters(new_values(twin))
    np.testing.assert_array_equal(layer(X)[0], before)
    assert (twin(X)[0] != before).any()


def test_a_pickle_carries_no_packed_weights(backend: str) -> None:
    layer = gatewise.LSTM(64, 64, 2, tokens=True, seed=0)
    unused = len(pickle.dumps(layer))
    layer(np.zeros((2, 3, 64)))
    layer(np.zeros((2, 3), int))
    layer.forward(np.zeros((2, 3, 64)))
    size = sum(array.nbytes for array in layer.parameters().values())
    assert len(pickle.dumps(layer)) == unused < size + 3000
    model = gatewise.Sequential(layer, gatewise.Linear(64, 1))
    assert len(pickle.dumps(model)) < size + 6000
    assert len(pickle.dumps(layer.stream())) < size + 6000


def test_a_copy_draws_what_the_layer_would_have_drawn(backend: str) -> None:
    layer = gatewise.GRU(3, 5, 2, dropout=0.5, recurrent_dropout=0.5, zoneout=0.2, seed=0)
    layer.forward(X)
    twin = pickle.loads(pickle.dumps(layer))
    first, second = layer.forward(X)[0], layer.forward(X)[0]
    assert (first != second).any()
    np.testing.assert_array_equal(twin.forward(X)[0], first)
    np.testing.assert_array_equal(twin.forward(X)[0], second)


def test_gradients_are_arrays_of_their_own(backend: str) -> None:
    for kind, options in KINDS:
        layer = make(kind, options, seed=0)
        y, _, tape = layer.forward(X)
        gradients = list(layer.backward(tape, y)[2].values())
        for i, gradient in enumerate(gradients):
            assert gradient.flags.writeable
            assert not any(np.shares_memory(gradient, other) for other in gradients[:i])


def test_the_output_of_training_is_protected(backend: str) -> None:
    y, _, _ = gatewise.GRU(3, 5, seed=0).forward(X)
    with pytest.raises(ValueError, match="read-only"):
        y[...] = 0


TAPES: list[tuple[str, dict[str, Any], int]] = [
    # Numbers for every step, as the tape's docstring has them: H is 64, two directions D.
    ("RNN", {}, 64),
    ("LSTM", {}, 5 * 64 + 64),
    ("LSTM", {"proj_size": 16}, 5 * 64 + 16),
    ("GRU", {}, 5 * 64),
    ("GRU", {"num_layers": 3}, 3 * 5 * 64),
    ("GRU", {"num_layers": 2, "bidirectional": True}, 2 * 2 * 5 * 64 + 2 * 64),
]


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(("kind", "options", "numbers"), TAPES, ids=str)
def test_the_memory_of_a_tape(
    kind: str, options: dict[str, Any], numbers: int, ragged: bool, backend: str
) -> None:
    layer = getattr(gatewise, kind)(8, 64, **options, seed=0)
    x = np.float32(np.random.default_rng(0).standard_normal((16, 50, 8)))
    lengths = np.arange(16) * 3 if ragged else None
    steps = int(np.sum(lengths)) if ragged else 16 * 50
    layer.forward(x[:, :1])
    tracemalloc.start()
    try:
        y, _, tape = layer.forward(x, lengths=lengths)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    expected = steps * numbers * 4
    if ragged:
        # The rows of x that were gathered; the padded y is the caller's.
        expected += steps * 8 * 4
        held -= y.nbytes
    states = 2 * layer.num_layers * 2 * 16 * 64 * 4
    assert expected <= tape.nbytes <= expected + states
    # Besides, the indices of ragged rows, and the last layer's y if two directions made it.
    rest = 4 * 8 * (steps + 100) + 20_000 + (0 if ragged else y.nbytes)
    assert tape.nbytes <= held <= tape.nbytes + states + rest


def test_the_layers_around() -> None:
    embedding = gatewise.Embedding(4, 3, seed=0)
    weight = embedding.state_dict()["weight"]
    np.testing.assert_array_equal(embedding([[3, 0]]), weight[[[3, 0]]])
    assert embedding(2).shape == (3,)
    assert embedding([]).shape == (0, 3)
    y, tape = embedding.forward([[3, 0], [3, 3]])
    nothing, gradients = embedding.backward(tape, np.ones_like(y))
    assert nothing is None
    np.testing.assert_array_equal(gradients["weight"], np.outer([1, 0, 0, 3], np.ones(3)))

    linear = gatewise.Linear(3, 2, seed=0, dtype="float64")
    values = linear.state_dict()
    x = np.random.default_rng(0).standard_normal((4, 5, 3))
    np.testing.assert_allclose(linear(x), x @ values["weight"].T + values["bias"])
    assert linear(np.zeros((0, 3))).shape == (0, 2)
    assert linear(x[0, 0]).shape == (2,)

    dropout = gatewise.Dropout(0.25, seed=0)
    ones = np.ones((100, 100), np.float32)
    np.testing.assert_array_equal(dropout(ones), ones)
    y, tape = dropout.forward(ones)
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_allclose(y[y != 0], 1 / 0.75)
    np.testing.assert_array_equal(dropout.backward(tape, ones)[0], y)
    again, _ = gatewise.Dropout(0.25, seed=0).forward(ones)
    np.testing.assert_array_equal(again, y)
    for dtype in (np.float32, np.float64):
        y, tape = dropout.forward(ones.astype(dtype))
        assert y.dtype == dropout.backward(tape, ones)[0].dtype == dropout(y).dtype == dtype


def test_a_stack_carries_states(backend: str) -> None:
    model = gatewise.Sequential(
        gatewise.LSTM(3, 5, seed=0, dtype="float64"),
        gatewise.Linear(5, 4, seed=0, dtype="float64"),
        gatewise.GRU(4, 2, seed=0, dtype="float64"),
    )
    y, state = model(X)
    first, carried = model(X[:, :2])
    second, final = model(X[:, 2:], carried)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), y, atol=1e-14)
    np.testing.assert_allclose(final[2], state[2], atol=1e-14)
    assert state[1] is None
    ragged, _ = model(X, lengths=[4, 1])
    np.testing.assert_allclose(ragged[1, :1], model(X[1:, :1])[0][0], atol=1e-14)
    _, _, tape = model.forward(X)
    _, dstate, _ = model.backward(tape, None, (None, None, np.ones((1, 2, 2))))
    assert [part is None for part in dstate] == [False, True, False]
