"""Networks written as RTNeural's JSON: what comes back is what went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from tests.formats import amp_files


@pytest.mark.parametrize("number", range(len(amp_files.KINDS)))
def test_a_file_goes_back_as_the_same_network(number: int, tmp_path: Path) -> None:
    inputs = 1 + number % 2
    said = amp_files.rtneural_file(amp_files.KINDS[number], inputs, seed=number)
    path, back = tmp_path / "net.json", tmp_path / "back.json"
    path.write_bytes(amp_files.encoded(said))
    network = gatewise.from_rtneural(path)
    gatewise.to_rtneural(network, back, metadata={"name": "é"})
    again = gatewise.from_rtneural(back)
    assert repr(again) == repr(network)
    old, new = network.state_dict(), again.state_dict()
    assert all(old[name].tobytes() == new[name].tobytes() for name in old)
    assert json.loads(back.read_text())["metadata"] == {"name": "é"}
    if number == 0:
        assert json.loads(back.read_text())["layers"] == said["layers"]


def test_what_is_written_computes_the_same(backend: str, tmp_path: Path) -> None:
    model = gatewise.Sequential(
        gatewise.Conv1d(1, 3, 4, dilation=2, padding="causal", bias=False, seed=0),
        gatewise.Tanh(),
        gatewise.Sequential(gatewise.LSTM(3, 4, 2, seed=1), gatewise.Dropout(0.5)),
        gatewise.GRU(4, 3, bias=False, seed=2),
        gatewise.Softmax(),
        gatewise.Linear(3, 2, bias=False, dtype="float64", seed=3),
        gatewise.ReLU(),
        gatewise.Sigmoid(),
    )
    path = tmp_path / "net.json"
    gatewise.to_rtneural(model, path)
    x = amp_files.samples(1, 30)
    wanted = amp_files.run_rtneural(json.loads(path.read_text()) | {}, x)
    assert np.abs(model(x[None])[0][0] - wanted).max() < 2e-6
    assert np.abs(gatewise.from_rtneural(path)(x[None])[0][0] - wanted).max() < 2e-6


def started() -> gatewise.LSTM:
    layer = gatewise.LSTM(1, 3)
    layer.initial_state = (np.ones((1, 3)), np.zeros((1, 3)))
    return layer


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (gatewise.RNN(1, 3), r"layers that RTNeural has, got RNN\(1, 3\)"),
        (gatewise.Embedding(4, 3), "begin with a number of features"),
        (gatewise.Tanh(), "begin with a number of features"),
        (gatewise.LSTM(1, 3, bidirectional=True), "bidirectional=False"),
        (gatewise.LSTM(1, 3, proj_size=2), "proj_size=0"),
        (gatewise.GRU(1, 3, reset_after=False), "reset_after=True"),
        (gatewise.GRU(1, 3, activation="relu"), "activation='tanh'"),
        (gatewise.GRU(1, 3, zoneout=0.5), "zoneout=0.0"),
        (gatewise.GRU(1, 3).quantize("float16"), "not be quantized"),
        (gatewise.Conv1d(1, 3, 2), "padding='causal'"),
        (gatewise.Conv1d(1, 3, 2, stride=2, padding="causal"), "stride=1"),
        (started(), "start from zeros"),
    ],
)
def test_no_other_network_is_written(layer: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    with pytest.raises(ValueError, match=f"model should .*{words}"):
        gatewise.to_rtneural(gatewise.Sequential(layer), path)
    with pytest.raises(TypeError, match="model should be a Sequential"):
        gatewise.to_rtneural(layer, path)
    assert not path.exists()


def test_no_other_words_are_written(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    model = gatewise.Sequential(gatewise.Linear(1, 1))
    with pytest.raises(ValueError, match="metadata should"):
        gatewise.to_rtneural(model, path, metadata={"esr": float("inf")})
    for wrong in ([1], {"a": b"b"}):
        with pytest.raises(TypeError, match="metadata should"):
            gatewise.to_rtneural(model, path, metadata=wrong)  # type: ignore[arg-type]
    model.set_parameters({"0.bias": [np.nan]})
    with pytest.raises(ValueError, match="finite parameters"):
        gatewise.to_rtneural(model, path)
    assert not path.exists()
