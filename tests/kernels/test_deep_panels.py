"""Weights of so many inputs that rows go through them part by part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.kernels import chooser

Array = np.ndarray[Any, Any]

# More rows than wait for the next part at once, and not a whole number of tiles.
BATCH = 203
SOME = (0, 5, 101, 197, 202)
# Enough inputs for every instruction set with vectors of 32 bytes; and more columns of the
# weights' gradients than are summed at once.
WIDE = 3300
HIDDEN = 830

CELLS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("LSTM", {}),
    ("LSTM", {"proj_size": 5}),
    ("GRU", {}),
    ("GRU", {"reset_after": False}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("cell", "options"), CELLS)
@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_a_row_has_the_bits_that_it_has_alone(
    cell: str, options: dict[str, Any], dtype: str, backend: str
) -> None:
    layer = getattr(gatewise, cell)(WIDE, 21, dtype=dtype, seed=0, **options)
    x = np.random.default_rng(0).standard_normal((BATCH, 3, WIDE)).astype(dtype)
    together = layer(x)[0]
    for row in SOME:
        alone = layer(x[row : row + 1])[0]
        assert together[row : row + 1].tobytes() == alone.tobytes(), row
    narrow = layer.quantize("float16") if dtype == "float32" else None
    if narrow is not None:
        halves = narrow(x)[0]
        for row in SOME:
            assert halves[row].tobytes() == narrow(x[row : row + 1])[0][0].tobytes(), row


@pytest.mark.parametrize(("cell", "options"), CELLS)
@pytest.mark.parametrize("backend", ["native"], indirect=True)
def test_gradients(cell: str, options: dict[str, Any], backend: str) -> None:
    layer = getattr(gatewise, cell)(9, HIDDEN, seed=0, **options)
    random = np.random.default_rng(0)
    x = random.standard_normal((40, 2, 9), dtype=np.float32)
    outputs = options.get("proj_size", HIDDEN)
    dy = random.standard_normal((40, 2, outputs), dtype=np.float32)

    def back(rows: slice) -> tuple[Array, list[Array]]:
        dx, _, gradients = layer.backward(layer.forward(x[rows])[2], dy[rows])
        return dx, list(gradients.values())

    dx, gradients = back(np.s_[:])
    for row in (0, 17, 39):
        alone, _ = back(np.s_[row : row + 1])
        assert dx[row : row + 1].tobytes() == alone.tobytes(), row
    with chooser.use("numpy"):
        _, wanted = back(np.s_[:])
    for found, other in zip(gradients, wanted, strict=True):
        limit = 1e-5 * max(1, np.abs(other).max())
        np.testing.assert_allclose(found, other, rtol=0, atol=limit)
