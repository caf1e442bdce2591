"""What docs/conversion.md shows runs, on files of each framework, and gives its outputs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise import gates
from tests.formats import amp_files

PAGE = Path(__file__).parents[2] / "docs" / "conversion.md"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the documents are not there")

Names = dict[str, Any]
X = np.random.default_rng(0).standard_normal((2, 7, 3)).astype(np.float32)


def sections() -> dict[str, list[str]]:
    """The blocks of Python below each heading."""
    if not PAGE.is_file():
        return {}
    found = {}
    for section in re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        if blocks:
            found[section.partition("\n")[0]] = blocks
    return found


def run(block: str, names: Names) -> None:
    exec(compile(block, str(PAGE), "exec"), names)


def close(first: Any, second: Any) -> bool:
    return bool(np.abs(np.asarray(first) - np.asarray(second)).max() < 1e-5)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def drawn(*shape: int) -> np.ndarray:
    generator = np.random.default_rng(len(shape) + sum(shape))
    return generator.uniform(-0.8, 0.8, shape).astype(np.float32)


def pytorch(blocks: list[str], names: Names) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    model = torch.nn.ModuleDict(
        {"encoder": torch.nn.LSTM(3, 4, 2, batch_first=True), "head": torch.nn.Linear(4, 5)}
    )
    torch.save({"model": model.state_dict(), "epoch": 3}, "checkpoint.pt")
    take, give = blocks
    run(take, names)
    with torch.no_grad():
        expected, _ = model["encoder"](torch.from_numpy(X))
        outputs, _ = names["encoder"](X)
        assert close(outputs, expected)
        assert close(names["head"](outputs), model["head"](expected))
        names |= {"torch": torch, "module": torch.nn.LSTM(3, 4, 2, batch_first=True)}
        run(give, names)
        again, _ = names["module"](torch.from_numpy(X))
        assert close(again, expected)


def keras(blocks: list[str], names: Names) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="keras is not installed")
    layers = keras.layers
    encoder = layers.GRU(4, name="encoder")
    model = keras.Sequential([keras.Input((7, 3)), encoder, layers.Dense(2)])
    model.save("model.keras")
    names |= {"x": X, "layer": layers.GRU(4)}
    take, give = blocks
    run(take, names)
    assert close(names["last"], keras.ops.convert_to_numpy(encoder(X)))
    names["layer"].build((None, 7, 3))
    run(give, names)
    assert all(map(close, names["layer"].get_weights(), encoder.get_weights()))


def onnx(blocks: list[str], names: Names) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    arrays = {"W": drawn(1, 12, 3), "R": drawn(1, 12, 4), "B": drawn(1, 24)}
    helper, floating = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node(
        "GRU", ["X", "W", "R", "B"], ["Y", "Y_h"], "encoder", hidden_size=4
    )
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("X", floating, ["time", "batch", 3])],
        [helper.make_tensor_value_info("Y", floating, ["time", 1, "batch", 4])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), "model.onnx")
    (block,) = blocks
    names["x"] = X
    run(block, names)
    providers = ["CPUExecutionProvider"]
    session = runtime.InferenceSession("model.onnx", providers=providers)
    (expected,) = session.run(["Y"], {"X": X.swapaxes(0, 1)})
    assert close(names["outputs"], expected[:, 0].swapaxes(0, 1))
    session = runtime.InferenceSession("again.onnx", providers=providers)
    assert close(session.run(["y"], {"x": X})[0], names["outputs"])


def lstm_outputs(step: Callable[[np.ndarray, np.ndarray], list[np.ndarray]]) -> np.ndarray:
    """Outputs for X, where `step` gives the sums of i f g o of inputs and states."""
    h = c = np.zeros((len(X), 4))
    outputs = []
    for x in X.swapaxes(0, 1):
        i, f, g, o = step(x, h)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, 1)


def tensorflow(blocks: list[str], names: Names) -> None:
    kernel, bias = drawn(3 + 4, 16), drawn(16)
    np.savez("weights.npz", kernel=kernel, bias=bias)
    (block,) = blocks
    run(block, names)

    def step(x: np.ndarray, h: np.ndarray) -> list[np.ndarray]:
        i, j, f, o = np.split(np.concatenate([x, h], 1) @ kernel + bias, 4, axis=1)
        return [i, f + 1.0, j, o]

    assert close(names["layer"](X)[0], lstm_outputs(step))


def flax(blocks: list[str], names: Names) -> None:
    cell = {f"i{gate}": {"kernel": drawn(3, 4) + k / 9} for k, gate in enumerate("ifgo")}
    for k, gate in enumerate("ifgo"):
        cell[f"h{gate}"] = {"kernel": drawn(4, 4) - k / 9, "bias": drawn(4) + k / 9}
    names["params"] = {"cell": cell}
    (block,) = blocks
    run(block, names)

    def step(x: np.ndarray, h: np.ndarray) -> list[np.ndarray]:
        sums = []
        for gate in "ifgo":
            of_x, of_h = cell[f"i{gate}"], cell[f"h{gate}"]
            sums.append(x @ of_x["kernel"] + h @ of_h["kernel"] + of_h["bias"])
        return sums

    assert close(names["layer"](X)[0], lstm_outputs(step))


def amplifiers(blocks: list[str], names: Names) -> None:
    said = amp_files.nam_file(1, 8, 1)
    Path("amplifier.nam").write_bytes(json.dumps(said).encode())
    names["samples"] = amp_files.samples(1, 50)[:, 0]
    (block,) = blocks
    run(block, names)
    expected = amp_files.run_nam(said, names["samples"][:, None])
    assert close(names["loud"], np.ravel(expected))


def numpy(blocks: list[str], names: Names) -> None:
    weights = {"w_ih": drawn(12, 3), "w_hh": drawn(12, 4), "b_ih": drawn(12)}
    np.savez("weights.npz", **weights, b_hh=weights["b_ih"] / 2)
    (block,) = blocks
    run(block, names)
    layer = gatewise.GRU(3, 4)
    values = (*weights.values(), weights["b_ih"] / 2)
    layer.set_parameters(dict(zip(layer.parameters(), values, strict=True)))
    assert close(names["layer"](X)[0], layer(X)[0])


CHECKS: dict[str, Callable[[list[str], Names], None]] = {
    "PyTorch": pytorch,
    "Keras": keras,
    "ONNX": onnx,
    "TensorFlow 1 cells": tensorflow,
    "JAX: Flax": flax,
    "Guitar amplifiers: NAM, RTNeural, AIDA-X": amplifiers,
    "NumPy, and anything else": numpy,
}


def test_every_section_is_run() -> None:
    assert list(sections()) == list(CHECKS)


# Keras asks PyTorch for arrays in the old way.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("section", CHECKS)
def test_a_section(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"gatewise": gatewise, "gates": gates, "np": np}
    CHECKS[section](sections()[section], names)


def test_the_orders_are_those_of_the_gates() -> None:
    text = " ".join(PAGE.read_text("utf-8").split())
    # By the words of each framework, in which c, j and h are the candidates.
    said = {
        "keras": {"lstm": "i f c o", "gru": "z r h"},
        "onnx": {"lstm": "i o f c", "gru": "z r h"},
        "tensorflow": {"lstm": "i j f o"},
        "pytorch": {"lstm": "i f g o", "gru": "r z n"},
    }
    for framework, orders in said.items():
        for cell, order in orders.items():
            assert order in text
            candidate = {"lstm": "g", "gru": "n"}[cell]
            letters = re.sub("[cjh]", candidate, order).replace(" ", "")
            assert gates.ORDERS[cell][framework] == letters
