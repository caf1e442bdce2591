"""Whole nets: streams of a Sequential, its quantized copy, states in every form."""

from __future__ import annotations

import copy
import pickle
import re
import tracemalloc
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.kernels import chooser

Array = np.ndarray[Any, Any]
TOKENS, INPUTS = 7, 5


def net(which: str, dtype: str = "float32") -> gatewise.Sequential:
    """A net of that name, with weights that are always the same."""
    own: dict[str, Any] = {"dtype": dtype, "seed": 3}
    layers: dict[str, list[Any]] = {
        "character model": [
            gatewise.Embedding(TOKENS, INPUTS, **own),
            gatewise.GRU(INPUTS, 9, 2, **own),
            gatewise.Dropout(0.3),
            gatewise.Linear(9, TOKENS, **own),
            gatewise.Softmax(),
        ],
        "tokens without a table": [
            gatewise.LSTM(TOKENS, 9, tokens=True, **own),
            gatewise.Linear(9, 2, **own),
        ],
        "nested": [
            gatewise.Linear(INPUTS, 8, **own),
            gatewise.ReLU(),
            gatewise.Sequential(
                gatewise.LSTM(8, 9, 2, proj_size=4, peepholes=True, **own),
                gatewise.Sequential(gatewise.Tanh(), gatewise.RNN(4, 6, **own)),
            ),
            gatewise.Linear(6, 3, **own),
            gatewise.Sigmoid(),
        ],
        "zoneout": [
            gatewise.LSTM(INPUTS, 9, zoneout=0.2, cell_zoneout=0.3, **own),
            gatewise.Linear(9, 3, **own),
        ],
        "two dtypes": [
            gatewise.GRU(INPUTS, 9, **own),
            gatewise.Linear(9, 3, dtype="float64" if dtype == "float32" else "float32"),
        ],
        "no state": [gatewise.Linear(INPUTS, 8, **own), gatewise.Tanh()],
        "only activations": [gatewise.Tanh(), gatewise.Dropout(0.5)],
    }
    return gatewise.Sequential(*layers[which])


NETS = [
    "character model",
    "tokens without a table",
    "nested",
    "zoneout",
    "two dtypes",
    "no state",
    "only activations",
]
with_state = pytest.mark.parametrize("which", NETS[:5])
every_net = pytest.mark.parametrize("which", NETS)


def takes_tokens(which: str) -> bool:
    return which in NETS[:2]


def draw(which: str, batch: int, time: int, dtype: str = "float32") -> Array:
    random = np.random.default_rng(0)
    if takes_tokens(which):
        return random.integers(0, TOKENS, (batch, time))
    return random.standard_normal((batch, time, INPUTS)).astype(dtype)


def arrays(state: Any) -> list[Array]:
    if isinstance(state, tuple):
        return [array for part in state for array in arrays(part)]
    return [] if state is None else [state]


