"""A sample of what ``activation_accuracy.py`` checks over all float32 numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests import activation_accuracy as accuracy

# Odd, so that a sample has numbers of every sign and exponent, and all endings.
STRIDE = 4099
COUNT = 100_000


def samples(dtype: str) -> Iterator[Any]:
    if dtype == "float32":
        return accuracy.every_float32(STRIDE)
    return accuracy.dense_float64(COUNT)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", accuracy.FUNCTIONS)
def test_close_to_the_true_values(name: str, dtype: str, backend: str) -> None:
    inputs = 0
    with np.errstate(all="ignore"):
        for z in samples(dtype):
            assert z.dtype == dtype
            assert accuracy.largest_error(name, z) <= accuracy.LIMIT
            assert accuracy.broken_promises(name, z) == []
            inputs += z.size
    assert inputs > 3 * COUNT


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_check_can_fail(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(name: str, z: Any) -> Any:
        y = accuracy.FUNCTIONS[name][0](z)
        return np.where(np.isnan(z), 0, y + 8 * np.spacing(y))

    monkeypatch.setattr(accuracy, "computed", wrong)
    z = np.array([0.5, np.nan, 3.0], dtype)
    assert accuracy.largest_error("tanh", z) > accuracy.LIMIT
    promises = accuracy.broken_promises("tanh", z)
    assert "NaN does not pass, or comes from nowhere" in promises
    assert "no exact saturation" in promises
