"""Layers out of Keras's files give Keras's outputs, whichever version wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from tests.formats.keras_files import VERSIONS, contents, figures

# What a file of weights alone does not say.
SAID: dict[str, dict[str, Any]] = {
    "simple": {"activation": "relu"},
    "lstm": {},
    "lstm_hard": {"recurrent_activation": "hard_sigmoid", "activation": "softsign"},
    "lstm_without_bias": {"activation": "linear"},
    "lstm_backwards": {"go_backwards": True},
    "gru": {},
    "gru_before": {"recurrent_activation": "hard_sigmoid"},
    "gru_without_bias": {"activation": "elu", "reset_after": True},
    "both": {},
    "summed": {},
    "own": {},
    "stack": {},
    "mixed": {},
    "cell": {"activation": "tanh"},
    "dense": {"activation": "relu"},
    "timed": {"activation": "linear"},
    "deep": {},
}
OLD_HARD = ("hard_sigmoid", 0.2, 0.5)
# Keras 2 has no configuration's word for what it does by itself.
WITHOUT_CONFIGURATION = (".weights.h5", ".listed.h5")


def outputs(layer: Any, x: np.ndarray, word: str) -> np.ndarray:
    if word == "lstm_backwards":
        x = x[:, ::-1]
    y = layer(x)
    return y[0] if isinstance(y, tuple) else y


def cases() -> list[tuple[str, str, str]]:
    found = []
    for version in VERSIONS:
        names = [key for key in figures(version) if "|" in key]
        for file in contents(version):
            found += [
                (version, file, key)
                for key in names
                if file.split(".")[0] == ("cudnn" if key.startswith("cudnn") else "every")
            ]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("keras")
    for version in VERSIONS:
        for name, content in contents(version).items():
            (found / f"{version}.{name}").write_bytes(content)
    return found


def paths(version: str) -> dict[str, str]:
    """Where a file without names has each of the layers."""
    old = version == "2_13"
    keys = {
        "simple": "simple_rnn",
        "lstm": "lstm",
        "lstm_hard": "lstm_1",
        "lstm_without_bias": "lstm_2",
        "lstm_backwards": "lstm_3",
        "gru": "gru",
        "gru_before": "gru_1",
        "gru_without_bias": "gru_2",
        "both": "bidirectional",
        "summed": "bidirectional_1",
        "own": "bidirectional_2",
        "stack": "rnn",
        "mixed": "rnn_1",
        "cell": "rnn_2",
        "dense": "dense",
        "timed": "time_distributed/layer",
    }
    home = "_layer_checkpoint_dependencies" if old else "layers"
    if old:
        for word, key in keys.items():
            stem, _, number = key.rpartition("_")
            if number.isdecimal():
                keys[word] = f"{stem}_{2 * int(number)}"
    found = {word: f"{home}/{key}" for word, key in keys.items()}
    return found | {"deep": f"{home}/sequential/{home}/gru"}


@pytest.mark.parametrize(("version", "file", "key"), cases())
def test_outputs_are_keras_own(folder: Path, version: str, file: str, key: str) -> None:
    word, name = key.split("|")
    if word == "convolution" and not hasattr(gatewise, "Conv1d"):
        pytest.skip("no Conv1d")
    given: dict[str, Any] = {}
    if word in ("lstm_backwards", "summed"):
        given = {"go_backwards": True} if word == "lstm_backwards" else {}
    if word == "summed" and file.endswith(WITHOUT_CONFIGURATION):
        given = {"merge_mode": "sum"}
    if file.endswith(WITHOUT_CONFIGURATION) and word != "cudnn":
        if word == "convolution":
            pytest.skip("nobody can say what its stride is")
        given |= {"recurrent_activation": "sigmoid"} | SAID[word]
        if given["recurrent_activation"] == "hard_sigmoid" and version[0] == "2":
            given["recurrent_activation"] = OLD_HARD
        if file.endswith(".weights.h5"):
            name = paths(version)[word]
    layer = gatewise.from_keras(folder / f"{version}.{file}", name, **given)
    y = outputs(layer, figures(version)["x"], word)
    np.testing.assert_allclose(y, figures(version)[key], atol=1e-5, rtol=0)
