"""Write files of Keras, with its outputs, to ``keras_3_15.zip`` or as its version is.

Run it as ``python tests/data/make_keras_files.py`` where Keras is installed: once with
Keras 3 and any backend, once with TensorFlow 2.15 and its Keras, and once with Keras 2.13.1
before that on the path, whose files have paths of their own.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import zipfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

try:
    from keras import layers as kinds
except ImportError:
    from tensorflow.keras import layers as kinds

HERE = Path(__file__).parent
IS_OLD = keras.__version__.startswith("2.")
FEATURES = 3


def layers() -> dict[str, object]:
    """One layer of every kind and option, by a word for it that is not its name."""
    give = {"return_sequences": True}
    return {
        "simple": kinds.SimpleRNN(4, activation="relu", **give),
        "lstm": kinds.LSTM(4, **give),
        "lstm_hard": kinds.LSTM(
            4, recurrent_activation="hard_sigmoid", activation="softsign", **give
        ),
        "lstm_without_bias": kinds.LSTM(5, use_bias=False, activation="linear", **give),
        "lstm_backwards": kinds.LSTM(4, go_backwards=True, **give),
        "gru": kinds.GRU(4, **give),
        "gru_before": kinds.GRU(
            4, reset_after=False, recurrent_activation="hard_sigmoid", **give
        ),
        "gru_without_bias": kinds.GRU(4, use_bias=False, activation="elu", **give),
        "both": kinds.Bidirectional(kinds.GRU(3, **give)),
        "summed": kinds.Bidirectional(kinds.LSTM(3, **give), merge_mode="sum"),
        "own": kinds.Bidirectional(
            kinds.LSTM(3, name="there", **give),
            backward_layer=kinds.LSTM(3, name="back", go_backwards=True, **give),
        ),
        "stack": kinds.RNN([kinds.LSTMCell(4), kinds.LSTMCell(4)], **give),
        "mixed": kinds.RNN([kinds.GRUCell(4), kinds.LSTMCell(5)], **give),
        "cell": kinds.RNN(kinds.SimpleRNNCell(4), **give),
        "dense": kinds.Dense(5, activation="relu"),
        "timed": kinds.TimeDistributed(kinds.Dense(5)),
        "convolution": kinds.Conv1D(4, 3, padding="same"),
    }


def every() -> tuple[keras.Model, dict[str, str]]:
    """A model with all of them beside each other, and one in a model of its own."""
    # So that names and the counts in paths differ.
    kinds.LSTM(1), kinds.GRU(1)
    x = keras.Input((None, FEATURES))
    names, outputs = {}, []
    for word, layer in layers().items():
        names[word] = layer.name
        outputs.append(layer(x))
    inner = keras.Sequential(
        [keras.Input((None, FEATURES)), kinds.GRU(4, return_sequences=True, name="deep")],
        name="inner",
    )
    names["deep"] = "inner/deep"
    outputs.append(inner(x))
    return keras.Model(x, outputs), names


def fill(model: keras.Model, generator: np.random.Generator) -> None:
    shapes = [array.shape for array in model.get_weights()]
    model.set_weights([generator.normal(0, 0.5, s).astype(np.float32) for s in shapes])


def figures(model: keras.Model, names: dict[str, str]) -> dict[str, np.ndarray]:
    x = np.random.default_rng(1).normal(size=(2, 6, FEATURES)).astype(np.float32)
    found = {"x": x}
    for (word, name), y in zip(names.items(), model.predict(x, verbose=0), strict=True):
        found[f"{word}|{name}"] = y
    return found


def cudnn() -> tuple[keras.Model, keras.Model]:
    """A model of cuDNN's layers, which run on no CPU, and one that reads its weights."""
    from tensorflow.compat.v1.keras import layers as old

    def model(lstm: type, gru: type) -> keras.Model:
        x = keras.Input((None, FEATURES))
        # Inputs and units differ in number, and so do the ways to read a kernel.
        outputs = [
            lstm(4, return_sequences=True, name="lstm")(x),
            gru(5, return_sequences=True, name="gru")(x),
        ]
        return keras.Model(x, outputs)

    return model(old.CuDNNLSTM, old.CuDNNGRU), model(kinds.LSTM, kinds.GRU)


def main() -> None:
    generator = np.random.default_rng(0)
    model, names = every()
    fill(model, generator)
    endings = [".keras", ".h5", ".weights.h5", *([".listed.h5"] if IS_OLD else [])]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        found = figures(model, names)
        for ending in endings:
            path = str(place / f"every{ending}")
            only = ending in (".weights.h5", ".listed.h5")
            (model.save_weights if only else model.save)(path)
        if IS_OLD:
            narrow, wide = cudnn()
            fill(narrow, generator)
            for ending in (".keras", ".h5"):
                narrow.save(str(place / f"cudnn{ending}"))
            narrow.save_weights(str(place / "cudnn.listed.h5"))
            wide.load_weights(str(place / "cudnn.listed.h5"))
            outputs = wide.predict(found["x"], verbose=0)
            found |= dict(zip(("cudnn|lstm", "cudnn|gru"), outputs, strict=True))
        content = io.BytesIO()
        np.savez(content, **found)
        (place / "figures.npz").write_bytes(content.getvalue())
        first, second = keras.__version__.split(".")[:2]
        target = HERE / f"keras_{first}_{second}.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(place.iterdir()):
                archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), 8, 9)
    print(f"{target.name}: {len(found)} arrays, {target.stat().st_size} bytes")


if __name__ == "__main__":
    sys.exit(main())
