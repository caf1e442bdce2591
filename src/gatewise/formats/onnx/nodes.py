"""Recurrent layers as nodes of ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.onnx import functions
from gatewise.formats.onnx.graph import Graph
from gatewise.formats.onnx.plan import OPERATORS
from gatewise.formats.onnx.tensors import number_of
from gatewise.gates import reordered, reordered_peepholes
from gatewise.kernels import formats
from gatewise.layers import GRU, LSTM, Recurrent

Array = NDArray[Any]

__all__ = ["Value", "add_recurrent"]


class Value(NamedTuple):
    """A name in a graph, and what stands under it: sequences, or tokens if integers."""

    name: str
    dtype: np.dtype[Any]
    is_time_first: bool = False

    @property
    def is_tokens(self) -> bool:
        """Whether there is no axis for features."""
        return self.dtype.kind == "i"

    def batch_first(self, graph: Graph) -> Value:
        """Return it with the batch as its first axis."""
        return self._turned(graph) if self.is_time_first else self

    def time_first(self, graph: Graph) -> Value:
        """Return it with the time as its first axis."""
        return self if self.is_time_first else self._turned(graph)

    def _turned(self, graph: Graph) -> Value:
        axes = [1, 0] if self.is_tokens else [1, 0, 2]
        name = graph.node("Transpose", [self.name], perm=axes)
        return self._replace(name=name, is_time_first=not self.is_time_first)


def add_recurrent(
    graph: Graph, layer: Recurrent, prefix: str, own: str, x: Value, *, states: bool
) -> Value:
    """Add a node for each layer of a recurrent one, and return what the last one gives.

    Parameters
    ----------
    graph
    layer
    prefix, own
        What stands before the names of nodes and states, and of constants.
    x
        What the layer reads.
    states
        Whether states are inputs and outputs of the graph.

    Raises
    ------
    ValueError
        If ONNX has nothing of its kind.
    """
    _check(layer)
    kind = type(layer).__name__
    x = x.time_first(graph)
    if x.is_tokens:
        x = _one_hot(graph, layer, x)
    roles = ("h", "c") if isinstance(layer, LSTM) else ("h",)
    initial = _initial(graph, layer, prefix, own, x, roles, states=states)
    finals: dict[str, list[str]] = {role: [] for role in roles}
    directions = 2 if layer.bidirectional else 1
    for index in range(layer.num_layers):
        name = f"{prefix}{kind.lower()}_l{index}"
        outputs = [f"{name}_y", *(f"{name}_{role}" for role in roles)]
        inputs = [x.name, *_weights(graph, layer, own, index)]
        starts = [initial[role][index] for role in roles if role in initial]
        peepholes = inputs.pop() if isinstance(layer, LSTM) and layer.peepholes else None
        inputs += ["", *starts] if starts else []
        if peepholes is not None:
            inputs += [""] * (7 - len(inputs)) + [peepholes]
        graph.nodes(
            kind,
            inputs,
            outputs if states else outputs[:1],
            name=name,
            **_attributes(layer, directions),
        )
        for role, output in zip(roles, outputs[1:], strict=True):
            finals[role].append(output)
        is_last = index == layer.num_layers - 1
        if is_last and layer.merge != "concat":
            name = _merged(graph, outputs[0], layer)
        else:
            name = _joined(graph, outputs[0], directions, layer.hidden_size)
        x = x._replace(name=name)
    if states:
        for role, names in finals.items():
            final = f"{prefix}final_{role}"
            graph.node("Concat", names, name=final, axis=0)
            shape = (layer.num_layers * directions, "batch", layer.hidden_size)
            graph.add_output(final, layer.dtype, shape)
    return x


def _check(layer: Recurrent) -> None:
    if isinstance(layer, LSTM) and layer.proj_size:
        raise ValueError(f"proj_size should be 0 for ONNX, got {layer.proj_size}")
    for name in ("zoneout", "cell_zoneout"):
        rate = getattr(layer, name, 0)
        if rate:
            raise ValueError(f"{name} should be 0 for ONNX, got {rate}")


def _attributes(layer: Recurrent, directions: int) -> dict[str, Any]:
    own = layer._activations
    count = len(OPERATORS[type(layer).__name__].activations)
    used = [own.candidate] if count == 1 else list(own)[:count]
    attributes: dict[str, Any] = {"hidden_size": layer.hidden_size, "activations": []}
    if directions == 2:
        attributes["direction"] = "bidirectional"
    if isinstance(layer, GRU) and layer.reset_after:
        attributes["linear_before_reset"] = 1
    alphas: list[float] = []
    betas: list[float] = []
    for name, alpha, beta in map(functions.named, used * directions):
        attributes["activations"].append(name)
        alphas += alpha
        betas += beta
    given = {"activation_alpha": alphas, "activation_beta": betas}
    return attributes | {name: numbers for name, numbers in given.items() if numbers}


def _weights(graph: Graph, layer: Recurrent, own: str, index: int) -> list[str]:
    """The names of the constants W and R, of B, empty if there is none, and of P if any."""
    arrays, cell = layer.parameters(), layer._cell
    suffixes = layer._suffixes(index)

    def stacked(name: str) -> Array:
        found = [_wide(layer, arrays, name + suffix) for suffix in suffixes]
        return np.stack([reordered(each, cell, "pytorch", "onnx") for each in found])

    made = {"W": stacked("weight_ih"), "R": stacked("weight_hh")}
    if layer.bias:
        made["B"] = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1)
    if isinstance(layer, LSTM) and layer.peepholes:
        found = [arrays[f"weight_peephole{suffix}"].reshape(-1) for suffix in suffixes]
        made["P"] = np.stack([reordered_peepholes(p, "pytorch", "onnx") for p in found])
    names = {key: graph.constant(f"{own}{key}_l{index}", a) for key, a in made.items()}
    present = [names["W"], names["R"], names.get("B", "")]
    return [*present, names["P"]] if "P" in names else present


def _wide(layer: Recurrent, arrays: Mapping[str, Array], name: str) -> Array:
    """A parameter as floats, if its weights are narrow."""
    if not name.startswith("weight"):
        return arrays[name]
    wide: Array = formats.widened(
        arrays[name], layer.weight_format, arrays.get(f"{name}_scale")
    )
    return wide


def _initial(
    graph: Graph,
    layer: Recurrent,
    prefix: str,
    own: str,
    x: Value,
    roles: tuple[str, ...],
    *,
    states: bool,
) -> dict[str, list[str]]:
    """The names of what each layer's parts of the state start from, if not from zeros."""
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    found: dict[str, list[str]] = {}
    if states:
        for role in roles:
            whole = f"{prefix}initial_{role}"
            graph.add_input(whole, layer.dtype, [count, "batch", layer.hidden_size])
            found[role] = _parts(graph, layer, whole)
        return found
    if layer.initial_state is None:
        return found
    shape = graph.node("Shape", [x.name], start=1, end=2)
    one = graph.constant("one", np.array([1], np.int64))
    shape = graph.node("Concat", [one, shape, one], axis=0)
    given = layer.initial_state if len(roles) > 1 else (layer.initial_state,)
    for role, state in zip(roles, given, strict=True):
        found[role] = []
        for index, part in enumerate(np.split(state[:, None], layer.num_layers)):
            start = graph.constant(f"{own}initial_{role}_l{index}", part)
            found[role].append(graph.node("Expand", [start, shape]))
    return found


