"""Random networks of every option against Keras 3 itself, both ways."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise

pytest.importorskip("torch")
pytest.importorskip("h5py")
os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import keras
        from keras import layers as kinds
    except ImportError:
        pytest.skip("no keras", allow_module_level=True)
    if not keras.__version__.startswith("3."):
        pytest.skip("another keras", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")

ACTIVATIONS = [
    "tanh",
    "sigmoid",
    "relu",
    "linear",
    "hard_sigmoid",
    "softsign",
    "softplus",
    "elu",
    "selu",
    "leaky_relu",
    "exponential",
]
GATES = ["sigmoid", "hard_sigmoid", "tanh", "softsign", "relu"]


def random_layer(generator: np.random.Generator) -> tuple[Any, dict[str, Any]]:
    """A layer of Keras and what `from_keras` has to be told of it."""
    options: dict[str, Any] = {
        "return_sequences": True,
        "use_bias": bool(generator.integers(4)),
        "activation": str(generator.choice(ACTIVATIONS)),
        "dropout": float(generator.choice([0, 0.3])),
    }
    units = int(generator.integers(1, 6))
    kind = [kinds.SimpleRNN, kinds.LSTM, kinds.GRU][generator.integers(3)]
    if kind is not kinds.SimpleRNN:
        options["recurrent_activation"] = str(generator.choice(GATES))
    if kind is kinds.GRU:
        options["reset_after"] = bool(generator.integers(2))
    form = generator.integers(4)
    if form == 0:
        mode = ["concat", "sum", "mul", "ave"][generator.integers(4)]
        layer = kinds.Bidirectional(kind(units, **options), merge_mode=mode)
        return layer, {"merge_mode": mode} if mode == "mul" else {}
    if form == 1:
        return kind(units, go_backwards=True, **options), {"go_backwards": True}
    if form == 2:
        cell = {
            kinds.SimpleRNN: kinds.SimpleRNNCell,
            kinds.LSTM: kinds.LSTMCell,
            kinds.GRU: kinds.GRUCell,
        }[kind]
        del options["return_sequences"]
        sizes = [units] * 2 if generator.integers(2) else [units, units + 1]
        cells = [cell(size, **options) for size in sizes]
        return kinds.RNN(cells, return_sequences=True), {}
    return kind(units, **options), {}


def joined(y: np.ndarray, given: dict[str, Any]) -> np.ndarray:
    """What Keras makes of the outputs of two directions."""
    if "merge_mode" not in given:
        return y
    first, second = np.split(y, 2, -1)
    return first * second


def fill(model: Any, generator: np.random.Generator) -> None:
    shapes = [array.shape for array in model.get_weights()]
    model.set_weights([generator.normal(0, 0.4, shape) for shape in shapes])


def outputs_of(model: Any, x: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(x))


@pytest.mark.parametrize("seed", range(16))
def test_files_of_random_layers(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    layer, given = random_layer(generator)
    x = generator.normal(size=(2, 5, 3)).astype(np.float32)
    model = keras.Sequential([keras.Input((None, 3)), layer, kinds.Dense(2)])
    fill(model, generator)
    whole = keras.Model(model.inputs, layer.output)
    wanted = outputs_of(whole, x)
    for ending in (".keras", ".h5"):
        path = tmp_path / f"model{ending}"
        model.save(path)
        found = gatewise.from_keras(path, **given)
        y: Any = found(x[:, ::-1] if "go_backwards" in given else x)[0]
        np.testing.assert_allclose(joined(y, given), wanted, atol=1e-5, rtol=1e-5)
    several = isinstance(layer, kinds.RNN) and not hasattr(layer, "units")
    if given or several or isinstance(layer, kinds.Bidirectional):
        return
    kind = {kinds.SimpleRNN: gatewise.RNN, kinds.LSTM: gatewise.LSTM}.get(type(layer))
    options = {"activation": found.activation}
    if kind is not gatewise.RNN:
        options["recurrent_activation"] = found.recurrent_activation
    if kind is None:
        options["reset_after"] = layer.reset_after
    again = (kind or gatewise.GRU).from_keras(*layer.get_weights(), **options)
    assert (again(x)[0] == found(x)[0]).all()
    layer.set_weights([0 * array for array in layer.get_weights()])
    layer.set_weights(again.to_keras())
    np.testing.assert_array_equal(outputs_of(whole, x), wanted)


def convolutions() -> list[gatewise.layers.Module]:
    if not hasattr(gatewise, "Conv1d"):
        return []
    make: Any = gatewise.Conv1d
    return [
        make(3, 4, 3, padding="causal", dilation=2, seed=0),
        make(3, 4, 4, padding="same", bias=False, seed=0),
        make(3, 4, 3, padding=1, seed=0),
        make(3, 4, 2, stride=2, seed=0),
    ]


def models() -> list[gatewise.layers.Module]:
    kwargs: dict[str, Any] = {"seed": 0}
    sequential = gatewise.Sequential(
        gatewise.Embedding(7, 3, seed=1),
        gatewise.Dropout(0.2),
        gatewise.GRU(3, 4, 2, bidirectional=True, dropout=0.1, **kwargs),
        gatewise.Linear(8, 5, seed=2),
        gatewise.ReLU(),
        gatewise.Sequential(gatewise.Linear(5, 4, bias=False, seed=3), gatewise.Softmax()),
    )
    return [
        gatewise.RNN(3, 4, nonlinearity="relu", **kwargs),
        gatewise.RNN(3, 4, 2, bias=False, variational=True, dropout=0.2, **kwargs),
        gatewise.LSTM(3, 4, 2, bidirectional=True, **kwargs),
        gatewise.LSTM(3, 4, 2, bidirectional=True, merge="sum", **kwargs),
        gatewise.GRU(3, 4, bidirectional=True, merge="mean", **kwargs),
        gatewise.LSTM(3, 4, recurrent_activation="hard_sigmoid", bias=False, **kwargs),
        gatewise.LSTM(3, 4, dtype="float64", **kwargs),
        gatewise.LSTM(3, 4, recurrent_dropout=0.2, **kwargs),
        gatewise.GRU(3, 4, reset_after=False, activation="softsign", **kwargs),
        gatewise.GRU(3, 4, activation=("leaky_relu", 0.2), **kwargs),
        gatewise.GRU(3, 4, 3, bidirectional=True, reset_after=False, **kwargs),
        sequential,
        gatewise.Sequential(gatewise.Linear(3, 2, seed=0), gatewise.Sigmoid()),
        gatewise.Sequential(gatewise.GRU(3, 4, seed=0), gatewise.Tanh()),
        gatewise.Sequential(
            gatewise.Dropout(0.5),
            gatewise.LSTM(3, 4, 2, dropout=0.1, dtype="float64", seed=0),
            gatewise.Softmax(),
        ),
        *convolutions(),
    ]


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("position", range(len(models())))
def test_keras_opens_what_is_written(tmp_path: Path, position: int, ending: str) -> None:
    model = models()[position]
    generator = np.random.default_rng(0)
    x: np.ndarray = generator.normal(size=(2, 5, 3)).astype(model.dtype)
    if model._features()[0] == 0:
        x = generator.integers(0, 7, (2, 5))
    elif isinstance(model, gatewise.Sequential) and model.layers[0]._features()[1] == 2:
        x = x[:, 0]
    path = tmp_path / f"model{ending}"
    gatewise.to_keras(model, path)
    opened = keras.saving.load_model(path)
    y: Any = model(x)  # type: ignore[operator]
    y = y[0] if isinstance(y, tuple) else y
    found = outputs_of(opened, x)
    assert found.dtype == y.dtype
    tolerance = 1e-5 if y.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found, y, atol=tolerance, rtol=0)
    if "Conv1d" in repr(model):
        again = gatewise.from_keras(path, "conv1d")
        np.testing.assert_array_equal(again(x), y)
