"""A sequence has one result at inference, to the last bit, in whatever company it runs.

A promise of the compiled backend alone: the products of NumPy's BLAS depend on the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest

import gatewise

Array = np.ndarray[Any, Any]

BATCH = 31
THREADS = (1, 2, 3, 5)


class Size(NamedTuple):
    """The sizes of a layer, and how many steps it runs."""

    inputs: int
    hidden: int
    time: int


# The work of the last one is enough for threads to share it, even of a batch of one: at
# least 500,000 multiply-adds in all and 12,000 in a step. From twice as many rows as
# threads on, they take rows, and otherwise units of the layer.
SIZES = [Size(2, 3, 9), Size(5, 17, 9), Size(60, 150, 16)]

LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu", "num_layers": 2}),
    ("LSTM", {"num_layers": 2}),
    ("LSTM", {"proj_size": 2, "num_layers": 2}),
    ("LSTM", {"peepholes": True}),
    ("LSTM", {"proj_size": 2, "peepholes": True}),
    ("GRU", {"num_layers": 2}),
    ("GRU", {"reset_after": False, "num_layers": 2}),
]

# The last says how weights are kept; "int8 8", with activations of 8 bits.
CASES = [(*layer, full) for layer in LAYERS for full in ("float32", "float64", "int8")] + [
    ("LSTM", {"proj_size": 2, "peepholes": True}, "float16"),
    ("GRU", {"num_layers": 2}, "float16"),
    ("RNN", {"nonlinearity": "relu"}, "bfloat16"),
    ("LSTM", {"num_layers": 2}, "bfloat16"),
    ("LSTM", {"proj_size": 2, "peepholes": True}, "bfloat16"),
    ("GRU", {"num_layers": 2}, "bfloat16"),
    ("GRU", {"reset_after": False}, "bfloat16"),
    ("RNN", {"nonlinearity": "relu"}, "int8 8"),
    ("LSTM", {"proj_size": 2, "peepholes": True}, "int8 8"),
    ("GRU", {"reset_after": False}, "int8 8"),
]

pytestmark = [
    pytest.mark.usefixtures("own_products"),
    pytest.mark.parametrize("backend", ["native"], indirect=True),
    pytest.mark.parametrize("size", SIZES, ids=lambda size: f"H{size.hidden}"),
    pytest.mark.parametrize(("kind", "options", "weights"), CASES, ids=str),
]
either_direction = pytest.mark.parametrize(
    "bidirectional", [False, True], ids=["one way", "two ways"]
)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = gatewise.get_num_threads()
    gatewise.set_num_threads(count)
    try:
        yield
    finally:
        gatewise.set_num_threads(before)


class Case:
    """A layer, sequences for it, and the state that each of them starts from."""

    def __init__(
        self, kind: str, options: dict[str, Any], size: Size, weights: str, **more: Any
    ) -> None:
        if "proj_size" in options:
            options = options | {"proj_size": size.hidden // 2}
        make = getattr(gatewise, kind)
        narrow = weights.startswith(("float16", "bfloat16", "int8"))
        dtype = "float32" if narrow else weights
        self.layer = make(size.inputs, size.hidden, **options, **more, dtype=dtype, seed=3)
        if narrow:
            name, *bits = weights.split()
            self.layer = self.layer.quantize(
                name, activations=int(bits[0]) if bits else None
            )
        self.random = np.random.default_rng(size.hidden)
        self.x = self.draw(BATCH, size.time, size.inputs)
        count = self.layer.num_layers * (1 + self.layer.bidirectional)
        sizes = [self.layer.output_size, size.hidden][: 1 + (kind == "LSTM")]
        self.parts = [self.draw(count, BATCH, features) for features in sizes]

    def draw(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(self.layer.dtype)

    def state(self, rows: Any) -> Any:
        return as_state(part[:, rows] for part in self.parts)

    def run(self, rows: Any, steps: Any = np.s_[:], **options: Any) -> list[Array]:
        """The outputs of some sequences, and the parts of their final state."""
        y, state = self.layer(self.x[rows][:, steps], self.state(rows), **options)
        return [y, *parts_of(state)]


def as_state(parts: Any) -> Any:
    parts = tuple(parts)
    return parts if len(parts) > 1 else parts[0]


def parts_of(state: Any) -> tuple[Array, ...]:
    return state if isinstance(state, tuple) else (state,)


def pick(results: list[Array], sequence: int) -> list[Array]:
    """One sequence's results out of a batch's."""
    y, *parts = results
    at = np.s_[sequence : sequence + 1]
    return [y[at], *(part[:, at] for part in parts)]


def assert_same_bits(found: list[Array], wanted: list[Array], what: str) -> None:
    for array, other in zip(found, wanted, strict=True):
        assert (array.dtype, array.shape) == (other.dtype, other.shape)
        if array.tobytes() != other.tobytes():
            bits = f"i{array.dtype.itemsize}"
            pair = [np.ascontiguousarray(a).view(bits) for a in (array, other)]
            np.testing.assert_array_equal(*pair, err_msg=what)


@either_direction
def test_alone_and_in_batches(
    kind: str,
    options: dict[str, Any],
    size: Size,
    weights: str,
    bidirectional: bool,
    backend: str,
) -> None:
    case = Case(kind, options, size, weights, bidirectional=bidirectional)
    alone = [case.run([sequence]) for sequence in range(BATCH)]
    assert np.isfinite(alone[0][0]).all()
    assert alone[0][0].any()
    for batch in (2, 4, 7, BATCH):
        rows = case.random.permutation(BATCH)[:batch].tolist()
        together = case.run(rows)
        for place, sequence in enumerate(rows):
            what = f"sequence {place} of {batch}"
            assert_same_bits(pick(together, place), alone[sequence], what)


@either_direction
def test_alone_and_in_ragged_batches(
    kind: str,
    options: dict[str, Any],
    size: Size,
    weights: str,
    bidirectional: bool,
    backend: str,
) -> None:
    case = Case(kind, options, size, weights, bidirectional=bidirectional)
    lengths = case.random.integers(0, size.time + 1, BATCH)
    alone = [case.run([s], np.s_[:length]) for s, length in enumerate(lengths)]
    for batch in (2, 5, 12):
        rows = case.random.permutation(BATCH)[:batch].tolist()
        for count in (1, 2):
            with threads(count):
                together = case.run(rows, lengths=lengths[rows])
            for place, sequence in enumerate(rows):
                y, *state = pick(together, place)
                found = [y[:, : lengths[sequence]], *state]
                what = f"sequence {place} of {len(rows)} on {count} threads"
                assert_same_bits(found, alone[sequence], what)


@either_direction
def test_on_any_number_of_threads(
    kind: str,
    options: dict[str, Any],
    size: Size,
    weights: str,
    bidirectional: bool,
    backend: str,
) -> None:
    case = Case(kind, options, size, weights, bidirectional=bidirectional)
    lengths = case.random.integers(1, size.time + 1, BATCH)
    for batch in (1, 2, 5, 12):
        rows = list(range(batch))
        for given in (None, lengths[rows]):
            results = []
            for count in THREADS:
                with threads(count):
                    results.append(case.run(rows, lengths=given))
            for count, result in zip(THREADS, results, strict=True):
                what = f"{batch} sequences on {count} threads, lengths {given}"
                assert_same_bits(result, results[0], what)


@pytest.mark.parametrize("batch", [1, 5])
def test_streamed_chunked_and_whole(
    kind: str, options: dict[str, Any], size: Size, weights: str, batch: int, backend: str
) -> None:
    case = Case(kind, options, size, weights)
    rows = list(range(batch))
    whole = case.run(rows)
    x = case.x[rows]
    for count in (1, 3):
        for chunk in (1, 5, size.time - 1):
            stream = case.layer.stream(batch)
            stream.reset(case.state(rows))
            state, called = case.state(rows), []
            for first in range(0, size.time, chunk):
                part, state = case.layer(x[:, first : first + chunk], state)
                called.append(part)
            with threads(count):
                chunks = [
                    stream(x[:, first : first + chunk])
                    for first in range(0, size.time, chunk)
                ]
            what = f"{chunk} steps at once on {count} threads"
            for parts, final in ((chunks, stream.state), (called, state)):
                found = [np.concatenate(parts, axis=1), *parts_of(final)]
                assert_same_bits(found, whole, what)
        stream.reset(case.state(rows))
        with threads(count):
            steps = [stream(x[:, t]).copy() for t in range(size.time)]
        found = [np.stack(steps, axis=1), *parts_of(stream.state)]
        assert_same_bits(found, whole, f"step by step on {count} threads")


def test_tokens(
    kind: str, options: dict[str, Any], size: Size, weights: str, backend: str
) -> None:
    layer = Case(kind, options | {"tokens": True}, size, weights).layer
    tokens = np.random.default_rng(0).integers(0, size.inputs, (7, size.time))
    y, state = layer(tokens)
    stream = layer.stream(7)
    steps = [stream(tokens[:, t]).copy() for t in range(size.time)]
    found = [np.stack(steps, axis=1), *parts_of(stream.state)]
    assert_same_bits(found, [y, *parts_of(state)], "step by step")
    if weights == layer.dtype:
        # Narrow weights are widened in another order.
        y_rows, final = layer(np.eye(size.inputs, dtype=weights)[tokens])
        found = [y_rows, *parts_of(final)]
        assert_same_bits(found, [y, *parts_of(state)], "one-hot rows")
