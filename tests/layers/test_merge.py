"""What the outputs of two directions become."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.testing import check_layer

X = np.random.default_rng(0).standard_normal((3, 4, 2))
KINDS = [gatewise.RNN, gatewise.LSTM, gatewise.GRU]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("merge", ["concat", "sum", "mean"])
def test_gradients_and_all_else(kind: Any, merge: str, backend: str) -> None:
    layer = kind(2, 3, 2, bidirectional=True, merge=merge, dtype="float64", seed=1)
    check_layer(layer, X, lengths=[4, 0, 3])


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_made_of_both_directions(kind: Any, backend: str) -> None:
    options: dict[str, Any] = {"bidirectional": True, "dtype": "float64", "seed": 1}
    first, second = np.split(kind(2, 3, **options)(X, lengths=[4, 2, 3])[0], 2, axis=-1)
    for merge, expected in {"sum": first + second, "mean": (first + second) / 2}.items():
        layer = kind(2, 3, merge=merge, **options)
        y, state = layer(X, lengths=[4, 2, 3])
        np.testing.assert_allclose(y, expected, rtol=1e-15, atol=0)
        part = state[0] if isinstance(state, tuple) else state
        assert part.shape == (2, 3, 3)
        assert gatewise.Sequential(layer, gatewise.Linear(3, 1)).parameter_count > 0


def test_a_projection_and_a_quantized_one_merge_too(backend: str) -> None:
    layer = gatewise.LSTM(2, 5, proj_size=3, bidirectional=True, merge="sum", seed=0)
    assert layer(X)[0].shape == (3, 4, 3)
    narrow = layer.quantize("int8")
    np.testing.assert_allclose(narrow(X)[0], layer(X)[0], rtol=0, atol=0.05)


def test_bidirectional_makes_the_same_layer() -> None:
    one = gatewise.GRU(2, 3, activation="relu", dropout=0.1, num_layers=2, seed=4)
    both = gatewise.Bidirectional(one, merge="mean")
    assert repr(both) == (
        "GRU(2, 3, num_layers=2, dropout=0.1, bidirectional=True, merge='mean', "
        "activation='relu') with 324 parameters"
    )
    again = gatewise.Bidirectional(one, merge="mean")
    np.testing.assert_array_equal(both(X)[0], again(X)[0])
    with pytest.raises(ValueError, match=r"^layer should have one direction, got GRU"):
        gatewise.Bidirectional(both)
    wrong: Any = gatewise.Linear(2, 3)
    with pytest.raises(TypeError, match=r"^layer should be an RNN, .* got Linear"):
        gatewise.Bidirectional(wrong)


def test_bad_options_are_refused() -> None:
    for merge in ("ave", "mul", None, 3):
        with pytest.raises(
            ValueError, match=r"^merge should be 'concat' or 'sum' or 'mean"
        ):
            gatewise.GRU(2, 3, bidirectional=True, merge=merge)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^merge should be 'concat' for a layer of one"):
        gatewise.LSTM(2, 3, merge="sum")


def test_it_is_saved_and_written_for_keras(tmp_path: Path) -> None:
    layer = gatewise.LSTM(2, 3, 2, bidirectional=True, merge="mean", seed=0)
    gatewise.save(layer, tmp_path / "model.safetensors")
    loaded = gatewise.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded(X)[0], layer(X)[0])
    pytest.importorskip("h5py")
    gatewise.to_keras(layer, tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    modes = [
        each["config"]["merge_mode"]
        for each in config["config"]["layers"]
        if each["class_name"] == "Bidirectional"
    ]
    assert modes == ["concat", "ave"]


@pytest.mark.parametrize("merge", ["sum", "mean"])
def test_onnx_runtime_gives_the_same(merge: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    gru = gatewise.GRU(2, 3, 2, bidirectional=True, merge=merge, seed=0)
    model = gatewise.Sequential(gru, gatewise.Linear(3, 2, seed=1))
    path = tmp_path / "model.onnx"
    gatewise.to_onnx(model, path)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = X.astype(np.float32)
    found = session.run(None, {session.get_inputs()[0].name: x})[0]
    np.testing.assert_allclose(found, model(x)[0], rtol=0, atol=1e-6)