def _parts(graph: Graph, layer: Recurrent, whole: str) -> list[str]:
    if layer.num_layers == 1:
        return [whole]
    names = [f"{whole}_l{index}" for index in range(layer.num_layers)]
    each = 2 if layer.bidirectional else 1
    sizes = np.full(layer.num_layers, each, np.int64)
    graph.nodes(
        "Split",
        [whole, graph.constant(f"{whole}_sizes", sizes)],
        names,
        name=f"{whole}_split",
        axis=0,
    )
    return names


def _one_hot(graph: Graph, layer: Recurrent, x: Value) -> Value:
    count = np.array(layer.input_size, np.int64)
    depth = graph.constant(f"depth_{layer.input_size}", count)
    values = graph.constant("off_and_on", np.array([0, 1], np.float32))
    name = graph.node("OneHot", [x.name, depth, values])
    if layer.dtype != np.float32:
        # Runtimes have it in float32.
        name = graph.node("Cast", [name], to=number_of(layer.dtype))
    return x._replace(name=name, dtype=layer.dtype)


def _merged(graph: Graph, y: str, layer: Recurrent) -> str:
    """The sum or the mean over the axis that Y has for the directions."""
    axis = graph.constant("second_axis", np.array([1], np.int64))
    total = graph.node("ReduceSum", [y, axis], keepdims=0)
    if layer.merge == "sum":
        return total
    half = graph.constant(f"half_{layer.dtype}", np.array(0.5, layer.dtype))
    return graph.node("Mul", [total, half])


def _joined(graph: Graph, y: str, directions: int, hidden_size: int) -> str:
    """The outputs of both directions side by side: Y has an axis for them."""
    if directions == 1:
        axis = graph.constant("second_axis", np.array([1], np.int64))
        return graph.node("Squeeze", [y, axis])
    shape = np.array([0, 0, directions * hidden_size], np.int64)
    name = graph.constant(f"two_directions_{hidden_size}", shape)
    return graph.node("Reshape", [graph.node("Transpose", [y], perm=[0, 2, 1, 3]), name])