def assert_same(found: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Arrays, or states in the same form."""
    if isinstance(expected, tuple):
        assert isinstance(found, tuple)
        for part, other in zip(found, expected, strict=True):
            assert_same(part, other, tolerance)
    elif expected is None:
        assert found is None
    else:
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@every_net
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_streamed_chunked_and_whole(
    which: str, batch: int, dtype: str, backend: str
) -> None:
    model, x = net(which, dtype), draw(which, batch, 9, dtype)
    y, state = model(x)
    stream = model.stream(batch)
    steps = [stream(x[:, t]).copy() for t in range(9)]
    assert_same(np.stack(steps, axis=1), y)
    assert_same(stream.state, state)
    stream.reset()
    parts = [stream(x[:, :4]), stream(x[:, 4])[:, None].copy(), stream(x[:, 5:])]
    assert_same(np.concatenate(parts, axis=1), y)
    assert_same(stream.state, state)
    if batch == 1:
        stream.reset()
        assert_same(np.stack([stream(step).copy() for step in x[0]]), y[0])
        if takes_tokens(which):
            stream.reset()
            tokens = [int(x[0, 0]), x[0, 1], np.array(x[0, 2]), np.uint8(x[0, 3])]
            assert_same(np.stack([stream(token).copy() for token in tokens]), y[0, :4])


@every_net
def test_what_is_converted(which: str, backend: str) -> None:
    model, x = net(which), draw(which, 3, 4)
    expected, _ = model(x)
    forms: list[Any] = [x.tolist(), x.astype(x.dtype.newbyteorder()), np.repeat(x, 2)[::2]]
    forms[2] = forms[2].reshape(x.shape)
    if takes_tokens(which):
        forms += [x.astype("int16"), x.astype("uint64")]
    else:
        forms += [x.astype("float64"), np.asfortranarray(x), np.repeat(x, 2, 2)[..., ::2]]
    for form in forms:
        stream = model.stream(3)
        whole = stream(form)
        np.testing.assert_allclose(whole, expected, rtol=0, atol=1e-6)
        stream.reset()
        rows = form if isinstance(form, np.ndarray) else np.asarray(form)
        steps = [
            stream(rows[:, t] if form is rows else rows[:, t].tolist()).copy()
            for t in range(4)
        ]
        np.testing.assert_allclose(np.stack(steps, 1), expected, rtol=0, atol=1e-6)


@with_state
@pytest.mark.parametrize("batch", [1, 3])
def test_states_of_streams_and_calls_are_of_one_form(
    which: str, batch: int, backend: str
) -> None:
    model, x = net(which), draw(which, batch, 6)
    whole, final = model(x)
    _, middle = model(x[:, :2])
    stream = model.stream(batch)
    assert_same(stream.state, model(x[:, :0])[1])
    stream.reset(middle)
    assert_same(stream.state, middle)
    assert not any(
        np.shares_memory(a, b)
        for a, b in zip(arrays(stream.state), arrays(middle), strict=True)
    )
    assert_same(stream(x[:, 2:]), whole[:, 2:])
    assert_same(stream.state, final)
    stream.reset(list(middle))
    assert_same(stream(x[:, 2:]), whole[:, 2:])
    stream.reset()
    assert_same(stream.state, model(x[:, :0])[1])


@with_state
def test_a_stream_of_one_takes_the_state_of_a_call_without_a_batch(
    which: str, backend: str
) -> None:
    model, x = net(which), draw(which, 1, 6)
    whole, final = model(x)
    _, middle = model(x[0, :2])
    stream = model.stream()
    stream.reset(middle)
    assert_same(stream(x[:, 2:]), whole[:, 2:])
    assert_same(stream.state, final)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layers_stream_takes_the_state_of_a_call_without_a_batch(
    kind: str, backend: str
) -> None:
    layer = getattr(gatewise, kind)(INPUTS, 9, 2, seed=0)
    x = draw("nested", 1, 6)
    whole, final = layer(x)
    _, middle = layer(x[0, :2])
    stream = layer.stream()
    stream.reset(middle)
    assert_same(stream(x[:, 2:]), whole[:, 2:])
    assert_same(stream.state, final)
    with pytest.raises(ValueError, match=r"should have shape \(2, 3, 9\), got \(2, 9\)"):
        layer.stream(batch=3).reset(middle)


WRONG_STATES: list[tuple[Any, type[Exception], str]] = [
    (
        np.zeros((2, 1, 9)),
        TypeError,
        "state should be a tuple with one entry for each layer",
    ),
    ((None, None), ValueError, "state should have 5 entries, one for each layer, got 2"),
    (
        (None, np.zeros((1, 1, 9)), None, None, None),
        ValueError,
        r"state\[1\] should have shape \(2, 1, 9\), got \(1, 1, 9\)",
    ),
    (
        (None, np.zeros((2, 8)), None, None, None),
        ValueError,
        r"state\[1\] should have shape \(2, 9\), got \(2, 8\)",
    ),
]


@pytest.mark.parametrize(("state", "error", "message"), WRONG_STATES)
def test_a_wrong_state_is_named_and_changes_nothing(
    state: Any, error: type[Exception], message: str, backend: str
) -> None:
    stream = net("character model").stream()
    stream(3)
    before = stream.state
    with pytest.raises(error, match=f"^{message}"):
        stream.reset(state)
    assert_same(stream.state, before, 0)


@with_state
def test_copies_go_their_own_ways(which: str, backend: str) -> None:
    model, x = net(which), draw(which, 3, 4)
    stream = model.stream(3)
    stream(x[:, :2])
    twins = [
        stream.copy(),
        copy.copy(stream),
        copy.deepcopy(stream),
        pickle.loads(pickle.dumps(stream)),
    ]
    before = stream.state
    expected = stream(x[:, 2]).copy()
    moved = stream.state
    for twin in twins:
        assert_same(twin.state, before, 0)
        assert_same(twin(x[:, 2]), expected, 0)
        assert_same(twin.state, moved, 0)
        twin(x[:, 3])
    assert_same(stream.state, moved, 0)


def test_changes_of_any_layer_take_effect_at_the_next_step(backend: str) -> None:
    model, x = net("nested"), draw("nested", 1, 6)
    stream = model.stream()
    recurrent: Any = model.layers[2]
    changes = [
        lambda: model.set_parameters({"0.bias": np.full(8, 0.5)}),
        lambda: recurrent.layers[0].set_parameters({"weight_hh_l1": np.ones((36, 4))}),
        lambda: setattr(recurrent.layers[0], "zoneout", 0.5),
        lambda: setattr(recurrent.layers[1].layers[1], "zoneout", 0.25),
        lambda: setattr(recurrent.layers[0], "zoneout", 0.0),
    ]
    for step, change in zip(x[0], changes, strict=False):
        stream(step)
        before = stream.state
        change()
        for given in (step[None, None], step):
            y, after = model(step[None, None], before)
            stream.reset(before)
            found = stream(given)
            assert_same(found.reshape(1, 1, 3), y)
            assert_same(stream.state, after)


def test_streams_follow_the_backend() -> None:
    pytest.importorskip("gatewise.kernels.native.compiled")
    model, x = net("character model"), draw("character model", 1, 4)
    expected, _ = model(x)
    stream = model.stream()
    for t, name in enumerate(["numpy", "native", "numpy", "native"]):
        with chooser.use(name):
            assert_same(stream(x[0, t]), expected[0, t])


def test_bidirectional_layers_are_named(backend: str) -> None:
    two_ways = gatewise.GRU(INPUTS, 4, bidirectional=True)
    inner = gatewise.Sequential(gatewise.Tanh(), two_ways)
    model = gatewise.Sequential(gatewise.Linear(3, INPUTS), inner)
    message = (
        "a bidirectional layer cannot stream, as one direction starts at the end; "
        "got layers[1].layers[1], GRU(5, 4, bidirectional=True)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        model.stream()


WRONG_STEPS: list[tuple[str, Any, type[Exception], str]] = [
    ("character model", TOKENS, ValueError, "x should hold tokens from 0 to 6, got 7"),
    ("character model", -1, ValueError, "x should hold tokens from 0 to 6, got -1"),
    ("character model", [[1, 9]], ValueError, "x should hold tokens from 0 to 6, got 9"),
    ("character model", 2**70, TypeError, "x should hold integers"),
    ("character model", 1.5, TypeError, "x should hold integers, got dtype float64"),
    ("character model", True, TypeError, "x should hold integers, got dtype bool"),
    ("character model", [1, 2], ValueError, r"x should have shape \(1,\) or \(1, time\)"),
    ("tokens without a table", 9, ValueError, "x should hold tokens from 0 to 6, got 9"),
    (
        "nested",
        np.zeros(4),
        ValueError,
        r"x should have shape \(1, 5\) or \(1, time, 5\), got \(4,\)",
    ),
    ("nested", 3, ValueError, r"x should have shape \(1, 5\) or \(1, time, 5\), got \(\)"),
    ("nested", "x", TypeError, "x should hold real numbers"),
    (
        "only activations",
        3.0,
        ValueError,
        r"x should have shape \(1, features\) or \(1, time, features\), got \(\)",
    ),
]


@pytest.mark.parametrize(("which", "x", "error", "message"), WRONG_STEPS)
def test_a_refused_step_changes_nothing(
    which: str, x: Any, error: type[Exception], message: str, backend: str
) -> None:
    stream = net(which).stream()
    stream(draw(which, 1, 1)[:, 0])
    before = stream.state
    with pytest.raises(error, match=f"^{message}"):
        stream(x)
    assert_same(stream.state, before, 0)


def test_a_stream_takes_its_own_output_and_steps_allocate_nothing(backend: str) -> None:
    layers = [
        gatewise.GRU(64, 64, seed=0),
        gatewise.Linear(64, 64, seed=0),
        gatewise.Tanh(),
    ]
    model = gatewise.Sequential(*layers)
    own, apart = model.stream(8), model.stream(8)
    y = other = np.ones((8, 64), np.float32)
    for _ in range(3):
        y, other = own(y), apart(other.copy())
        np.testing.assert_array_equal(y, other)
    x = np.ones((8, 64), np.float32)
    tracemalloc.start()
    try:
        own(x)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            own(x)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1000
    if backend == "native":
        assert peak - before < 8 * 64 * 4


@pytest.mark.parametrize("weight_format", ["float16", "bfloat16", "int8"])
@pytest.mark.parametrize("which", ["character model", "tokens without a table", "nested"])
def test_quantized(which: str, weight_format: str, backend: str) -> None:
    model, x = net(which), draw(which, 2, 6)
    narrow = model.quantize(weight_format)
    y, state = narrow(x)
    np.testing.assert_allclose(y, model(x)[0], rtol=0, atol=0.05)
    stream = narrow.stream(2)
    assert_same(np.stack([stream(x[:, t]).copy() for t in range(6)], axis=1), y, 1e-5)
    assert_same(stream.state, state, 1e-5)
    twin = pickle.loads(pickle.dumps(narrow))
    assert_same(twin(x), (y, state), 0)
    assert repr(twin) == repr(narrow)
    assert f"weight_format='{weight_format}'" in repr(narrow)
    other = net(which).quantize(weight_format)
    other.load_state_dict(narrow.state_dict())
    assert_same(other(x), (y, state), 0)
    # The copy has layers of its own.
    model.set_parameters({name: 0 * a for name, a in model.parameters().items()})
    assert_same(narrow(x), (y, state), 0)
    with pytest.raises(
        TypeError, match="is for inference only; train the layer that it was"
    ):
        narrow.forward(x)
    with pytest.raises(TypeError, match="is quantized already"):
        narrow.quantize(weight_format)


def test_a_layer_in_two_places_stays_one_when_quantized(backend: str) -> None:
    gru, linear = gatewise.GRU(4, 4, seed=0), gatewise.Linear(4, 4, seed=0)
    inner = gatewise.Sequential(linear, gru)
    narrow = gatewise.Sequential(gru, linear, inner).quantize("float16")
    copied: Any = narrow.layers[2]
    assert copied.layers == (narrow.layers[1], narrow.layers[0])


def test_what_cannot_be_quantized(backend: str) -> None:
    with pytest.raises(ValueError, match="quantize should find a recurrent layer"):
        gatewise.Sequential(gatewise.Linear(2, 2), gatewise.Tanh()).quantize("int8")
    with pytest.raises(
        ValueError, match="weight_format should be one of float16, bfloat16, int8"
    ):
        net("nested").quantize("int4")
    with pytest.raises(ValueError, match="only layers of float32 can be quantized"):
        net("nested", "float64").quantize("int8")


def test_the_layers_of_a_net_are_at_hand(backend: str) -> None:
    gru, linear = gatewise.GRU(3, 4), gatewise.Linear(4, 2)
    model = gatewise.Sequential(gru, gatewise.Tanh(), linear)
    assert model[0] is gru
    assert model[-1] is linear
    assert len(model) == 3
    assert list(model) == list(model.layers)
    with pytest.raises(IndexError):
        model[3]
    part = model[:2]
    assert isinstance(part, gatewise.Sequential)
    # The same layers, whose changes both see.
    model[0].initial_state = np.ones((1, 4))
    x = np.ones((2, 5, 3), np.float32)
    assert (part(x)[0] == model[1](gru(x)[0])).all()
    with pytest.raises(ValueError, match="layers should be at least one layer, got none"):
        model[3:]


def test_a_copy_leaves_no_ids_of_what_is_gone() -> None:
    memo: dict[int, Any] = {}
    model = net("nested")
    copy.deepcopy({"model": model, "again": model}, memo)
    kept = memo.pop(id(memo))
    # Another object may get the id of one that is not kept, and be taken for it.
    assert memo.keys() <= {id(each) for each in kept}
