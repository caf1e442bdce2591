"""The initial state of recurrent layers as parameters, which change in one step."""

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
from tests.layers.initial_state_cases import (
    check_same,
    drawn,
    everywhere,
    like,
    made,
    repeated,
    shapes,
    tuple_of,
)
from tests.stress_parameters import Interrupted, raise_before


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
