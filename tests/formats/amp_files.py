"""Small files of guitar amplifiers' networks, and what these compute, in plain NumPy."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Json = dict[str, Any]

__all__ = [
    "KINDS",
    "NAM_SIZES",
    "aida_file",
    "encoded",
    "examples",
    "guitarml_file",
    "nam_file",
    "rtneural_file",
    "run_guitarml",
    "run_nam",
    "run_rtneural",
    "samples",
]

# Every layer and activation that RTNeural can load from its JSON, by their sizes.
KINDS: list[list[tuple[Any, ...]]] = [
    [("lstm", 5), ("dense", 1, "")],
    [("gru", 4), ("dense", 3, "sigmoid"), ("dense", 1, "")],
    [("dense", 3, "tanh"), ("lstm", 4), ("lstm", 3), ("time-distributed-dense", 2, "relu")],
    [("dense", 4, ""), ("activation", 4, "softmax"), ("dense", 2, "elu")],
    [("dense", 4, ""), ("activation", 4, "elu"), ("prelu", 4), ("batchnorm", 4, True)],
    [("dense", 3, ""), ("prelu", 3, 1), ("batchnorm", 3, False), ("dense", 1, "tanh")],
    [("conv1d", 4, 3, 2, 1, "tanh"), ("conv1d", 6, 2, 1, 2, ""), ("gru", 3)],
    [("conv1d", 3, 1, 1, 1, "relu"), ("conv1d", 2, 4, 3, 1, ""), ("dense", 1, "")],
]

# Inputs, units, layers and outputs.
NAM_SIZES = [(1, 8, 1, 1), (1, 5, 3, 1), (3, 4, 2, 2)]


def encoded(said: Json) -> bytes:
    return json.dumps(said).encode()


def examples() -> list[bytes]:
    """Real files of all kinds, small ones, to change bytes of."""
    files = [
        nam_file(1, 3, 1),
        nam_file(2, 2, 2, 2, sample_rate=44100, metadata={"name": "é", "loudness": -18.5}),
        {"architecture": "WaveNet", "version": "0.5.4", "config": {}, "weights": [1.5, 2]},
        *(rtneural_file(kinds, 1 + number % 2) for number, kinds in enumerate(KINDS)),
        aida_file(1, in_gain=-3.0, out_gain=6, in_skip=1),
        *(guitarml_file(unit, 1, 3, layers=2, skip=1) for unit in ("LSTM", "GRU", "RNN")),
        {"gru.weight_ih_l0": numbers((6, 1), 0), "gru.bias_ih_l0": numbers((6,), 1)},
    ]
    return [encoded(said) for said in files] + [json.dumps(files[2], indent=4).encode()]


def numbers(shape: tuple[int, ...], seed: int, scale: float = 0.7) -> Any:
    """Random numbers of float32 as JSON has them."""
    drawn = np.random.default_rng(seed).normal(0, scale, shape)
    return drawn.astype(np.float32).tolist()


def samples(inputs: int, steps: int) -> Array:
    """Something to hear: ``(time, inputs)``."""
    drawn = np.random.default_rng(7).uniform(-1, 1, (steps, inputs))
    return drawn.astype(np.float32)


def nam_file(
    inputs: int, units: int, layers: int, outputs: int = 1, *, seed: int = 0, **more: Any
) -> Json:
    config = {"input_size": inputs, "hidden_size": units, "num_layers": layers}
    if inputs > 1 or outputs > 1:
        config |= {"in_channels": inputs, "out_channels": outputs}
    count = outputs * (units + 1)
    for layer in range(layers):
        count += 4 * units * ((units if layer else inputs) + units) + 6 * units
    return {
        "version": "0.5.4",
        "architecture": "LSTM",
        "config": config,
        "weights": numbers((count,), seed),
        **more,
    }


def rtneural_file(kinds: list[tuple[Any, ...]], inputs: int, *, seed: int = 0) -> Json:
    layers, size = [], inputs
    for position, (kind, out, *options) in enumerate(kinds):
        shapes: list[tuple[int, ...]] = []
        layer: Json = {"type": kind, "activation": "", "shape": [None, None, out]}
        if kind in ("dense", "time-distributed-dense"):
            shapes = [(size, out), (out,)]
            layer["activation"] = options[0]
        elif kind == "lstm":
            shapes = [(size, 4 * out), (out, 4 * out), (4 * out,)]
            layer["activation"] = "tanh"
        elif kind == "gru":
            shapes = [(size, 3 * out), (out, 3 * out), (2, 3 * out)]
        elif kind == "conv1d":
            kernel, dilation, groups, layer["activation"] = options
            shapes = [(kernel, size // groups, out), (out,)]
            layer |= {"kernel_size": [kernel], "dilation": [dilation], "groups": groups}
        elif kind == "prelu":
            shapes = [(1, options[0] if options else out)]
        elif kind == "batchnorm":
            shapes = [(out,)] * (4 if options[0] else 2)
            layer["epsilon"] = 0.01
        else:
            layer["activation"] = options[0]
        weights = [
            numbers(shape, 100 * seed + 10 * position + k) for k, shape in enumerate(shapes)
        ]
        if kind == "batchnorm":
            weights[-1] = [abs(number) + 0.1 for number in weights[-1]]
        layers.append({**layer, "weights": weights})
        size = out
    return {"in_shape": [None, None, inputs], "layers": layers}


def aida_file(inputs: int, *, seed: int = 0, **more: Any) -> Json:
    said = rtneural_file([("lstm", 4), ("dense", 1, "")], inputs, seed=seed)
    x = numbers((7, inputs), seed + 50)
    return {
        **said,
        "input_batch": np.ravel(x).tolist(),
        "output_batch": run_rtneural(said, np.array(x)).ravel().tolist(),
        "metadata": {"name": "tweed", "samplerate": "48000", "esr": 0.25},
        **more,
    }


def guitarml_file(
    unit: str, inputs: int, units: int, *, layers: int = 1, skip: int = 0, seed: int = 0
) -> Json:
    rows = {"LSTM": 4, "GRU": 3, "RNN": 1}[unit] * units
    state = {}
    for layer in range(layers):
        first = 10 * layer + seed
        shape = (rows, units if layer else inputs)
        state[f"rec.weight_ih_l{layer}"] = numbers(shape, first)
        state[f"rec.weight_hh_l{layer}"] = numbers((rows, units), first + 1)
        state[f"rec.bias_ih_l{layer}"] = numbers((rows,), first + 2)
        state[f"rec.bias_hh_l{layer}"] = numbers((rows,), first + 3)
    state["lin.weight"] = numbers((1, units), seed + 90)
    state["lin.bias"] = numbers((1,), seed + 91)
    data = {
        "model": "SimpleRNN",
        "input_size": inputs,
        "skip": skip,
        "output_size": 1,
        "unit_type": unit,
        "num_layers": layers,
        "hidden_size": units,
        "bias_fl": True,
    }
    return {"model_data": data, "state_dict": state}


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def run_nam(said: Json, x: Array) -> Array:
    """The network of a file over ``(time, inputs)``, number by number as they stand."""
    config, left = said["config"], iter(said["weights"])
    units, read = config["hidden_size"], config["input_size"]

    def take(*shape: int) -> Array:
        return np.array([next(left) for _ in range(int(np.prod(shape)))]).reshape(shape)

    y = np.asarray(x, np.float64)
    for _ in range(config["num_layers"]):
        weight, bias = take(4 * units, read + units), take(4 * units)
        h, c = take(units), take(units)
        steps = []
        for step in y:
            i, f, g, o = np.split(weight @ np.concatenate([step, h]) + bias, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            steps.append(h)
        y, read = np.array(steps), units
    outputs = config.get("out_channels", 1)
    y = y @ take(outputs, units).T + take(outputs)
    assert next(left, None) is None
    return y


def lstm(kernel: Array, recurrent: Array, bias: Array, x: Array) -> Array:
    """Keras' LSTM, whose gates are i f c o."""
    h = c = np.zeros(len(recurrent))
    steps = []
    for step in x:
        i, f, g, o = np.split(step @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        steps.append(h)
    return np.array(steps)


def gru(kernel: Array, recurrent: Array, bias: Array, x: Array) -> Array:
    """Keras' GRU with reset_after, whose gates are z r h."""
    h = np.zeros(len(recurrent))
    steps = []
    for step in x:
        xz, xr, xh = np.split(step @ kernel + bias[0], 3)
        hz, hr, hh = np.split(h @ recurrent + bias[1], 3)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        h = z * h + (1 - z) * np.tanh(xh + r * hh)
        steps.append(h)
    return np.array(steps)


def convolution(layer: Json, kernel: Array, bias: Array, x: Array) -> Array:
    """Keras' Conv1D with causal padding."""
    dilation, groups = layer["dilation"][0], layer["groups"]
    size, read, out = kernel.shape
    y = np.tile(bias, (len(x), 1))
    for t in range(len(x)):
        for k in range(size):
            before = t - (size - 1 - k) * dilation
            if before < 0:
                continue
            for j in range(out):
                first = j // (out // groups) * read
                y[t, j] += x[before, first : first + read] @ kernel[k, :, j]
    return y


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
}


