"""Write the files of ``saved_1``, as the first version of the layout has them.

``python tests/data/make_saved.py DIRECTORY`` writes one file for each layer and each way of
keeping one, what ``gatewise train`` and the checkpoints of ``gatewise.fit`` keep, and the
outputs of all of them, to DIRECTORY. The files that are kept are never written anew: they
must load for ever. A new layout gets a directory of its own.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

import gatewise
from gatewise.training.language_model import LanguageModel
from gatewise.training.language_training import LanguageTraining, Settings
from gatewise.training.text import Vocabulary

TEXT = "ab ba, " * 30


def inputs(features: int) -> Any:
    """Two sequences of five steps, or of tokens below four if `features` is 0."""
    if not features:
        return np.arange(10).reshape(2, 5) * 7 % 4
    numbers = np.sin(np.arange(10 * features) * 0.7).reshape(2, 5, features)
    return numbers.astype(np.float32)


def outputs(model: Any, features: int) -> Any:
    """What a layer makes of `inputs`."""
    x = inputs(features)
    return model(x)[0] if isinstance(model, gatewise.layers.Stateful) else model(x)


def models() -> dict[str, tuple[int, Any]]:
    """Layers by the names of their files, each with how many features it takes."""
    lstm = gatewise.LSTM(
        3, 4, 2, bidirectional=True, proj_size=2, peepholes=True, dropout=0.25, seed=1
    )
    options: dict[str, Any] = {
        "recurrent_activation": ("hard_sigmoid", 0.2, 0.5),
        "reset_after": False,
        "dtype": "float64",
    }
    gru = gatewise.GRU(3, 4, zoneout=0.1, **options, seed=2)
    started = gatewise.LSTM(3, 4, seed=3)
    started.initial_state = np.full((1, 4), 0.5), np.full((1, 4), -1.0)
    learnt = gatewise.GRU(4, 4, tokens=True, learn_initial_state=True, seed=4)
    learnt.set_parameters({"initial_h": np.full((1, 4), 0.25)})
    shared = gatewise.GRU(3, 3, seed=5)
    head = gatewise.Sequential(
        gatewise.Linear(3, 3, bias=False, seed=6), gatewise.Softmax()
    )
    net = gatewise.Sequential(shared, gatewise.Dropout(0.5), head, gatewise.Tanh(), shared)
    activations = gatewise.Sequential(gatewise.ReLU(), gatewise.Sigmoid())
    return {
        "lstm": (3, lstm),
        "gru": (3, gru),
        "rnn": (3, gatewise.RNN(3, 4, nonlinearity="relu", bias=False, seed=7)),
        "lstm_started": (3, started),
        "gru_learnt": (0, learnt),
        "lstm_float16": (3, lstm.quantize("float16")),
        "lstm_int8": (3, started.quantize("int8")),
        "linear": (3, gatewise.Linear(3, 2, seed=8)),
        "conv1d": (3, gatewise.Conv1d(3, 2, 2, padding="causal", dilation=2, seed=10)),
        "embedding": (0, gatewise.Embedding(4, 3, seed=9)),
        "activations": (3, activations),
        "sequential": (3, net),
        "sequential_int8": (3, net.quantize("int8")),
    }


def write(directory: Path) -> None:
    """Write all files."""
    figures = {}
    for name, (features, model) in models().items():
        metadata = {"features": features, "repr": repr(model)}
        gatewise.save(model, directory / f"{name}.safetensors", metadata=metadata)
        figures[name] = outputs(model, features)

    model = LanguageModel(Vocabulary(TEXT), cell="lstm", hidden_size=3, num_layers=1)
    chosen = Settings(batch_size=2, length=5, learning_rate=0.02, seed=0)
    training = LanguageTraining(model, TEXT, chosen)
    path = directory / "train.safetensors"
    training.run(steps=9, stopped=lambda: training.step == 5, path=path)
    figures["train"] = outputs(model.network, 0)

    net = gatewise.Sequential(gatewise.GRU(3, 3, seed=1), gatewise.Linear(3, 1, seed=3))
    x = inputs(3)
    gatewise.fit(
        net,
        [(x, x[..., :1])],
        gatewise.mse,
        gatewise.Adam(0.01),
        epochs=3,
        validation=[(x, x[..., :1])],
        progress=False,
        checkpoint=directory / "fit.safetensors",
        checkpoint_interval=math.inf,
    )
    figures["fit"] = outputs(net, 3)
    np.savez_compressed(directory / "outputs.npz", **figures)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
