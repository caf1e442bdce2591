"""The ONNX model of a case, for the two runtimes that run it."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from comparison.grid import Case
from comparison.work import Array, Arrays, Work

# Where PyTorch's gates stand in ONNX's order.
_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}


def state_names(case: Case) -> list[tuple[str, str]]:
    """The inputs of a streaming model that carry the state, each with its output."""
    parts = "hc" if case.cell == "lstm" else "h"
    return [(f"{p}{i}", f"{p}{i}_next") for i in range(case.layers) for p in parts]


def build(case: Case, work: Work) -> bytes:
    """Return a model that maps x, time first, to y, for exactly the sizes of the case.

    A streaming case has its state as further inputs and outputs.
    """
    graph = _Graph(case, work.weights)
    y = "x"
    for layer in range(case.layers):
        y = graph.add_layer(layer, y)
    graph.node("Identity", [y], ["y"])
    inputs = [_value("x", (case.time, case.batch, case.input_size))]
    outputs = [_value("y", (case.time, case.batch, case.directions * case.hidden_size))]
    if case.streaming:
        shape = (1, case.batch, case.hidden_size)
        for before, after in state_names(case):
            inputs.append(_value(before, shape))
            outputs.append(_value(after, shape))
    model = helper.make_model(
        helper.make_graph(graph.nodes, case.cell, inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    serialized: bytes = model.SerializeToString()
    return serialized


class _Graph:
    def __init__(self, case: Case, weights: Arrays) -> None:
        self.case = case
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(
        self, kind: str, inputs: list[str], outputs: list[str], **options: Any
    ) -> None:
        self.nodes.append(helper.make_node(kind, inputs, outputs, **options))

    def constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add_layer(self, layer: int, x: str) -> str:
        case = self.case
        options: dict[str, Any] = {"hidden_size": case.hidden_size}
        if case.cell == "gru":
            options["linear_before_reset"] = 1
        if case.directions == 2:
            options["direction"] = "bidirectional"
        inputs = [
            x,
            self.constant(f"W{layer}", self._stacked("weight_ih", layer)),
            self.constant(f"R{layer}", self._stacked("weight_hh", layer)),
            self.constant(
                f"B{layer}",
                np.concatenate(
                    [self._stacked("bias_ih", layer), self._stacked("bias_hh", layer)],
                    axis=1,
                ),
            ),
        ]
        outputs = [f"Y{layer}"]
        if case.streaming:
            own = [pair for pair in state_names(case) if pair[0][1:] == str(layer)]
            inputs += ["", *(before for before, _ in own)]
            outputs += [after for _, after in own]
        self.node(case.cell.upper(), inputs, outputs, **options)
        return self._merge_directions(layer, outputs[0])

    def _merge_directions(self, layer: int, y: str) -> str:
        """From (time, directions, batch, H) to (time, batch, features)."""
        case, merged = self.case, f"y{layer}"
        if case.directions == 2:
            self.node("Transpose", [y], [f"{y}_swapped"], perm=[0, 2, 1, 3])
            y = f"{y}_swapped"
        shape = np.array([case.time, case.batch, case.directions * case.hidden_size])
        self.node("Reshape", [y, self.constant(f"shape{layer}", shape)], [merged])
        return merged

    def _stacked(self, name: str, layer: int) -> Array:
        """One parameter of all directions of a layer, in ONNX's order of gates."""
        arrays = []
        for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: self.case.directions]:
            value = self.weights[name + suffix]
            gates = value.reshape(self.case.gates, self.case.hidden_size, -1)
            arrays.append(gates[list(_ORDER[self.case.cell])].reshape(value.shape))
        return np.stack(arrays)


def _value(name: str, shape: tuple[int, ...]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
