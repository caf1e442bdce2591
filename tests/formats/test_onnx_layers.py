"""Layers and nets as ONNX, and back: the same bits, and the same results elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise

onnx = pytest.importorskip("onnx")

# It is made of what onnx has.
from gatewise.formats.onnx import Backend  # noqa: E402

ACTIVATIONS = [
    "tanh",
    "sigmoid",
    "relu",
    "linear",
    "hard_sigmoid",
    ("hard_sigmoid", 0.2),
    "softsign",
    "softplus",
    ("elu", 0.7),
    "leaky_relu",
    ("thresholded_relu", 0.1),
    ("scaled_tanh", 1.2, 0.7),
    ("affine", 0.5, 0.1),
]


def random_layer(generator: Any, features: int, dtype: str = "float32") -> Any:
    """A recurrent layer of whatever kind, with whatever options."""

    def chosen(usual: str) -> Any:
        drawn = ACTIVATIONS[generator.integers(len(ACTIVATIONS))]
        return drawn if generator.random() < 0.5 else usual

    kind = generator.choice(["RNN", "GRU", "LSTM"])
    options: dict[str, Any] = {
        "num_layers": int(generator.integers(1, 4)),
        "bidirectional": bool(generator.integers(2)),
        "bias": bool(generator.random() < 0.7),
        "activation": chosen("tanh"),
        "dtype": dtype,
        "seed": int(generator.integers(1000)),
    }
    if kind != "RNN":
        options["recurrent_activation"] = chosen("sigmoid")
    if kind == "LSTM":
        options["peepholes"] = bool(generator.integers(2))
    if kind == "GRU":
        options["reset_after"] = bool(generator.integers(2))
    size = int(generator.integers(1, 6))
    layer = getattr(gatewise, kind)(features, size, **options)
    if generator.random() < 0.4:
        shape = (layer.num_layers * (2 if layer.bidirectional else 1), size)
        parts = [generator.standard_normal(shape) for _ in range(2)]
        layer.initial_state = parts if kind == "LSTM" else parts[0]
    return layer


def random_net(generator: Any) -> Any:
    """A net of recurrent layers and what stands around them."""
    features, parts = int(generator.integers(1, 6)), []
    first = generator.integers(4)
    if first == 0:
        parts.append(gatewise.Embedding(features, 4, seed=1))
    elif first == 1:
        dilation = int(generator.integers(1, 3))
        parts.append(gatewise.Conv1d(features, 4, 2, padding="causal", dilation=dilation))
    features = features if first > 1 else 4
    for _ in range(generator.integers(1, 3)):
        parts.append(random_layer(generator, features))
        features = parts[-1].hidden_size * (2 if parts[-1].bidirectional else 1)
        kinds = [gatewise.ReLU, gatewise.Tanh, gatewise.Sigmoid, gatewise.Softmax]
        if generator.random() < 0.4:
            parts.append(kinds[generator.integers(4)]())
        if generator.random() < 0.3:
            parts.append(gatewise.Dropout(0.5))
    inner = gatewise.Sequential(*parts[1:]) if len(parts) > 1 else parts[0]
    nested = [parts[0], inner] if len(parts) > 1 and generator.random() < 0.3 else parts
    head = gatewise.Linear(features, 3, bias=bool(generator.integers(2)), seed=2)
    return gatewise.Sequential(*nested, head)


def input_of(generator: Any, net: Any) -> Any:
    batch, time = (int(n) for n in generator.integers(1, 5, 2))
    taken = net._features()[0]
    first = net.layers[0] if isinstance(net, gatewise.Sequential) else net
    if isinstance(first, gatewise.Embedding):
        return generator.integers(0, first.num_embeddings, (batch, time))
    return generator.standard_normal((batch, time, taken)).astype(net.dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_come_back_bit_for_bit(dtype: str, tmp_path: Path, backend: str) -> None:
    generator, path = np.random.default_rng(0), tmp_path / "model.onnx"
    for _ in range(20):
        layer = random_layer(generator, int(generator.integers(1, 5)), dtype)
        gatewise.to_onnx(layer, path)
        own, kind = layer.parameters(), type(layer).__name__.lower()
        ways = 2 if layer.bidirectional else 1
        for index in range(layer.num_layers):
            found = gatewise.from_onnx(path, f"{kind}_l{index}")
            assert type(found) is type(layer)
            for name, array in found.parameters().items():
                wanted = own[name.replace("_l0", f"_l{index}")]
                if name.startswith("initial"):
                    wanted = wanted[index * ways : (index + 1) * ways]
                np.testing.assert_array_equal(array, wanted)
                assert array.dtype == dtype
            for option in ("activation", "recurrent_activation", "bias", "bidirectional"):
                assert getattr(found, option, 0) == getattr(layer, option, 0)
            for option in ("reset_after", "peepholes"):
                assert getattr(found, option, 0) == getattr(layer, option, 0)
        if layer.num_layers == 1:
            x = input_of(generator, layer)
            again, once = gatewise.from_onnx(path)(x), layer(x)
            np.testing.assert_array_equal(again[0], once[0])


def test_nets_compute_the_same_as_models(tmp_path: Path, backend: str) -> None:
    """In ONNX Runtime, where it is installed, and in this package's own backend."""
    try:
        import onnxruntime
    except ImportError:
        onnxruntime = None
    generator, path = np.random.default_rng(3), tmp_path / "model.onnx"
    for _ in range(20):
        net = random_net(generator)
        x = input_of(generator, net)
        gatewise.to_onnx(net, path)
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        found = [Backend.run_model(model, [x])[0]]
        if onnxruntime is not None:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            session = onnxruntime.InferenceSession(path, options)
            found.append(session.run(None, {"x": x})[0])
        for y in found:
            np.testing.assert_allclose(y, net(x)[0], 1e-5, 1e-5)


