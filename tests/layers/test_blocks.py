"""Batches of so many rows that they run block by block: each row is as it is alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gatewise

Array = np.ndarray[Any, Any]

# Of some hundred rows of 150 units blocks are made, both ways.
INPUTS, HIDDEN, TIME, BATCH = 60, 150, 3, 301
FEW = 101

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("LSTM", {"bidirectional": True}),
    ("LSTM", {"proj_size": 70, "peepholes": True}),
    ("GRU", {}),
    ("GRU", {"reset_after": False}),
]

every_kind = pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)


class Run:
    """Outputs and gradients of a forward and a backward pass over some rows."""

    def __init__(self, layer: Any, data: dict[str, Array], rows: Any, threads: int) -> None:
        gatewise.set_num_threads(threads)
        given = {name: data[name][rows] for name in ("lengths", "resets") if name in data}
        self.y, _, tape = layer.forward(data["x"][rows], **given)
        self.dx, _, self.gradients = layer.backward(tape, data["dy"][rows])
        self.inferred = layer(data["x"][rows], **given)[0]


def make(kind: str, options: dict[str, Any], *names: str) -> tuple[Any, dict[str, Array]]:
    layer = getattr(gatewise, kind)(INPUTS, HIDDEN, **options, seed=1)
    random = np.random.default_rng(1)
    data = {
        "x": random.standard_normal((BATCH, TIME, INPUTS), dtype=np.float32),
        "dy": random.standard_normal(
            (BATCH, TIME, layer.output_size * (1 + layer.bidirectional)), dtype=np.float32
        ),
    }
    if "lengths" in names:
        data["lengths"] = random.integers(0, TIME + 1, BATCH)
    if "resets" in names:
        data["resets"] = random.random((BATCH, TIME)) < 0.3
    return layer, data


@pytest.fixture(autouse=True)
def _same_threads() -> Any:
    before = gatewise.get_num_threads()
    yield
    gatewise.set_num_threads(before)


@every_kind
@pytest.mark.parametrize("names", [("resets",), ("lengths", "resets")], ids=str)
def test_every_row_is_as_among_few(
    kind: str, options: dict[str, Any], names: tuple[str, ...], backend: str
) -> None:
    layer, data = make(kind, options, *names)
    together = Run(layer, data, np.s_[:], 1)
    sums = {name: np.zeros_like(g) for name, g in together.gradients.items()}
    for first in range(0, BATCH, FEW):
        rows = np.s_[first : first + FEW]
        few = Run(layer, data, rows, 1)
        for found, wanted in (
            (together.y[rows], few.y),
            (together.inferred[rows], few.inferred),
            (together.dx[rows], few.dx),
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        for name, gradient in few.gradients.items():
            sums[name] += gradient
    for name, gradient in together.gradients.items():
        np.testing.assert_allclose(gradient, sums[name], rtol=1e-3, atol=2e-3)


@every_kind
@pytest.mark.parametrize("names", [(), ("lengths", "resets")], ids=str)
@pytest.mark.parametrize("backend", ["native"], indirect=True)
@pytest.mark.usefixtures("own_products")
def test_threads_change_no_bit(
    kind: str, options: dict[str, Any], names: tuple[str, ...], backend: str
) -> None:
    layer, data = make(kind, options, *names)
    one, *others = (Run(layer, data, np.s_[:], threads) for threads in (1, 2, 3))
    few = Run(layer, data, np.s_[-FEW:], 1)
    np.testing.assert_array_equal(one.inferred[-FEW:], few.inferred)
    for run in others:
        np.testing.assert_array_equal(run.inferred, one.inferred)
        np.testing.assert_array_equal(run.y, one.y)
        np.testing.assert_array_equal(run.dx, one.dx)
        for name, gradient in run.gradients.items():
            np.testing.assert_array_equal(gradient, one.gradients[name])
