"""The same bits on every machine: the proof by hashing.

``python -m tests.same_bits`` computes inference, gradients and whole runs of ``fit`` on the
compiled backend, with one thread and with two, and compares the hashes of all bits with
those that are stored here. ``--print`` prints them instead.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import gatewise
from gatewise.kernels import chooser
from gatewise.kernels.activations import ACTIVATIONS, Activation
from gatewise.training import minibatches

Array = np.ndarray[Any, Any]

# The first 16 digits of SHA-256, for each part by its name.
STORED = {
    "inference, float32": "49f856b7f6bd5c6d",
    "inference, float64": "552569512f2a7076",
    "inference, narrow weights": "09cba337a5a11f41",
    "inference, integers": "34c1ba60c1551c4c",
    "gradients, float32": "3d966ab7bd90ad37",
    "gradients, float64": "cb0424dababf36a7",
    "fit, float32": "f21db5c473f4ef9d",
    "fit, float64": "95723bbebacb8994",
}

CELLS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu"}),
    ("LSTM", {}),
    ("LSTM", {"proj_size": 4, "peepholes": True}),
    ("LSTM", {"activation": "softplus", "recurrent_activation": "hard_sigmoid"}),
    ("LSTM", {"proj_size": 3, "activation": ("elu", 0.7)}),
    ("GRU", {}),
    ("GRU", {"reset_after": False, "activation": "selu"}),
    ("GRU", {"activation": "softsign", "recurrent_activation": ("scaled_tanh", 0.9, 0.8)}),
]
# Inputs, hidden units, batch and steps: odd ones, and work that is worth two threads.
SIZES = [(3, 5, 2, 7), (13, 37, 5, 11), (40, 96, 33, 12)]
# Of a Linear, inputs and outputs: in lanes, in parts and in panels.
LINEARS = [(7, 1), (100, 3), (133, 4), (700, 5), (611, 16), (640, 31), (90, 70)]


class Draw:
    """Numbers in -1 to 1, which no library decides about."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def __call__(self, *shape: int, dtype: str = "float32") -> Array:
        return (2 * self.generator.random(shape) - 1).astype(dtype)


def bits(values: Any) -> Iterator[bytes]:
    """All bits of arrays, dictionaries and sequences of them."""
    if isinstance(values, dict):
        for name in sorted(values):
            yield name.encode()
            yield from bits(values[name])
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from bits(value)
    elif isinstance(values, float):
        yield values.hex().encode()
    else:
        array = np.ascontiguousarray(values)
        # What is no number has other bits on other processors.
        assert np.isfinite(array).all()
        yield array.astype(array.dtype.newbyteorder("<")).tobytes()


def recurrent(dtype: str) -> Iterator[tuple[Any, Array]]:
    """Recurrent layers, and sequences for them."""
    for number, (kind, options) in enumerate(CELLS):
        for inputs, hidden, batch, time in SIZES:
            more = {"num_layers": 2, "bidirectional": number % 2 == 0}
            layer = getattr(gatewise, kind)(
                inputs, hidden, **options, **more, dtype=dtype, seed=number
            )
            yield layer, Draw(number)(batch, time, inputs, dtype=dtype)


def simple(dtype: str) -> Iterator[tuple[Any, Array]]:
    """Layers without a state, and what they take."""
    for inputs, outputs in LINEARS:
        layer: Any = gatewise.Linear(inputs, outputs, dtype=dtype, seed=inputs)
        for rows in (1, 5, 300):
            yield layer, Draw(rows)(rows, inputs, dtype=dtype)
    for outputs in (3, 20):
        layer = gatewise.Conv1d(11, outputs, 4, stride=2, dtype=dtype, seed=5)
        yield layer, Draw(7)(3, 50, 11, dtype=dtype)
    for layer in (gatewise.Tanh(), gatewise.Sigmoid(), gatewise.Softmax()):
        yield layer, 20 * Draw(8)(9, 37, dtype=dtype)


def inference(dtype: str) -> Iterator[Any]:
    """Whole sequences, ragged ones and streams."""
    for layer, x in recurrent(dtype):
        lengths = np.arange(len(x)) * x.shape[1] // max(len(x) - 1, 1)
        yield layer(x)
        yield layer(x, lengths=lengths)
    for layer, x in simple(dtype):
        yield layer(x)
    z = 30 * Draw(12)(997, dtype=dtype)
    for name, numbers in ACTIVATIONS.items():
        out = np.empty_like(z)
        chooser.kernels.activate(Activation(name, *[0.7, 0.4][: len(numbers)]), z, out)
        yield out


