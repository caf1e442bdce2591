"""Layers and whole nets as models of ONNX."""

from __future__ import annotations

import copy
import os
from typing import Any

import numpy as np

from gatewise.formats.files import replacing
from gatewise.formats.onnx.graph import Graph
from gatewise.formats.onnx.nodes import Value, add_recurrent
from gatewise.formats.onnx.tensors import number_of
from gatewise.kernels import formats
from gatewise.layers import (
    Conv1d,
    Dropout,
    Embedding,
    Linear,
    Module,
    Recurrent,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)

__all__ = ["to_onnx"]

_ELEMENTWISE: dict[type[Module], str] = {ReLU: "Relu", Sigmoid: "Sigmoid", Tanh: "Tanh"}


def to_onnx(model: Module, path: str | os.PathLike[str], *, states: bool = False) -> None:
    """Write a layer or a net to a file of ONNX.

    Parameters
    ----------
    model
        A recurrent layer, a Linear, Embedding or Conv1d, an activation, a Dropout, or a
        Sequential of these.
    path
        A file there is replaced, whole or not at all.
    states
        Whether the states are inputs and outputs too. They are ``initial_h`` and
        ``final_h``, of an LSTM ``initial_c`` and ``final_c`` too, each
        ``(num_layers * D, batch, H)``, and after the layer's position in a Sequential, as
        in ``1.initial_h``. Otherwise each layer starts from its `initial_state`.

    Raises
    ------
    TypeError
        If `model` is no layer.
    ValueError
        If ONNX has nothing of its kind: `proj_size`, zoneout, or an activation; or if it
        has 2 GB of parameters.
    OSError
        If the file cannot be written.
    ImportError
        If the package onnx is not installed.

    Notes
    -----
    The input is ``x``, ``(batch, time, features)`` or ``(batch, time)`` for tokens, and the
    output ``y``; batch and time are of any size. What is for training only, as dropout is,
    is left out, and weights that `quantize` has made narrow are written as float32. Nodes
    have the names of their kinds, as in ``lstm_l0``, also after the position in a
    Sequential. The model is of version 17 of the operators.

    Examples
    --------
    >>> import os, tempfile
    >>> import gatewise
    >>> model = gatewise.Sequential(gatewise.LSTM(3, 8), gatewise.Linear(8, 2))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "model.onnx")
    ...     gatewise.to_onnx(model, path)
    ...     gatewise.from_onnx(path, node="0.lstm_l0")
    LSTM(3, 8) with 416 parameters
    """
    if not isinstance(model, Module):
        raise TypeError(f"model should be a layer, got {type(model).__name__}")
    # Of one moment, whatever else changes parameters meanwhile.
    model = copy.copy(model)
    writer = _Writer(Graph(), states=states)
    content = writer.model(model).SerializeToString()
    with replacing(path) as file:
        file.write(content)


class _Writer:
    """Adds one layer after the other to a graph."""

    def __init__(self, graph: Graph, *, states: bool) -> None:
        self._graph, self._states = graph, states
        # Under which of its places a layer has its constants.
        self._places: dict[int, str] = {}
        self._time = "time"

    def model(self, model: Module) -> Any:
        """The whole model of a layer."""
        graph = self._graph
        taken, given = model._features()
        _, first = next(iter(model._leaves()))
        dtype = next(
            (each.dtype for _, each in model._leaves() if not each._keeps_dtype),
            np.dtype(np.float32),
        )
        if isinstance(first, Embedding) or (isinstance(first, Recurrent) and first.tokens):
            x = Value("x", np.dtype(np.int64))
            graph.add_input(x.name, x.dtype, ["batch", "time"])
        else:
            x = Value("x", dtype)
            graph.add_input(x.name, x.dtype, ["batch", "time", taken or "features"])
        y = self._add(model, "", x).batch_first(graph)
        if y.is_tokens:
            raise ValueError(f"model should make features of tokens, got {model!r}")
        graph.node("Identity", [y.name], name="y")
        shape = ["batch", self._time, given or "features"]
        graph.add_output("y", y.dtype, shape, first=True)
        return graph.model(type(model).__name__)

    def _add(self, layer: Module, prefix: str, x: Value) -> Value:
        if isinstance(layer, Sequential):
            for position, part in enumerate(layer.layers):
                x = self._add(part, f"{prefix}{position}.", x)
            return x
        if not layer._keeps_dtype and not x.is_tokens and x.dtype != layer.dtype:
            number = number_of(layer.dtype)
            x = x._replace(
                name=self._graph.node("Cast", [x.name], to=number), dtype=layer.dtype
            )
        own = self._places.setdefault(id(layer), prefix)
        if isinstance(layer, Recurrent):
            return add_recurrent(self._graph, layer, prefix, own, x, states=self._states)
        return self._add_simple(layer, own, x)

    def _add_simple(self, layer: Module, own: str, x: Value) -> Value:
        graph = self._graph
        if isinstance(layer, Dropout):
            return x
        if type(layer) in _ELEMENTWISE:
            return x._replace(name=graph.node(_ELEMENTWISE[type(layer)], [x.name]))
        if isinstance(layer, Softmax):
            return x._replace(name=graph.node("Softmax", [x.name], axis=-1))
        arrays = layer.parameters()
        if isinstance(layer, Embedding):
            table = graph.constant(f"{own}weight", arrays["weight"])
            return x._replace(name=graph.node("Gather", [table, x.name]), dtype=layer.dtype)
        if isinstance(layer, Linear):
            wide = formats.widened(
                arrays["weight"], layer.weight_format, arrays.get("weight_scale")
            )
            weight = graph.constant(f"{own}weight", wide.T)
            name = graph.node("MatMul", [x.name, weight])
            if layer.bias:
                bias = graph.constant(f"{own}bias", arrays["bias"])
                name = graph.node("Add", [name, bias])
            return x._replace(name=name)
        if isinstance(layer, Conv1d):
            return self._add_convolution(layer, own, x)
        raise ValueError(f"model should be of layers that ONNX has, got {layer!r}")

    def _add_convolution(self, layer: Conv1d, own: str, x: Value) -> Value:
        graph, windows = self._graph, layer._windows
        # Whose number of steps may be another one.
        self._time = "output_time"
        x = x.batch_first(graph)
        inputs = [
            graph.node("Transpose", [x.name], perm=[0, 2, 1]),
            *(graph.constant(own + name, a) for name, a in layer.parameters().items()),
        ]
        name = graph.node(
            "Conv",
            inputs,
            pads=[windows.before, windows.after],
            strides=[windows.stride],
            dilations=[windows.dilation],
        )
        return x._replace(name=graph.node("Transpose", [name], perm=[0, 2, 1]))
