"""Layers out of ONNX's nodes, and nets as ONNX: round trips, exporters, refusals."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.formats.errors import FormatError
from gatewise.formats.onnx import Backend
from gatewise.gates import reordered
from tests import onnx_models as models

onnx = pytest.importorskip("onnx")

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


def save(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


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


@pytest.mark.parametrize("name", models.TORCH)
def test_what_pytorch_exports(name: str, tmp_path: Path, backend: str) -> None:
    figures = models.torch_figures()
    path = tmp_path / "model.onnx"
    path.write_bytes(figures[f"{name}.file"].tobytes())
    y = figures[f"{name}.x"]
    nodes = figures[f"{name}.nodes"].tolist()
    assert len(nodes) == 2
    for node in nodes:
        layer = gatewise.from_onnx(path, node)
        assert (layer.initial_state is not None) == (
            name in ("lstm_learnt", "gru", "lstm_dynamo")
        )
        y = layer(y)[0]
    np.testing.assert_allclose(y, figures[f"{name}.y"], 1e-5, 1e-6)
    first, second = (f"{node!r} ({name.split('_')[0].upper()})" for node in nodes)
    with pytest.raises(FormatError) as refused:
        gatewise.from_onnx(path)
    assert str(refused.value) == (
        f"{path}: node should say which one of several: {first}, {second}"
    )


def test_what_pytorch_exports_now(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True)
    start = torch.nn.Parameter(torch.randn(4, 1, 4))

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.start = net, start

        def forward(self, x: Any) -> Any:
            state = self.start.expand(-1, x.shape[0], -1).contiguous()
            return self.net(x, (state, state))[0]

    model, x, file = Net().eval(), torch.randn(2, 5, 3), io.BytesIO()
    axes = {"x": {0: "batch", 1: "time"}}
    with warnings.catch_warnings():
        # It is an old exporter, and says so.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (x,), file, dynamo=False, input_names=["x"], dynamic_axes=axes
        )
    path = tmp_path / "model.onnx"
    path.write_bytes(file.getvalue())
    nodes = [node for node in onnx.load(path).graph.node if node.op_type == "LSTM"]
    y = x.numpy()
    for node in nodes:
        y = gatewise.from_onnx(path, node.output[0])(y)[0]
    np.testing.assert_allclose(y, model(x).detach().numpy(), 1e-5, 1e-5)


def test_nodes_in_inner_graphs(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", models.nested())
    layers = [
        gatewise.from_onnx(path, name)
        for name in ("then_gru", "else_gru", "else_y", "choice.then_branch/then_gru")
    ]
    for layer in layers:
        assert (layer.reset_after, layer.bias, layer.dtype) == (False, False, np.float32)
        np.testing.assert_array_equal(
            layer.parameters()["weight_ih_l0"], layers[0].parameters()["weight_ih_l0"]
        )
    with pytest.raises(
        FormatError, match="node should be the name of one of these, got 'x'"
    ):
        gatewise.from_onnx(path, "x")
    with pytest.raises(TypeError, match="node should be a name or None, got int"):
        gatewise.from_onnx(path, 3)  # type: ignore[arg-type]


def test_weights_that_exporters_have_turned(tmp_path: Path) -> None:
    layer = gatewise.from_onnx(save(tmp_path / "model.onnx", models.folded()))
    w, r = models.folded_weights()
    np.testing.assert_array_equal(layer.parameters()["weight_ih_l0"], w)
    np.testing.assert_array_equal(layer.parameters()["weight_hh_l0"], r)
    assert (layer.reset_after, layer.bias) == (False, False)


def constant(name: str, array: Any) -> Any:
    return models.tensor(name, array)


def with_node(
    kind: str, more: Sequence[Any] = (), nodes: Sequence[Any] = (), **attributes: Any
) -> Any:
    """A model with a node of 3 units, and the inputs that `more` are tensors for."""
    generator, gates = np.random.default_rng(0), {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    tensors = [
        constant("W", generator.standard_normal((ways, gates * 3, 2))),
        constant("R", generator.standard_normal((ways, gates * 3, 3))),
    ]
    names = ["x", "W", "R", "", "", "initial_h", "initial_c", "P"]
    there = {each.name for each in more} | {out for node in nodes for out in node.output}
    inputs = [name if name in ("x", "W", "R") or name in there else "" for name in names]
    while not inputs[-1]:
        inputs.pop()
    node = onnx.helper.make_node(kind, inputs, ["y"], **attributes)
    return models.model([*nodes, node], [*tensors, *more])


@pytest.mark.parametrize(
    ("kind", "attributes", "message"),
    [
        ("GRU", {"direction": "reverse"}, "should begin at the start of sequences"),
        ("GRU", {"clip": 1.0}, "a layer should not clip its sums, got clip 1.0"),
        ("LSTM", {"input_forget": 1}, "should have a forget gate of its own"),
        (
            "RNN",
            {"direction": "bidirectional", "activations": ["Tanh", "Relu"]},
            "the same activations in both directions",
        ),
        (
            "LSTM",
            {"activations": ["Sigmoid", "Tanh", "Relu"]},
            "one activation for the candidate and for c, got tanh and relu",
        ),
        (
            "RNN",
            {"activations": ["Elu"], "activation_alpha": [-1.0]},
            "does not follow from",
        ),
        ("RNN", {"activations": ["Mish"]}, "activations should be of Relu"),
        ("RNN", {"hidden_size": 4}, "W should have shape"),
    ],
)
def test_what_a_layer_cannot_be(
    kind: str, attributes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "model.onnx", with_node(kind, **attributes))
    with pytest.raises(FormatError, match=message) as refused:
        gatewise.from_onnx(path)
    assert str(refused.value).startswith(f"{path}: y: ")
    if str(refused.value).startswith(f"{path}: y: a layer"):
        assert "gatewise.formats.onnx.run_node runs such a node" in str(refused.value)


def test_weights_that_are_no_constants(tmp_path: Path) -> None:
    model = with_node("GRU")
    del model.graph.initializer[0]
    path = save(tmp_path / "model.onnx", model)
    with pytest.raises(FormatError, match="W should be a constant for a layer, got 'W'"):
        gatewise.from_onnx(path)
    # Which needs itself.
    loop = onnx.helper.make_node("Identity", ["W"], ["W"])
    path = save(tmp_path / "model.onnx", models.model([loop, *model.graph.node]))
    with pytest.raises(FormatError, match="W should be a constant for a layer, got 'W'"):
        gatewise.from_onnx(path)
    del model.graph.node[:]
    path = save(tmp_path / "model.onnx", model)
    with pytest.raises(FormatError, match="should have an RNN, an LSTM or a GRU, got none"):
        gatewise.from_onnx(path)


def test_results_that_would_be_too_large(tmp_path: Path) -> None:
    make = onnx.helper.make_node
    for nodes, tensors in (
        (
            [make("Expand", ["one", "shape"], ["W"])],
            [models.tensor("one", 1), models.tensor("shape", [1, 9, 2**40], np.int64)],
        ),
        (
            [make("ConstantOfShape", ["shape"], ["W"])],
            [models.tensor("shape", [2**20, 2**20, 2**20], np.int64)],
        ),
        (
            [make("Concat", [f"w{n}"] * 2, [f"w{n + 1}"], axis=0) for n in range(40)]
            + [make("Identity", ["w40"], ["W"])],
            [models.tensor("w0", [1.0])],
        ),
    ):
        model = with_node("GRU")
        del model.graph.initializer[0]
        model.graph.initializer.extend(tensors)
        ordered = [*nodes, *model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend(ordered)
        path = save(tmp_path / "model.onnx", model)
        with pytest.raises(FormatError, match="results should fit their room"):
            gatewise.from_onnx(path)


def state(array: Any, name: str = "initial_h") -> list[Any]:
    return [models.tensor(name, array)]


def test_constant_states(tmp_path: Path) -> None:
    path, h = tmp_path / "model.onnx", [1.0, 2.0, 3.0]

    def start(kind: str, *more: Any, **attributes: Any) -> Any:
        return gatewise.from_onnx(
            save(path, with_node(kind, *more, **attributes))
        ).initial_state

    assert start("GRU", state([[[0.0] * 3] * 2])) is None
    np.testing.assert_array_equal(start("GRU", state([[h]])), [h])
    np.testing.assert_array_equal(start("GRU", state([[h, h]])), [h])
    np.testing.assert_array_equal(start("GRU", state([[h], [h]]), layout=1), [h])
    both = start("GRU", state([[h], [[4, 5, 6]]]), direction="bidirectional")
    np.testing.assert_array_equal(both, [h, [4, 5, 6]])
    found = start("LSTM", state([[h]], "initial_c"))
    np.testing.assert_array_equal(found, [np.zeros((1, 3)), [h]])
    with pytest.raises(
        FormatError, match="initial_h should be a constant, the same for all"
    ):
        start("GRU", state([[h, [0, 0, 0]]]))
    with pytest.raises(FormatError, match="initial_h should have shape"):
        start("GRU", state([[[1.0, 2.0]]]))


def test_states_that_exporters_repeat(tmp_path: Path) -> None:
    make, path = onnx.helper.make_node, tmp_path / "model.onnx"
    h, other = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    # As many sequences as x has.
    size = [
        make("Shape", ["x"], ["batch"], start=1, end=2),
        make("Concat", ["one", "batch", "three"], ["sizes"], axis=0),
        make("Concat", ["batch", "three"], ["flat"], axis=0),
    ]
    tensors = [
        models.tensor("h", [[h]]),
        models.tensor("two", [[h], [other]]),
        models.tensor("row", h),
        *(
            models.tensor(name, [value], np.int64)
            for name, value in (("zero", 0), ("one", 1), ("three", 3), ("second", 2))
        ),
    ]
    half = models.tensor("half", 0.5)
    filled = models.tensor("", [1.5])
    for nodes, wanted in (
        ([make("Expand", ["h", "sizes"], ["initial_h"])], [h]),
        ([make("ConstantOfShape", ["sizes"], ["initial_h"])], None),
        ([make("ConstantOfShape", ["sizes"], ["initial_h"], value=filled)], [[1.5] * 3]),
        (
            [
                make("Expand", ["row", "flat"], ["rows"]),
                make("Unsqueeze", ["rows", "zero"], ["initial_h"]),
            ],
            [h],
        ),
        (
            [
                make("Expand", ["two", "sizes"], ["all"]),
                make("Slice", ["all", "one", "second", "zero"], ["part"]),
                make("Mul", ["part", "half"], ["initial_h"]),
            ],
            [[2.0, 2.5, 3.0]],
        ),
        (
            [
                make("Expand", ["h", "sizes"], ["all"]),
                make("Transpose", ["all"], ["turned"], perm=[1, 0, 2]),
                make("Transpose", ["turned"], ["initial_h"], perm=[1, 0, 2]),
            ],
            [h],
        ),
        (
            [
                make("ConstantOfShape", ["flat"], ["zeros"]),
                make("Unsqueeze", ["zeros", "one"], ["turned"]),
                make("Reshape", ["turned", "sizes"], ["initial_h"]),
            ],
            None,
        ),
    ):
        model = with_node("GRU", [*tensors, half], [*size, *nodes])
        found = gatewise.from_onnx(save(path, model)).initial_state
        if wanted is None:
            assert found is None
        else:
            np.testing.assert_array_equal(found, wanted)
    # Somebody gives it, so the layer has none of its own.
    given = [make("Identity", ["x"], ["initial_h"])]
    assert gatewise.from_onnx(save(path, with_node("GRU", [], given))).initial_state is None
    # Nobody gives it, and it is not known.
    drawn = [make("RandomNormal", [], ["initial_h"], shape=[1, 1, 3])]
    path = save(path, with_node("GRU", [], drawn))
    with pytest.raises(
        FormatError, match="initial_h should be a constant, the same for all"
    ):
        gatewise.from_onnx(path)


def test_half_precision_is_widened(tmp_path: Path) -> None:
    model = with_node("GRU")
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(models.tensor(tensor.name, values, np.float16))
    layer = gatewise.from_onnx(save(tmp_path / "model.onnx", model))
    assert layer.dtype == np.float32
    w = onnx.numpy_helper.to_array(model.graph.initializer[0])[0]
    wanted = reordered(w.astype(np.float32), "gru", "onnx")
    np.testing.assert_array_equal(layer.parameters()["weight_ih_l0"], wanted)