def narrow() -> Iterator[Any]:
    """Weights of fewer bits."""
    for layer, x in recurrent("float32"):
        for weight_format in ("float16", "int8"):
            yield layer.quantize(weight_format)(x)


def integers() -> Iterator[Any]:
    """Products of integers: ragged sequences, streams, and rows of any size."""
    for activations in (15, 8):
        for layer, x in recurrent("float32"):
            narrow_layer = layer.quantize("int8", activations=activations)
            lengths = np.arange(len(x)) * x.shape[1] // max(len(x) - 1, 1)
            # Rows that are larger than 1, but saturate no gate, and much smaller ones.
            x = np.ldexp(x, (np.arange(len(x)) % 9 * 2 - 12)[:, None, None])
            y, state = narrow_layer(x, lengths=lengths)
            yield y
            yield narrow_layer(x, state)
            if not layer.bidirectional:
                stream = narrow_layer.stream(len(x))
                yield [stream(x[:, t]).copy() for t in range(3)]
        for layer, x in simple("float32"):
            if isinstance(layer, gatewise.Linear):
                yield layer.quantize("int8", activations=activations)(x)


def gradients(dtype: str) -> Iterator[Any]:
    """All gradients of layers."""
    for layer, x in recurrent(dtype):
        y, _, tape = layer.forward(x)
        yield layer.backward(tape, Draw(9)(*y.shape, dtype=dtype))
    for layer, x in simple(dtype):
        y, tape = layer.forward(x)
        yield layer.backward(tape, Draw(10)(*y.shape, dtype=dtype))


def training(dtype: str) -> Iterator[Any]:
    """Runs of ``fit`` that mix, drop, clip and decay, and the models they end with."""
    draw = Draw(11)
    x, classes = draw(60, 12, 6, dtype=dtype), draw.generator.integers(0, 5, (60, 12))
    optimizers: list[Callable[[], Any]] = [
        lambda: gatewise.Adam(0.01, weight_decay=0.001),
        lambda: gatewise.AdamW(0.01),
        lambda: gatewise.SGD(0.1, momentum=0.9),
    ]
    for number, make in enumerate(optimizers):
        model = gatewise.Sequential(
            gatewise.Linear(6, 16, dtype=dtype, seed=1),
            gatewise.Tanh(),
            gatewise.LSTM(16, 40, 2, dropout=0.2, dtype=dtype, seed=number),
            gatewise.GRU(40, 24, bidirectional=True, dtype=dtype, seed=number),
            gatewise.Linear(48, 5, dtype=dtype, seed=2),
        )
        batches = minibatches(x, classes, batch_size=16, seed=number)
        epochs = gatewise.fit(
            model,
            batches,
            gatewise.softmax_cross_entropy,
            make(),
            epochs=3,
            max_norm=0.5,
            progress=False,
        )
        yield [epoch.loss for epoch in epochs]
        yield model.state_dict()
    layer = gatewise.GRU(6, 6, dtype=dtype, seed=4)
    batches = minibatches(x, np.flip(x, 1).copy(), batch_size=20, seed=5)
    epochs = gatewise.fit(
        layer, batches, gatewise.mse, gatewise.Adam(), epochs=2, progress=False
    )
    yield [epoch.loss for epoch in epochs]
    yield layer.state_dict()


PARTS: dict[str, Callable[[], Iterable[Any]]] = {
    "inference, float32": lambda: inference("float32"),
    "inference, float64": lambda: inference("float64"),
    "inference, narrow weights": narrow,
    "inference, integers": integers,
    "gradients, float32": lambda: gradients("float32"),
    "gradients, float64": lambda: gradients("float64"),
    "fit, float32": lambda: training("float32"),
    "fit, float64": lambda: training("float64"),
}


def digest(part: str) -> str:
    """The hash of all results of a part."""
    hashed = hashlib.sha256()
    with chooser.use("native"):
        for result in PARTS[part]():
            for piece in bits(result):
                hashed.update(piece)
    return hashed.hexdigest()[:16]


def main() -> int:
    """Compare all parts with what is stored, on one thread and on two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="print the hashes")
    options = parser.parse_args()
    failed = tried = 0
    for threads in (1, 2):
        gatewise.set_num_threads(threads)
        for part in PARTS:
            found = digest(part)
            if options.print:
                print(f'    "{part}": "{found}",')
            tried += 1
            if found != STORED.get(part):
                failed += 1
                print(f"{part}, {threads} threads: {found}, not {STORED.get(part)}")
    from gatewise.kernels.native import compiled

    kind = compiled.instruction_set()
    print(f"{kind}, NumPy {np.__version__}: {tried} hashes compared, {failed} differ")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
