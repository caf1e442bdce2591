"""What recurrent layers start from where they are given no state."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import gatewise
from tests.layers.initial_state_cases import (
    FORMS,
    check_same,
    drawn,
    everywhere,
    inputs,
    like,
    made,
    repeated,
    tuple_of,
)


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
