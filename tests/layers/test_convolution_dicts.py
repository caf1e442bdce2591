"""A Conv1d out of arrays with PyTorch's names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gatewise


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_convolution_comes_back(bias: bool, dtype: str) -> None:
    layer = gatewise.Conv1d(2, 3, 5, stride=2, bias=bias, dtype=dtype, seed=0)
    arrays = layer.to_state_dict("net.conv.") | {"net.other.weight": np.ones((1, 2, 3))}
    again = gatewise.Conv1d.from_state_dict(arrays, "net.conv.", stride=2)
    assert repr(again) == repr(layer)
    x = np.random.default_rng(0).normal(size=(1, 11, 2))
    assert np.array_equal(again(x), layer(x))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"weight": np.ones((2, 3))}, "weight should have three axes"),
        ({"weight": np.ones((2, 3, 0))}, "weight should have three axes"),
        (
            {"weight": np.ones((2, 3, 4)), "bias": np.ones(3)},
            r"bias should have shape \(2,",
        ),
        ({"conv.weight": np.ones((2, 3, 4))}, "there is a Conv1d with prefix='conv.'"),
        ({}, "should have a Conv1d's parameters"),
    ],
)
def test_other_arrays_are_refused(arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gatewise.Conv1d.from_state_dict(arrays)
