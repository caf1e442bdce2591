"""What a stream asks of a layer: any other that answers streams too."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.layers import Stateful, Stream, streamable
from gatewise.layers.parameters import Snapshot
from gatewise.layers.streamable import Steps

Array = np.ndarray[Any, Any]


class Sums:
    """Adds up a feature, times a factor: the four methods and nothing else."""

    factor = 1.0

    def _stream_check(self) -> None:
        if self.factor < 0:
            raise ValueError("sums that fall cannot stream")

    def _stream_state(self, name: str, state: Any, batch: int) -> Array:
        own = np.zeros((batch, 1))
        if state is not None:
            own[...] = state
        return own

    def _stream_input(self, array: Array) -> Array:
        return np.asarray(array, np.float64)

    def _stream_steps(self, state: Any) -> Steps:
        def run(x: Array, state: Array, num_threads: int | None) -> tuple[Array, Array]:
            y = state[:, None] + self.factor * np.cumsum(x, axis=1)
            return y, y[:, -1]

        return Steps((), 1, run, None, None)


class Delay(Stateful):
    """A layer of a user's own: each output is the input of the step before."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def _features(self) -> tuple[int, int]:
        return self.features, self.features

    def _stream_state(self, name: str, state: Any, batch: int) -> Array:
        own = np.zeros((batch, self.features), np.float32)
        if state is not None:
            own[...] = state
        return own

    def _call(
        self,
        snapshot: Snapshot,
        x: Any,
        state: Any,
        lengths: Any,
        resets: Any,
        threads: Any,
    ) -> Any:
        x = np.asarray(x, np.float32)
        begun = self._stream_state("state", state, len(x))
        longer = np.concatenate([begun[:, None], x], axis=1)
        return longer[:, :-1], longer[:, -1]

    def _forward(self, *arguments: Any) -> Any:
        raise NotImplementedError

    def backward(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError

    def _sizes(self) -> str:
        return f"{self.features}"


def test_four_methods_make_a_stream(backend: str) -> None:
    asked = {name for name in vars(streamable.Streamable) if name.startswith("_stream_")}
    assert asked == {name for name in vars(Sums) if name.startswith("_stream_")}
    stream = Stream(Sums())
    assert [float(stream([value])[0]) for value in (1.0, 2.0, 3.0)] == [1, 3, 6]
    assert stream(np.ones((1, 2, 1))).tolist() == [[[7], [8]]]
    twins = [stream.copy(), copy.copy(stream), pickle.loads(pickle.dumps(stream))]
    stream.reset(10)
    assert float(stream([1.0])[0]) == 11
    assert [float(twin([1.0])[0]) for twin in twins] == [9, 9, 9]
    with pytest.raises(ValueError, match=r"^x should have shape \(1, 1\) or "):
        stream([1.0, 2.0])
    falling = Sums()
    falling.factor = -1.0
    with pytest.raises(ValueError, match=r"^sums that fall cannot stream$"):
        Stream(falling)


def test_a_layer_of_a_users_own_streams_inside_a_net(backend: str) -> None:
    delay, gru = Delay(3), gatewise.GRU(3, 4, seed=0)
    model = gatewise.Sequential(delay, gru, gatewise.Linear(4, 2, seed=0))
    x = np.float32(np.random.default_rng(0).standard_normal((2, 5, 3)))
    y, state = model(x)
    stream = model.stream(2)
    steps = np.stack([stream(x[:, t]).copy() for t in range(5)], axis=1)
    np.testing.assert_allclose(steps, y, rtol=0, atol=1e-6)
    for part, other in zip(stream.state[:2], state[:2], strict=True):
        np.testing.assert_allclose(part, other, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(delay.stream(2)(x), delay(x)[0])


def test_a_step_that_could_not_be_made_is_tried_again(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = gatewise.GRU(3, 4, seed=0)
    x = np.ones((1, 3), np.float32)
    stream = layer.stream()
    stream(x)
    state = stream.state
    layer.set_parameters({"bias_ih_l0": np.ones(12)})
    with monkeypatch.context() as patch:

        def fail(*arguments: Any, **options: Any) -> None:
            raise MemoryError

        patch.setattr(gatewise.GRU, "_stages", fail)
        for _ in range(2):
            with pytest.raises(MemoryError):
                stream(x)
    np.testing.assert_array_equal(stream.state, state)
    wanted, _ = layer(x[:, None], state)
    np.testing.assert_allclose(stream(x), wanted[:, 0], rtol=0, atol=1e-6)
