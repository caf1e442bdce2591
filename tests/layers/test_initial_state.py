"""What recurrent layers start from where they are given no state."""

from __future__ import annotations

import copy
import itertools
import pickle
import sys
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.layers import parameters
from tests.stress_parameters import Interrupted, raise_before

RAGGED = [3, 0, 5, 3]
LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"num_layers": 2, "zoneout": 0.25}),
    ("LSTM", {}),
    ("LSTM", {"num_layers": 2, "proj_size": 2, "peepholes": True, "cell_zoneout": 0.25}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
    ("GRU", {"num_layers": 2, "bidirectional": True}),
    ("GRU", {"reset_after": False, "bias": False}),
]
everywhere = pytest.mark.parametrize(("kind", "options"), LAYERS, ids=str)
FORMS = ["plain", "ragged", "one", "tokens"]


def made(kind: str, options: dict[str, Any], **more: Any) -> Any:
    return getattr(gatewise, kind)(3, 4, **options, **more, seed=1)


def shapes(layer: Any) -> list[tuple[int, int]]:
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = [layer.output_size, layer.hidden_size]
    return [(count, size) for size in sizes[: 1 + isinstance(layer, gatewise.LSTM)]]


def drawn(layer: Any, seed: int = 3) -> Any:
    """An initial state for a layer, in the form in which it is set."""
    generator = np.random.default_rng(seed)
    parts = [generator.standard_normal(shape) for shape in shapes(layer)]
    return tuple(parts) if len(parts) > 1 else parts[0]


