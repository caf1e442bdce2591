"""A graph that is written node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.onnx.library import library
from gatewise.formats.onnx.tensors import number_of

Array = NDArray[Any]
Dimensions = Sequence[int | str]

__all__ = ["Graph"]

# What all runtimes of the last years take.
_OPSET, _IR_VERSION = 17, 8
_MOST_BYTES = 2**31 - 1


class Graph:
    """Nodes and constants, each under a name that nothing else has.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.formats.onnx.graph import Graph
    >>> graph = Graph()
    >>> graph.add_input("x", np.dtype(np.float32), ["batch", 3])
    >>> one = graph.constant("one", np.ones(1, np.float32))
    >>> y = graph.node("Add", ["x", one], name="y")
    >>> graph.add_output(y, np.dtype(np.float32), ["batch", 3])
    >>> [node.op_type for node in graph.model("net").graph.node]
    ['Add']
    """

    def __init__(self) -> None:
        self._helper = library("onnx.helper")
        self._graph = library().GraphProto()
        self._constants: dict[str, Array] = {}
        self._count = 0

    def add_input(self, name: str, dtype: np.dtype[Any], shape: Dimensions) -> None:
        """Let the graph take an input."""
        self._graph.input.append(self._value(name, dtype, shape))

    def add_output(
        self, name: str, dtype: np.dtype[Any], shape: Dimensions, *, first: bool = False
    ) -> None:
        """Let the graph give what has this name, after all others or before them."""
        place = 0 if first else len(self._graph.output)
        self._graph.output.insert(place, self._value(name, dtype, shape))

    def _value(self, name: str, dtype: np.dtype[Any], shape: Dimensions) -> Any:
        return self._helper.make_tensor_value_info(name, number_of(dtype), list(shape))

    def constant(self, name: str, array: Array) -> str:
        """Add a constant, unless it is there already, and return its name."""
        self._constants.setdefault(name, array)
        return name

    def node(
        self, op_type: str, inputs: Sequence[str], *, name: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output, which has the node's name, and return that."""
        if not name:
            self._count += 1
            name = f"{op_type.lower()}_{self._count}"
        self.nodes(op_type, inputs, [name], name=name, **attributes)
        return name

    def nodes(
        self,
        op_type: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        name: str,
        **attributes: Any,
    ) -> None:
        """Add a node with outputs of these names."""
        made = self._helper.make_node(
            op_type, list(inputs), list(outputs), name=name, **attributes
        )
        self._graph.node.append(made)

    def model(self, name: str) -> Any:
        """Return a model of what has been added.

        Raises
        ------
        ValueError
            If its constants are more than a file can have.
        """
        size = sum(array.nbytes for array in self._constants.values())
        if size > _MOST_BYTES - (1 << 24):
            raise ValueError(
                f"model should have less than 2 GB of parameters, got {size} bytes"
            )
        for constant, array in self._constants.items():
            tensor = self._graph.initializer.add()
            tensor.name, tensor.data_type = constant, number_of(array.dtype)
            tensor.dims.extend(array.shape)
            little = array.dtype.newbyteorder("<")
            tensor.raw_data = np.ascontiguousarray(array, little).tobytes()
        self._graph.name = name
        return self._helper.make_model(
            self._graph,
            opset_imports=[self._helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="gatewise",
        )
