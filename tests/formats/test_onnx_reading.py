"""Layers out of ONNX's nodes, as exporters write them, and nodes that no layer can be."""

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
from gatewise.gates import reordered
from tests.formats import onnx_models as models

onnx = pytest.importorskip("onnx")


def save(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


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
    with pytest.raises(
        FormatError, match="W should be a constant for a layer, got 'W', which is an input"
    ):
        gatewise.from_onnx(path)
    # Which needs itself.
    loop = onnx.helper.make_node("Identity", ["W"], ["W"])
    path = save(tmp_path / "model.onnx", models.model([loop, *model.graph.node]))
    with pytest.raises(
        FormatError,
        match="W should be a constant for a layer, got 'W', which is of a Identity",
    ):
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


def test_copies_of_weights_that_would_be_too_many(tmp_path: Path) -> None:
    make = onnx.helper.make_node
    wide = models.tensor("w0", np.zeros((100, 50)))
    shapes = [models.tensor(f"s{n}", [25 << n, 200 >> n], np.int64) for n in range(2)]
    nodes = []
    # Each of these is turned over, and so written anew.
    for chain in range(40):
        last = "w0"
        for n in range(25):
            turned, after = f"t{chain}_{n}", f"w{chain}_{n}"
            nodes.append(make("Transpose", [last], [turned]))
            nodes.append(make("Reshape", [turned, f"s{n % 2}"], [after]))
            last = after
    nodes.append(make("Concat", [f"w{chain}_24" for chain in range(40)], ["W"], axis=0))
    model = with_node("GRU", [wide, *shapes], nodes)
    del model.graph.initializer[0]
    path = save(tmp_path / "model.onnx", model)
    with pytest.raises(FormatError, match=r"the Reshape '.*' .*results should fit their"):
        gatewise.from_onnx(path)


def test_states_that_would_be_too_large(tmp_path: Path) -> None:
    make, path = onnx.helper.make_node, tmp_path / "model.onnx"
    tensors = [
        models.tensor("rows", np.arange(1000.0).reshape(1000, 1, 1)),
        models.tensor("columns", np.arange(1000.0).reshape(1, 1, 1000)),
    ]
    size = make("Shape", ["x"], ["size"])
    for nodes in (
        [
            make("Expand", ["rows", "size"], ["a"]),
            make("Expand", ["columns", "size"], ["b"]),
            make("Mul", ["a", "b"], ["initial_h"]),
        ],
        [
            make("Expand", ["columns", "size"], ["h0"]),
            *(make("Concat", [f"h{n}"] * 2, [f"h{n + 1}"], axis=2) for n in range(20)),
            make("Identity", ["h20"], ["initial_h"]),
        ],
    ):
        save(path, with_node("GRU", tensors, [size, *nodes]))
        with pytest.raises(FormatError, match=r"results should fit their room"):
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


def test_states_that_are_tiled_and_added(tmp_path: Path) -> None:
    """As PyTorch's ``repeat`` is exported, and a state with zeros added."""
    make, path = onnx.helper.make_node, tmp_path / "model.onnx"
    h = [1.0, 2.0, 3.0]
    size = [
        make("Shape", ["x"], ["batch"], start=1, end=2),
        make("Concat", ["one", "batch", "one"], ["counts"], axis=0),
        make("Shape", ["counts"], ["axes"]),
        make("ConstantOfShape", ["axes"], ["ones"], value=models.tensor("", [1], np.int64)),
        make("ConstantOfShape", ["counts"], ["zeros"]),
        make("Add", ["both", "zeros"], ["added"]),
        make("Expand", ["added", "ones"], ["expanded"]),
        make("Tile", ["expanded", "counts"], ["tiled"]),
        make("Slice", ["tiled", "zero", "one", "zero"], ["initial_h"]),
    ]
    tensors = [
        models.tensor("both", [[h], [[4.0, 5.0, 6.0]]]),
        models.tensor("one", [1], np.int64),
        models.tensor("zero", [0], np.int64),
    ]
    found = gatewise.from_onnx(save(path, with_node("GRU", tensors, size)))
    np.testing.assert_array_equal(found.initial_state, [h])


@pytest.mark.parametrize("op_type", ["Expand", "Tile"])
def test_states_of_several_layers_in_one(op_type: str, tmp_path: Path) -> None:
    """The second of three, of which the first two are the same: one too few was counted."""
    make, path = onnx.helper.make_node, tmp_path / "model.onnx"
    first, other = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    last = "three" if op_type == "Expand" else "one"
    nodes = [
        make("Shape", ["x"], ["batch"], start=1, end=2),
        *(
            make("Concat", [count, "batch", last], [f"{count}_times"], axis=0)
            for count in ("one", "two")
        ),
        make(op_type, ["first", "two_times"], ["a"]),
        make(op_type, ["other", "one_times"], ["b"]),
        make("Concat", ["a", "b"], ["all"], axis=0),
        make("Slice", ["all", "one", "two", "zero"], ["initial_h"]),
    ]
    tensors = [
        models.tensor("first", [[first]]),
        models.tensor("other", [[other]]),
        *(
            models.tensor(name, [value], np.int64)
            for name, value in (("zero", 0), ("one", 1), ("two", 2), ("three", 3))
        ),
    ]
    save(path, with_node("GRU", tensors, nodes))
    with pytest.raises(FormatError, match="initial_h should be a constant, the same for"):
        gatewise.from_onnx(path)
    # With one of each it is known where they stand.
    nodes[3].input[1] = "one_times"
    found = gatewise.from_onnx(save(path, with_node("GRU", tensors, nodes)))
    np.testing.assert_array_equal(found.initial_state, [other])


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