def test_states_are_inputs_and_outputs_on_request(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "model.onnx"
    lstm = gatewise.LSTM(3, 4, 2, bidirectional=True, seed=0)
    # Not used, since the model is given one.
    lstm.initial_state = np.ones((4, 4)), np.ones((4, 4))
    net = gatewise.Sequential(lstm, gatewise.GRU(8, 2, seed=1))
    gatewise.to_onnx(net, path, states=True)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    names = ["x", "0.initial_h", "0.initial_c", "1.initial_h"]
    assert [value.name for value in model.graph.input] == names
    outputs = ["y", "0.final_h", "0.final_c", "1.final_h"]
    assert [value.name for value in model.graph.output] == outputs
    generator = np.random.default_rng(0)
    shapes = [(2, 5, 3), (4, 2, 4), (4, 2, 4), (1, 2, 2)]
    x, h, c, last = (generator.standard_normal(s).astype(np.float32) for s in shapes)
    y, (finals, final) = net(x, [(h, c), last])
    prepared = Backend.prepare(model)
    for given in ([x, h, c, last], dict(zip(names, [x, h, c, last], strict=True))):
        for one, other in zip(prepared.run(given), [y, *finals, final], strict=True):
            np.testing.assert_allclose(one, other, 1e-5, 1e-5)


def test_tokens_and_shared_layers(tmp_path: Path, backend: str) -> None:
    path, tokens = tmp_path / "model.onnx", np.array([[0, 4, 2], [1, 1, 3]])
    for dtype in ("float32", "float64"):
        layer = gatewise.GRU(5, 3, tokens=True, dtype=dtype, seed=0)
        gatewise.to_onnx(layer, path)
        y = Backend.run_model(onnx.load(path), tokens)[0]
        np.testing.assert_allclose(y, layer(tokens)[0], 1e-5, 1e-5)
    shared = gatewise.GRU(3, 3, seed=0)
    net = gatewise.Sequential(shared, gatewise.Dropout(0.1), shared)
    gatewise.to_onnx(net, path)
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer if "_l0" in tensor.name}
    assert weights == {"0.W_l0", "0.R_l0", "0.B_l0"}
    x = np.ones((2, 4, 3), np.float32)
    np.testing.assert_allclose(Backend.run_model(model, x)[0], net(x)[0], 1e-5, 1e-5)


def test_other_layers(tmp_path: Path, backend: str) -> None:
    path, x = tmp_path / "model.onnx", np.linspace(-2, 2, 30, dtype=np.float32)
    x = x.reshape(2, 5, 3)
    mixed = gatewise.Sequential(
        gatewise.GRU(3, 2, dtype="float64", seed=0), gatewise.RNN(2, 2, seed=0)
    )
    convolution = gatewise.Conv1d(3, 2, 3, stride=2, padding=1, seed=0)
    for net in (
        gatewise.ReLU(),
        gatewise.Linear(3, 2),
        gatewise.Dropout(),
        mixed,
        convolution,
    ):
        gatewise.to_onnx(net, path)
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        y = net(x)
        y = y[0] if isinstance(y, tuple) else y
        given = x.astype(np.float64) if net is mixed else x
        np.testing.assert_allclose(Backend.run_model(model, given)[0], y, 1e-5, 1e-5)
    narrow = gatewise.LSTM(3, 4, seed=0).quantize("int8")
    gatewise.to_onnx(narrow, path)
    np.testing.assert_allclose(gatewise.from_onnx(path)(x)[0], narrow(x)[0], 1e-5, 1e-5)


def test_what_onnx_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for layer, message in (
        (gatewise.LSTM(3, 4, proj_size=2), "proj_size should be 0 for ONNX, got 2"),
        (gatewise.GRU(3, 4, zoneout=0.1), "zoneout should be 0 for ONNX, got 0.1"),
        (gatewise.LSTM(3, 4, cell_zoneout=0.1), "cell_zoneout should be 0 for ONNX"),
        (gatewise.RNN(3, 4, activation="selu"), "activation should be one that ONNX has"),
        (gatewise.RNN(3, 4, activation="exponential"), "activation should be one that"),
    ):
        for net in (layer, gatewise.Sequential(layer, gatewise.ReLU())):
            with pytest.raises(ValueError, match=message):
                gatewise.to_onnx(net, path)
    with pytest.raises(TypeError, match="model should be a layer, got int"):
        gatewise.to_onnx(3, path)  # type: ignore[arg-type]
    assert not path.exists()
