"""A whole net too has one result for a sequence, to the last bit, in whatever company.

As for the recurrent layers in `test_same_bits`: on the compiled backend, at inference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gatewise
from tests.layers.test_same_bits import assert_same_bits, threads

Array = np.ndarray[Any, Any]

BATCH, TIME, TOKENS = 13, 16, 50
LENGTHS = np.array([16, 3, 0, 7, 16, 1, 12, 9, 5, 2, 16, 8, 4])
# What one sequence costs is enough for threads to share it.
NETS = ["LSTM float32", "LSTM float64", "GRU float32", "GRU int8", "no state", "wide"]

pytestmark = [
    pytest.mark.usefixtures("own_products"),
    pytest.mark.parametrize("backend", ["native"], indirect=True),
    pytest.mark.parametrize("which", NETS),
]


def make(which: str) -> tuple[gatewise.Sequential, Array]:
    """A net, and sequences for it: of tokens where it has a state."""
    random = np.random.default_rng(0)
    if which in ("no state", "wide"):
        # Every arrangement of a Linear's sums: few outputs, few of many inputs, many.
        sizes = [(60, 700), (700, 20), (20, 70), (70, 3), (3, 1)]
        if which == "wide":
            sizes = [(60, 700), (700, 900)]
        layers: list[Any] = []
        for sizes_of_one in sizes:
            layers += [gatewise.Linear(*sizes_of_one, seed=2), gatewise.Tanh()]
        x = random.standard_normal((BATCH, TIME, 60)).astype("float32")
        return gatewise.Sequential(*layers), x
    kind, weights = which.split()
    dtype = weights if weights.startswith("float") else "float32"
    own: dict[str, Any] = {"dtype": dtype, "seed": 2}
    model = gatewise.Sequential(
        gatewise.Embedding(TOKENS, 60, **own),
        getattr(gatewise, kind)(60, 150, 2, **own),
        gatewise.Sequential(gatewise.Linear(150, 70, **own), gatewise.ReLU()),
        gatewise.GRU(70, 33, reset_after=False, **own),
        gatewise.Sigmoid(),
        gatewise.Linear(33, 3, **own),
        gatewise.Softmax(),
    )
    if weights == "int8":
        model = model.quantize("int8")
    return model, random.integers(0, TOKENS, (BATCH, TIME))


def parts(state: Any) -> list[Array]:
    if isinstance(state, tuple):
        return [array for part in state for array in parts(part)]
    return [] if state is None else [state]


def run(model: Any, x: Array, state: Any = None, **options: Any) -> list[Array]:
    y, final = model(x, state, **options)
    return [y, *parts(final)]


def pick(results: list[Array], sequence: int) -> list[Array]:
    y, *rest = results
    at = np.s_[sequence : sequence + 1]
    return [y[at], *(part[:, at] for part in rest)]


def test_alone_in_batches_and_on_threads(which: str, backend: str) -> None:
    model, x = make(which)
    alone = [run(model, x[s : s + 1], num_threads=1) for s in range(BATCH)]
    assert np.isfinite(alone[0][0]).all()
    random = np.random.default_rng(1)
    for batch in (1, 2, 5, BATCH):
        rows = random.permutation(BATCH)[:batch].tolist()
        for count in (1, 2, 3):
            together = run(model, x[rows], num_threads=count)
            for place, sequence in enumerate(rows):
                what = f"sequence {place} of {batch} on {count} threads"
                assert_same_bits(pick(together, place), alone[sequence], what)


def test_in_ragged_batches(which: str, backend: str) -> None:
    model, x = make(which)
    for count in (1, 2):
        together = run(model, x, lengths=LENGTHS, num_threads=count)
        for s, length in enumerate(LENGTHS):
            y, *state = pick(together, s)
            alone = run(model, x[s : s + 1, :length])
            assert_same_bits([y[:, :length], *state], alone, f"sequence {s}")


@pytest.mark.parametrize("batch", [1, 5])
def test_streamed_chunked_and_whole(which: str, batch: int, backend: str) -> None:
    model, x = make(which)
    x = x[:batch]
    whole = run(model, x)
    for count in (1, 2):
        for chunk in (1, 3, TIME):
            stream, state, called = model.stream(batch), None, []
            chunks = []
            with threads(count):
                for first in range(0, TIME, chunk):
                    part = x[:, first : first + chunk]
                    y, state = model(part, state)
                    called.append(y)
                    chunks.append(stream(part))
            what = f"{chunk} steps at once on {count} threads"
            for outputs, final in ((chunks, stream.state), (called, state)):
                found = [np.concatenate(outputs, axis=1), *parts(final)]
                assert_same_bits(found, whole, what)
        stream = model.stream(batch)
        with threads(count):
            steps = [stream(x[:, t]).copy() for t in range(TIME)]
        found = [np.stack(steps, axis=1), *parts(stream.state)]
        assert_same_bits(found, whole, f"step by step on {count} threads")
        if batch == 1:
            stream.reset()
            steps = [stream(step).copy() for step in x[0]]
            assert_same_bits([np.stack(steps)], [whole[0][0]], "without the batch axis")


def test_a_linear_trains_on_the_bits_of_a_call(which: str, backend: str) -> None:
    model, _ = make(which)
    for layer in model.layers:
        if isinstance(layer, gatewise.Linear):
            x = np.random.default_rng(0).standard_normal((3, 5, layer.in_features))
            y, _ = layer.forward(x)
            alone = np.stack([[layer.forward(row)[0] for row in rows] for rows in x])
            for found in (y, alone):
                assert_same_bits([found], [layer(x)], repr(layer))
