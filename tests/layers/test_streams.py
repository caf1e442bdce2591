"""One sequence, however it is cut up or batched: streams, chunks, lengths, views."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.layers.sequences import Batch
from tests import layers_reference as reference

LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu", "num_layers": 2}),
    ("LSTM", {"num_layers": 3}),
    ("LSTM", {"proj_size": 3, "peepholes": True, "num_layers": 2}),
    ("GRU", {"num_layers": 2}),
    ("GRU", {"reset_after": False, "bias": False}),
    ("LSTM", {"zoneout": 0.1, "cell_zoneout": 0.4, "num_layers": 2}),
    ("GRU", {"zoneout": 0.1, "num_layers": 2}),
]
TOLERANCE = {"float32": 1e-6, "float64": 1e-13}


def make(kind: str, options: dict[str, Any], dtype: str = "float32") -> Any:
    return getattr(gatewise, kind)(5, 17, **options, dtype=dtype, seed=2)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.float32(np.random.default_rng(seed).standard_normal(shape))


def assert_same(found: Any, expected: Any, dtype: str = "float32") -> None:
    if isinstance(expected, tuple):
        for part, other in zip(found, expected, strict=True):
            assert_same(part, other, dtype)
        return
    assert found.dtype == dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("tokens", [False, True], ids=["features", "tokens"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("kind", "options"), LAYERS, ids=str)
def test_streamed_chunked_and_whole(
    kind: str, options: dict[str, Any], dtype: str, batch: int, tokens: bool, backend: str
) -> None:
    layer = make(kind, options | {"tokens": tokens}, dtype)
    x = draw(batch, 9, 5)
    if tokens:
        x = np.argmax(x, axis=2)
    y, state = layer(x)
    stream = layer.stream(batch)
    steps = [stream(x[:, t]).copy() for t in range(9)]
    assert_same(np.stack(steps, axis=1), y, dtype)
    assert_same(stream.state, state, dtype)

    stream.reset()
    chunks = [stream(x[:, :4]), stream(x[:, 4]).copy()[:, None], stream(x[:, 5:])]
    assert_same(np.concatenate(chunks, axis=1), y, dtype)
    assert_same(stream.state, state, dtype)

    first, carried = layer(x[:, :4])
    second, final = layer(x[:, 4:], carried)
    assert_same(np.concatenate([first, second], axis=1), y, dtype)
    assert_same(final, state, dtype)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("kind", "options"), LAYERS, ids=str)
def test_alone_and_in_a_ragged_batch(
    kind: str, options: dict[str, Any], dtype: str, bidirectional: bool, backend: str
) -> None:
    layer = make(kind, options | {"bidirectional": bidirectional}, dtype)
    lengths = [4, 7, 0, 4, 1, 7, 2]
    x = draw(7, 7, 5)
    _, shapes = layer(x)
    count = layer.num_layers * (1 + bidirectional)
    initial: Any = draw(count, 7, layer.output_size, seed=1)
    if kind == "LSTM":
        initial = (initial, draw(count, 7, 17, seed=2))
    y, state = layer(x, initial, lengths=lengths)
    assert_shapes(state, shapes)

    def pick(state: Any, at: Any) -> Any:
        return tuple(p[:, at] for p in state) if isinstance(state, tuple) else state[:, at]

    for s, length in enumerate(lengths):
        alone, final = layer(x[s, :length], pick(initial, s))
        assert_same(y[s, :length], alone, dtype)
        assert not y[s, length:].any()
        assert_same(pick(state, s), final, dtype)
    # A sequence without steps keeps what it began with.
    for part, begun in zip(tuple_of(state), tuple_of(initial), strict=True):
        np.testing.assert_array_equal(part[:, 2], begun[:, 2])


def tuple_of(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def assert_shapes(state: Any, like: Any) -> None:
    assert [part.shape for part in tuple_of(state)] == [
        part.shape for part in tuple_of(like)
    ]


def test_what_stands_past_a_length_is_never_read(backend: str) -> None:
    layer = gatewise.GRU(5, 17, 2, bidirectional=True, seed=0)
    x = draw(3, 6, 5)
    lengths = np.array([2, 6, 0])
    y, _, tape = layer.forward(x, lengths=lengths)
    dx, _, gradients = layer.backward(tape, np.ones_like(y))
    spoilt, dy = x.copy(), np.ones_like(y)
    for s, length in enumerate(lengths):
        spoilt[s, length:] = dy[s, length:] = np.nan
    again, _, tape = layer.forward(spoilt, lengths=lengths)
    np.testing.assert_array_equal(again, y)
    same_dx, _, same = layer.backward(tape, dy)
    np.testing.assert_array_equal(same_dx, dx)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(same[name], gradient)
    assert not dx[0, 2:].any()
    assert not dx[2].any()


def test_the_work_is_that_of_the_steps_that_exist(backend: str) -> None:
    layer = gatewise.LSTM(5, 17, 2, bidirectional=True, seed=0)
    lengths = [40, 1, 2, 0, 3]
    _, _, tape = layer.forward(draw(5, 40, 5), lengths=lengths)
    for tapes in tape.passed.tapes:
        for each in tapes:
            assert each.stretches[0].gates.shape == (1, sum(lengths), 4 * 17)


@pytest.mark.parametrize("lengths", [[0, 0, 0], [4, 4, 4]])
def test_lengths_that_are_all_alike(lengths: list[int], backend: str) -> None:
    layer = gatewise.LSTM(5, 17, 2, bidirectional=True, dtype="float64", seed=0)
    x, h, c = draw(3, 4, 5), draw(4, 3, 17, seed=1), draw(4, 3, 17, seed=2)
    y, state = layer(x, (h, c), lengths=lengths)
    if lengths[0]:
        assert_same((y, *state), (layer(x, (h, c))[0], *layer(x, (h, c))[1]), "float64")
    else:
        assert not y.any()
        np.testing.assert_array_equal(state, (h, c))
    trained, _, tape = layer.forward(x, (h, c), lengths=lengths)
    dx, dstate, gradients = layer.backward(tape, np.ones_like(trained), (h, c))
    if not lengths[0]:
        assert not dx.any()
        np.testing.assert_array_equal(dstate, (h, c))
        assert not any(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)], ids=str)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_no_sequences_and_no_steps(kind: str, shape: tuple[int, int], backend: str) -> None:
    layer = getattr(gatewise, kind)(5, 17, 2, bidirectional=True, tokens=True, seed=0)
    batch, time = shape
    x = np.zeros((*shape, 5), np.float32)
    h: Any = draw(4, batch, 17, seed=1)
    h = (h, h + 1) if kind == "LSTM" else h
    for given in (x, np.zeros(shape, int)):
        y, state = layer(given, h, lengths=[time] * batch)
        assert y.shape == (batch, time, 34)
        np.testing.assert_array_equal(state, h)
        trained, _, tape = layer.forward(given, h)
        assert trained.shape == y.shape
        dx, dstate, gradients = layer.backward(tape, np.zeros_like(y), h)
        assert dx is None or dx.shape == x.shape
        np.testing.assert_array_equal(dstate, h)
        assert {n: g.shape for n, g in gradients.items()} == {
            n: p.shape for n, p in layer.parameters().items()
        }
        assert not any(gradient.any() for gradient in gradients.values())
    if kind == "LSTM":
        _, _, cells = layer(x, return_cells=True)
        assert cells.shape == (4, batch, time, 17)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_one_sequence_without_a_batch_axis(kind: str, backend: str) -> None:
    options = {"bidirectional": True, "tokens": True, "dtype": "float64"}
    layer = getattr(gatewise, kind)(5, 17, 2, **options, seed=0)
    x = draw(6, 5)
    batched_y, batched_state = layer(x[None])
    y, state = layer(x)
    assert_same(y, batched_y[0], "float64")
    tupled = (state, batched_state) if kind == "LSTM" else ((state,), (batched_state,))
    for part, batched in zip(*tupled, strict=True):
        assert_same(part, batched[:, 0], "float64")
    again, _, tape = layer.forward(x, state)
    dx, dstate, _ = layer.backward(tape, again, state)
    assert dx.shape == x.shape
    assert_shapes(dstate, state)
    tokens = np.array([0, 4, 2])
    assert_same(layer(tokens)[0], layer(tokens[None])[0][0], "float64")
    if kind == "LSTM":
        assert layer(x, return_cells=True)[2].shape == (4, 6, 17)


def test_time_first_data_goes_in_without_a_copy(backend: str) -> None:
    time_first = draw(6, 4, 5)
    view = time_first.swapaxes(0, 1)
    layer = gatewise.GRU(5, 17, seed=0)
    assert np.shares_memory(Batch(view, 5, layer.dtype).rows, time_first)
    y, state, tape = layer.forward(view)
    assert np.shares_memory(tape.passed.tapes[0][0].stretches[0].x, time_first)
    expected, final = layer(np.ascontiguousarray(view))
    assert_same(y, expected)
    assert_same(layer(view), (expected, final))
    assert_same(state, final)
    dx = layer.backward(tape, np.ones_like(y))[0]
    again = layer.forward(np.ascontiguousarray(view))[2]
    assert_same(dx, layer.backward(again, np.ones_like(y))[0])


@pytest.mark.parametrize("form", ["reversed", "fortran", "strided", "swapped", "broadcast"])
def test_any_memory_order(form: str, backend: str) -> None:
    x = draw(3, 6, 5)
    given = {
        "reversed": x[::-1, ::-1],
        "fortran": np.asfortranarray(x),
        "strided": np.repeat(np.repeat(x, 2, axis=1), 2, axis=2)[:, ::2, ::2],
        "swapped": x.astype(x.dtype.newbyteorder()),
        "broadcast": np.broadcast_to(x[:1], x.shape),
    }[form]
    plain = np.array(given, np.float32, order="C")
    layer = gatewise.LSTM(5, 17, bidirectional=True, seed=0)
    given.flags.writeable = False
    assert_same(layer(given)[0], layer(plain)[0])
    y, _, tape = layer.forward(given)
    expected, _, plain_tape = layer.forward(plain)
    assert_same(y, expected)
    dx, dplain = (layer.backward(t, given[..., :1] + 0 * y)[0] for t in (tape, plain_tape))
    assert_same(dx, dplain)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64", "bool"])
def test_other_numbers_are_converted(dtype: str, backend: str) -> None:
    x = (draw(3, 6, 5) * 2).astype(dtype)
    layer = gatewise.GRU(5, 17, seed=0)
    assert_same(layer(x), layer(x.astype(np.float32)))


def test_nothing_given_is_written_to(backend: str) -> None:
    layer = gatewise.LSTM(5, 17, 2, bidirectional=True, seed=0)
    x, h, c, dy = draw(3, 6, 5), draw(4, 3, 17), draw(4, 3, 17, seed=1), draw(3, 6, 34)
    given = [x, h, c, dy]
    before = [array.copy() for array in given]
    for lengths in (None, [6, 1, 3]):
        layer(x, (h, c), lengths=lengths)
        y, final, tape = layer.forward(x, (h, c), lengths=lengths)
        layer.backward(tape, dy, (h, c))
        first = layer.backward(tape, dy, (h, c))
        assert_same(first[0], layer.backward(tape, dy, (h, c))[0])
        assert not any(np.shares_memory(part, h) for part in (y, *final))
    for array, old in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, old)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_sequence(
    kind: str, value: float, backend: str
) -> None:
    layer = getattr(gatewise, kind)(5, 17, seed=0)
    x = draw(3, 6, 5)
    expected, _ = layer(x)
    x[1, 3] = value
    y, _ = layer(x)
    np.testing.assert_array_equal(y[[0, 2]], expected[[0, 2]])
    np.testing.assert_array_equal(y[1, :3], expected[1, :3])
    if np.isnan(value):
        assert np.isnan(y[1, 3:]).all()


def test_a_step_is_overwritten_by_the_next_and_a_chunk_is_not(backend: str) -> None:
    stream = gatewise.LSTM(5, 17, 2, seed=0).stream()
    x = draw(4, 5)
    first = stream(x[0])
    kept = first.copy()
    second = stream(x[1])
    assert np.shares_memory(first, second)
    assert (first != kept).any()
    chunk = stream(x[None, 2:])
    kept = chunk.copy()
    stream(x[0])
    np.testing.assert_array_equal(chunk, kept)


def test_an_output_may_be_written_to(backend: str) -> None:
    layer = gatewise.LSTM(5, 17, 2, seed=0)
    x = draw(2, 5)
    expected = layer(x)[0][1]
    stream = layer.stream()
    stream(x[0])[...] = 99
    assert_same(stream(x[1]), expected)


def test_copies_of_a_stream_go_their_own_ways(backend: str) -> None:
    layer = gatewise.GRU(5, 17, 2, seed=0)
    x = draw(3, 5)
    stream = layer.stream()
    stream(x[0])
    twins = [
        stream.copy(),
        copy.copy(stream),
        copy.deepcopy(stream),
        pickle.loads(pickle.dumps(stream)),
    ]
    stream(x[1])
    moved = stream.state
    for twin in twins:
        assert (twin.state != moved).any()
        twin(x[1])
        np.testing.assert_array_equal(twin.state, moved)
        twin(x[2])
    np.testing.assert_array_equal(stream.state, moved)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_state_of_a_stream(kind: str, backend: str) -> None:
    layer = getattr(gatewise, kind)(5, 17, 2, seed=0)
    x = draw(3, 4, 5)
    stream = layer.stream(batch=3)
    assert_same(stream.state, layer(x[:, :0])[1])
    stream(x)
    after = stream.state
    stream(x)
    assert_same(after, layer(x)[1])
    stream.reset(after)
    assert_same(stream.state, after)
    assert_same(stream(x), layer(x, after)[0])
    stream.reset()
    assert_same(stream.state, layer(x[:, :0])[1])
    assert stream.batch == 3


def test_a_step_allocates_no_buffers(backend: str) -> None:
    layer = gatewise.LSTM(64, 256, 2, seed=0)
    stream = layer.stream(batch=8)
    x = draw(8, 64)
    stream(x)
    tracemalloc.start()
    try:
        stream(x)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            stream(x)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1000
    if backend == "native":
        # Less than one row of outputs; the fallback's products make temporary arrays.
        assert peak - before < 8 * 256 * 4


def test_calls_from_many_threads(backend: str) -> None:
    layer = gatewise.GRU(5, 17, 2, bidirectional=True, seed=0)
    inputs = [draw(3, 20, 5, seed=seed) for seed in range(16)]

    def work(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, _, tape = layer.forward(x)
        dx = layer.backward(tape, y)[0]
        return layer(x)[0], dx

    expected = [work(x) for x in inputs]
    for _ in range(5):
        # Forget what is prepared, so that the threads race to prepare it.
        layer.set_parameters({})
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(work, inputs))
        for results, others in zip(found, expected, strict=True):
            for array, other in zip(results, others, strict=True):
                np.testing.assert_array_equal(array, other)


def test_values_of_a_long_stream_stay_right(backend: str) -> None:
    layer = gatewise.GRU(2, 8, dtype="float64", seed=0)
    x = draw(1, 300, 2)
    y, h, _ = reference.recurrence(layer, x)
    stream = layer.stream()
    found = np.stack([stream(step).copy() for step in x[0]])
    np.testing.assert_allclose(found, y[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(stream.state, h, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_stream_takes_its_own_output(kind: str, num_layers: int, backend: str) -> None:
    layer = getattr(gatewise, kind)(100, 100, num_layers, seed=0)
    for batch in (1, 3):
        own, apart = layer.stream(batch), layer.stream(batch)
        y = other = np.ones((batch, 100), np.float32)
        for _ in range(4):
            y = own(y)
            other = apart(other.copy())
            np.testing.assert_array_equal(y, other)


def test_a_stream_takes_rows_that_are_not_aligned(backend: str) -> None:
    packed = np.zeros(3, [("byte", "i1"), ("row", "f4", 5)])
    packed["row"] = np.random.default_rng(0).standard_normal((3, 5))
    layer = gatewise.LSTM(5, 20, seed=0)
    found, expected = layer.stream(3), layer.stream(3)
    np.testing.assert_array_equal(found(packed["row"]), expected(packed["row"].copy()))
    np.testing.assert_array_equal(
        layer.stream()(packed["row"][1]), layer.stream()(packed["row"][1].copy())
    )


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_zoneout_set_after_the_first_step_is_seen(kind: str, backend: str) -> None:
    layer = getattr(gatewise, kind)(5, 17, 2, seed=0)
    x = draw(1, 6, 5)
    stream, chunked = layer.stream(), layer.stream()
    stream(x[0, 0])
    chunked(x[:, :1])
    layer.zoneout = 0.4
    if kind == "LSTM":
        layer.cell_zoneout = 0.2
    y, _ = layer(x[:, 1:], chunked.state)
    steps = [stream(row).copy() for row in x[0, 1:]]
    assert_same(np.stack(steps), y[0], "float32")
    assert_same(chunked(x[:, 1:]), y, "float32")
