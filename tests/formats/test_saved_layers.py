"""Networks with a start state or with convolutions, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise


@pytest.mark.parametrize("learnt", [False, True])
@pytest.mark.parametrize("weight_format", ["float32", "int8"])
@pytest.mark.parametrize("kind", [gatewise.RNN, gatewise.LSTM, gatewise.GRU])
def test_a_start_state_is_saved(
    kind: Any, weight_format: str, learnt: bool, tmp_path: Path
) -> None:
    layer = kind(2, 3, 2, bidirectional=True, learn_initial_state=learnt, seed=0)
    state = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    layer.initial_state = tuple(state) if kind is gatewise.LSTM else state[0]
    if weight_format != "float32":
        layer = layer.quantize(weight_format)
    path = tmp_path / "model.safetensors"
    gatewise.save(gatewise.Sequential(layer, gatewise.Linear(6, 1, seed=1)), path)
    loaded = gatewise.load(path)
    own, again = layer.state_dict(), loaded.layers[0].state_dict()
    assert own.keys() == again.keys()
    assert "initial_h" in own
    assert all(np.array_equal(own[name], again[name]) for name in own)
    x = np.ones((1, 4, 2), np.float32)
    assert np.array_equal(layer(x)[0], loaded.layers[0](x)[0])


@pytest.mark.parametrize("padding", ["causal", "same", 2])
def test_a_convolution_is_saved(padding: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    layer = gatewise.Conv1d(2, 3, 3, padding=padding, dilation=2, dtype="float64", seed=0)
    gatewise.save(layer, path)
    loaded = gatewise.load(path)
    assert repr(loaded) == repr(layer)
    x = np.ones((1, 7, 2))
    assert np.array_equal(loaded(x), layer(x))