def tuple_of(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def like(state: Any, parts: list[Any]) -> Any:
    return tuple(parts) if isinstance(state, tuple) else parts[0]


def repeated(state: Any, batch: int | None) -> Any:
    """The state of a batch whose sequences all start so."""
    if batch is None:
        return state
    return like(state, [np.repeat(part[:, None], batch, 1) for part in tuple_of(state)])


def inputs(layer: Any, form: str) -> tuple[Any, int | None, dict[str, Any]]:
    """The input of a form, how many sequences it has, and the further arguments."""
    generator = np.random.default_rng(5)
    x: Any = generator.standard_normal((4, 5, 3))
    if form == "one":
        return x[0], None, {}
    if form == "tokens":
        x = generator.integers(3, size=(4, 5))
    return x, 4, {"lengths": RAGGED} if form == "ragged" else {}


def check_same(found: Any, expected: Any) -> None:
    """Compare arrays, in tuples and dictionaries, bit for bit."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, tuple | list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_same(one, other)
    elif expected is not None:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
@everywhere
def test_the_same_bits_as_with_the_state_given(
    kind: str, options: dict[str, Any], form: str, dtype: str, backend: str
) -> None:
    layer = made(kind, options, dtype=dtype, tokens=form == "tokens")
    plain = copy.copy(layer)
    x, batch, more = inputs(layer, form)
    start = drawn(layer)
    layer.initial_state = start
    state = repeated(start, batch)
    assert not np.array_equal(layer(x, **more)[0], plain(x, **more)[0])
    check_same(layer(x, **more), plain(x, state, **more))
    check_same(layer(x, repeated(start, batch), **more), plain(x, state, **more))
    if kind == "LSTM":
        expected = plain(x, state, **more, return_cells=True)
        check_same(layer(x, **more, return_cells=True), expected)
        for given in ((None, state[1]), [state[0], None], (None, None)):
            check_same(layer(x, given, **more, return_cells=True), expected)
        # Each part stands in for what is missing of it, and for nothing else.
        other = repeated(drawn(layer, 4), batch)
        check_same(
            layer(x, (other[0], None), **more), plain(x, (other[0], state[1]), **more)
        )
    # What is drawn is drawn from the same generator in the same order.
    y, final, tape = layer.forward(x, **more)
    expected_y, expected_final, expected_tape = plain.forward(x, state, **more)
    check_same((y, final), (expected_y, expected_final))
    dy = np.random.default_rng(6).standard_normal(y.shape)
    dx, dstate, gradients = layer.backward(tape, dy, final)
    expected = plain.backward(expected_tape, dy, final)
    check_same((dx, dstate, gradients), expected)


@pytest.mark.parametrize("batch", [1, 3])
@everywhere
def test_streams_start_from_it(
    kind: str, options: dict[str, Any], batch: int, backend: str
) -> None:
    if options.get("bidirectional"):
        options = options | {"bidirectional": False}
    layer = made(kind, options)
    start = drawn(layer)
    layer.initial_state = start
    x = np.float32(np.random.default_rng(5).standard_normal((batch, 6, 3)))
    expected, final = layer(x)
    stream = layer.stream(batch)
    check_same(
        stream.state, like(start, [np.float32(p) for p in tuple_of(repeated(start, batch))])
    )
    for _ in range(2):
        steps = [stream(x[:, i]).copy() for i in range(6)]
        check_same(np.stack(steps, 1), expected)
        check_same(stream.state, final)
        stream.reset()
        check_same(stream(x), expected)
        stream.reset()
    # A stream that is under way stays where it is; the next start is the new one.
    stream(x)
    layer.initial_state = like(start, [2 * part for part in tuple_of(start)])
    check_same(stream.state, final)
    check_same(stream(x), layer(x, final)[0])
    stream.reset()
    check_same(stream(x), layer(x)[0])
    layer.initial_state = None
    stream.reset()
    assert not any(part.any() for part in tuple_of(stream.state))


def test_a_net_starts_its_layers_from_theirs(backend: str) -> None:
    def net() -> Any:
        shared = gatewise.GRU(4, 4, seed=2)
        return gatewise.Sequential(
            gatewise.LSTM(3, 4, seed=1), shared, gatewise.Linear(4, 4, seed=0), shared
        )

    model, plain = net(), net()
    x = np.float32(np.random.default_rng(5).standard_normal((2, 5, 3)))
    starts = [drawn(layer) for layer in model.layers[:2]]
    model.layers[0].initial_state, model.layers[1].initial_state = starts
    lstm, gru = (repeated(start, 2) for start in starts)
    expected = plain(x, (lstm, gru, None, gru))
    for state in (
        None,
        (None,) * 4,
        (lstm, None, None, None),
        ((None, lstm[1]), gru, None, gru),
    ):
        check_same(model(x, state), expected)
    stream = model.stream(2)
    check_same(np.stack([stream(x[:, i]).copy() for i in range(5)], 1), expected[0])
    names = list(model.parameters())
    assert [name for name in names if "initial" in name] == [
        "0.initial_h",
        "0.initial_c",
        "1.initial_h",
    ]
    assert "3.initial_h" not in names
    assert model.parameter_count == plain.parameter_count + 12
    loaded = net()
    with pytest.raises(
        ValueError, match=r"unexpected 0.initial_h, 0.initial_c, 1.initial_h"
    ):
        loaded.load_state_dict(model.state_dict())
    for layer, start in zip(loaded.layers, starts, strict=False):
        layer.initial_state = (
            np.zeros_like(start) if isinstance(layer, gatewise.GRU) else start
        )
    loaded.load_state_dict(model.state_dict())
    check_same(loaded(x), expected)


@pytest.mark.parametrize("form", FORMS)
@everywhere
def test_gradients_of_a_learnt_start(
    kind: str, options: dict[str, Any], form: str, backend: str
) -> None:
    layer = made(
        kind, options, dtype="float64", tokens=form == "tokens", learn_initial_state=True
    )
    assert not any(part.any() for part in tuple_of(layer.initial_state))
    start = drawn(layer)
    layer.initial_state = start
    names = [n for n in layer.parameters() if n.startswith("initial")]
    assert names == ["initial_h", "initial_c"][: len(names)]
    x, batch, more = inputs(layer, form)
    generator = np.random.default_rng(7)

    def forward(state: Any = None) -> Any:
        layer.generator = np.random.default_rng(11)
        return layer.forward(x, state, **more)

    y, final, tape = forward()
    dy = generator.standard_normal(y.shape)
    dfinal = [generator.standard_normal(part.shape) for part in tuple_of(final)]

    def loss() -> float:
        y, final, _ = forward()
        parts = zip(tuple_of(final), dfinal, strict=True)
        return float((y * dy).sum() + sum((part * dpart).sum() for part, dpart in parts))

    _, dstate, gradients = layer.backward(tape, dy, like(final, dfinal))
    assert list(gradients) == list(layer.parameters())
    for name, part, dpart in zip(names, tuple_of(start), tuple_of(dstate), strict=True):
        assert gradients[name].shape == part.shape
        total = dpart if batch is None else dpart.sum(axis=1)
        np.testing.assert_allclose(gradients[name], total, rtol=1e-13, atol=1e-13)
        direction, step = generator.standard_normal(part.shape), 1e-6
        losses = []
        for sign in (1, -1):
            layer.set_parameters({name: part + sign * step * direction})
            losses.append(loss())
        layer.set_parameters({name: part})
        slope = (losses[0] - losses[1]) / (2 * step)
        size = np.abs(gradients[name] * direction).sum()
        assert abs((gradients[name] * direction).sum() - slope) <= 1e-7 * (1 + size)
    # Of a state that was given the parameters have no share.
    _, _, tape = forward(repeated(start, batch))
    _, given_dstate, gradients = layer.backward(tape, dy, like(final, dfinal))
    check_same(given_dstate, dstate)
    assert list(gradients) == list(layer.parameters())
    assert not any(gradients[name].any() for name in names)
    if kind == "LSTM":
        h, c = repeated(start, batch)
        for state, name in (((None, c), "initial_h"), ((h, None), "initial_c")):
            gradients = layer.backward(forward(state)[2], dy, like(final, dfinal))[-1]
            assert [n for n in names if gradients[n].any()] == [name]


def test_what_is_not_learnt_has_no_gradient_and_does_not_change(backend: str) -> None:
    x = np.float32(np.random.default_rng(5).standard_normal((2, 5, 3)))
    for learns in (False, True):
        layer = gatewise.LSTM(3, 4, learn_initial_state=learns, seed=0)
        layer.initial_state = drawn(layer)
        head = gatewise.Linear(4, 1, seed=0)
        model = gatewise.Sequential(layer, head)
        before = model.state_dict()
        optimizer = gatewise.Adam()
        for _ in range(3):
            y, _, tape = model.forward(x)
            gradients = model.backward(tape, np.ones_like(y))[-1]
            assert ("0.initial_h" in gradients) == ("0.initial_c" in gradients) == learns
            gatewise.clip_grad_norm(gradients, 1.0)
            optimizer.step(model, gradients)
        after = model.state_dict()
        for name in before:
            same = np.array_equal(before[name], after[name])
            assert same == ("initial" in name and not learns), name
        optimizer.check_state(optimizer.state_dict(), model.parameters())


@pytest.mark.parametrize("learns", [False, True])
def test_training_goes_on_from_a_checkpoint(
    learns: bool, tmp_path: Any, backend: str
) -> None:
    generator = np.random.default_rng(5)
    batches = [
        (generator.standard_normal((2, 5, 3)), generator.standard_normal((2, 5, 4)))
        for _ in range(3)
    ]

    def train(epochs: int) -> Any:
        model = gatewise.GRU(3, 4, learn_initial_state=learns, seed=0)
        model.initial_state = drawn(model)
        gatewise.fit(
            model,
            batches,
            gatewise.mse,
            gatewise.Adam(),
            epochs=epochs,
            checkpoint=tmp_path / "training.npz",
        )
        return model

    whole = train(4).state_dict()
    (tmp_path / "training.npz").unlink()
    train(2)
    check_same(train(4).state_dict(), whole)
    model = gatewise.GRU(3, 4, seed=0)
    model.initial_state = drawn(model)
    assert np.array_equal(whole["initial_h"], model.initial_state) != learns


@everywhere
def test_it_is_a_parameter(kind: str, options: dict[str, Any]) -> None:
    layer = made(kind, options)
    assert layer.initial_state is None
    plain_names, plain_count = list(layer.parameters()), layer.parameter_count
    start = drawn(layer)
    layer.initial_state = start
    names = ["initial_h", "initial_c"][: len(tuple_of(start))]
    assert list(layer.parameters()) == list(layer.state_dict()) == [*plain_names, *names]
    more = sum(part.size for part in tuple_of(start))
    assert layer.parameter_count == plain_count + more
    assert repr(layer).endswith(f"with {plain_count + more} parameters")
    for part, name, shape in zip(
        tuple_of(layer.initial_state), names, shapes(layer), strict=True
    ):
        assert part.shape == shape
        assert part.dtype == np.float32
        assert not part.flags.writeable
        np.testing.assert_array_equal(part, layer.parameters()[name])
    kept = layer.state_dict()
    for part in tuple_of(start):
        part[...] = np.nan
    check_same(layer.state_dict(), kept)
    copies = [copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    for other in copies:
        check_same(other.state_dict(), kept)
        other.initial_state = None
    check_same(layer.state_dict(), kept)
    layer.set_parameters({name: kept[name] + 1 for name in names})
    check_same(layer.initial_state, like(start, [kept[name] + 1 for name in names]))
    layer.load_state_dict(kept)
    layer.initial_state = None
    assert layer.initial_state is None
    assert list(layer.parameters()) == plain_names
    layer.initial_state = None


@pytest.mark.parametrize("weight_format", ["float16", "int8"])
@everywhere
def test_it_stays_as_it_is_when_weights_become_narrow(
    kind: str, options: dict[str, Any], weight_format: str, backend: str
) -> None:
    layer = made(kind, options)
    layer.initial_state = start = drawn(layer)
    narrow = layer.quantize(weight_format)
    check_same(narrow.initial_state, layer.initial_state)
    x = np.float32(np.random.default_rng(5).standard_normal((2, 5, 3)))
    plain = made(kind, options).quantize(weight_format)
    check_same(narrow(x), plain(x, repeated(start, 2)))
    plain.initial_state = start
    check_same(narrow(x), plain(x))
    plain.initial_state = None
    plain.initial_state = like(start, [part * 0 for part in tuple_of(start)])
    plain.load_state_dict(narrow.state_dict())
    check_same(narrow(x), plain(x))


def test_a_tape_from_before_is_out_of_date(backend: str) -> None:
    layer = gatewise.GRU(3, 4, seed=0)
    x = np.ones((2, 5, 3), np.float32)
    for value in (np.ones((1, 4)), np.zeros((1, 4)), None):
        y, _, tape = layer.forward(x)
        layer.initial_state = value
        with pytest.raises(RuntimeError, match="before a change"):
            layer.backward(tape, y)


def test_what_is_refused_changes_nothing() -> None:
    gru, lstm = gatewise.GRU(3, 4, 2, seed=0), gatewise.LSTM(3, 4, proj_size=2, seed=0)
    for layer in (gru, lstm):
        layer.initial_state = drawn(layer)
    h, c = drawn(lstm)
    for layer, value, error, text in [
        (
            gru,
            np.zeros((1, 4)),
            ValueError,
            r"initial_state should have shape \(2, 4\), got",
        ),
        (
            gru,
            np.zeros((2, 1, 4)),
            ValueError,
            r"should have shape \(2, 4\), got \(2, 1, 4\)",
        ),
        (gru, 0, ValueError, r"should have shape \(2, 4\), got \(\)"),
        (gru, "x", TypeError, "initial_state should hold real numbers"),
        (gru, np.zeros((2, 4), complex), TypeError, "should hold real numbers"),
        (
            lstm,
            h,
            TypeError,
            r"initial_state should be a pair \(h, c\) of arrays, got an array",
        ),
        (lstm, (h,), TypeError, "should be a pair"),
        (lstm, (h, None), TypeError, r"initial_state\[1\] should be an array, got None"),
        (lstm, (c, h), ValueError, r"initial_state\[0\] should have shape \(1, 2\)"),
        (lstm, (h, h), ValueError, r"initial_state\[1\] should have shape \(1, 4\)"),
    ]:
        before = layer.state_dict()
        with pytest.raises(error, match=text):
            layer.initial_state = value
        check_same(layer.state_dict(), before)
    learns = gatewise.GRU(3, 4, learn_initial_state=True)
    with pytest.raises(
        ValueError, match=r"should be arrays .* learn_initial_state=True, got"
    ):
        learns.initial_state = None
    assert "initial_h" in learns.parameters()
    with pytest.raises(TypeError, match="learn_initial_state should be True or False"):
        gatewise.GRU(3, 4, learn_initial_state=1)
    with pytest.raises(AttributeError, match="learn_initial_state is fixed"):
        learns.learn_initial_state = False


def test_parts_never_come_or_go_alone() -> None:
    layer = gatewise.LSTM(3, 4, seed=0)
    layer.initial_state = drawn(layer)
    snapshot = layer._snapshot()
    values = {"initial_h": np.float32(drawn(layer)[0])}
    layer.initial_state = None
    # As if another thread had taken them away after they were looked at.
    with pytest.raises(ValueError, match="initial_h, taken away meanwhile"):
        layer._write(values, snapshot)
    assert "initial_h" not in layer.parameters()
    with pytest.raises(ValueError, match="unexpected initial_h"):
        layer.set_parameters(values)


def check_interrupted(layer: Any, before: Any, after: Any, function: str) -> None:
    """Set the one and then, with an interrupt at every instruction, the other."""
    for count in itertools.count():
        layer.initial_state = before
        trace = sys.gettrace()
        sys.settrace(raise_before(count, function))
        try:
            layer.initial_state = after
        except Interrupted:
            pass
        else:
            break
        finally:
            sys.settrace(trace)
        found = layer.initial_state
        assert any(
            found is None
            if value is None
            else found is not None and all(map(np.array_equal, found, value))
            for value in (before, after)
        )
    assert count > 20


def test_an_interrupt_anywhere_leaves_both_parts_or_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What an exception at the wrong instruction leaves behind heals after some seconds.
    monkeypatch.setattr(parameters, "_PATIENCE", 0.01)
    layer = gatewise.LSTM(3, 4, seed=0)
    one = np.float32([[1, 2, 3, 4]]), np.float32([[5, 6, 7, 8]])
    for before, after in itertools.permutations([None, one, one[::-1]], 2):
        for function in ("change", "initial_state"):
            check_interrupted(layer, before, after, function)