def run_rtneural(said: Json, x: Array) -> Array:
    """The layers of a file over ``(time, inputs)``."""
    y = np.asarray(x, np.float64)
    for layer in said["layers"]:
        weights = [np.array(array) for array in layer["weights"]]
        kind = layer["type"]
        if kind in ("lstm", "gru"):
            y = {"lstm": lstm, "gru": gru}[kind](*weights, y)
            continue
        if kind in ("dense", "time-distributed-dense"):
            y = y @ weights[0] + sum(weights[1:])
        elif kind == "conv1d":
            y = convolution(layer, *weights, y)
        elif kind == "prelu":
            y = np.where(y >= 0, y, y * weights[0])
        elif kind == "batchnorm":
            mean, variance = weights[-2:]
            y = (y - mean) / np.sqrt(variance + layer["epsilon"])
            if len(weights) == 4:
                y = y * weights[0] + weights[1]
        y = ACTIVATIONS[layer["activation"]](y)
    return y


def run_guitarml(said: Json, x: Array) -> Array:
    """The network of a file over ``(time, inputs)``, without the sum around it."""
    data = said["model_data"]
    arrays = {name: np.array(array) for name, array in said["state_dict"].items()}
    y = np.asarray(x, np.float64)
    for layer in range(data["num_layers"]):
        w, u, b, v = (
            arrays[f"rec.{part}_l{layer}"]
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        if data["unit_type"] == "LSTM":
            y = lstm(w.T, u.T, b + v, y)
            continue
        if data["unit_type"] == "GRU":
            # From r z n to z r n.
            order = np.arange(3 * len(u.T)).reshape(3, -1)[[1, 0, 2]].ravel()
            y = gru(w[order].T, u[order].T, np.stack([b[order], v[order]]), y)
            continue
        h, steps = np.zeros(len(u)), []
        for step in y:
            h = np.tanh(w @ step + b + u @ h + v)
            steps.append(h)
        y = np.array(steps)
    return y @ arrays["lin.weight"].T + arrays["lin.bias"]
