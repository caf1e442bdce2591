"""The arrays in a file of ONNX: initializers and constants, those of inner graphs too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.containers import Container, Header
from gatewise.formats.errors import FormatError
from gatewise.formats.onnx import tensors
from gatewise.formats.onnx.model import Scope, parse, scopes

Array = NDArray[Any]

__all__ = ["Opened", "open_onnx"]

_DTYPES = {"value_float": "float32", "value_int": "int64"}


def open_onnx(file: BinaryIO) -> Container:
    """Read what a file of ONNX says of its arrays; each is read on demand.

    An array has the name that its graph has for it, after the path of the graph where that
    stands in a node (``node.then_branch/name``) or is a function's (``function/name``).

    Parameters
    ----------
    file : binary file

    Returns
    -------
    Container
        Its metadata have ``ir_version``, ``opset`` (versions by domain), ``producer``,
        ``inputs`` and ``outputs`` (lists of dictionaries with ``name``, ``dtype`` and
        ``shape``), and ``metadata_props``.

    Raises
    ------
    FormatError
        If this is no model of ONNX, a damaged one, or one with external data, sparse
        tensors or strings.
    ImportError
        If the package onnx is not installed.

    References
    ----------
    "Open Neural Network Exchange Intermediate Representation",
    github.com/onnx/onnx/blob/main/docs/IR.md

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> from onnx import helper, numpy_helper
    >>> from gatewise.formats.onnx import open_onnx
    >>> weight = numpy_helper.from_array(np.ones((2, 3), np.float32), "weight")
    >>> graph = helper.make_graph([], "net", [], [], [weight])
    >>> file = io.BytesIO(helper.make_model(graph).SerializeToString())
    >>> container = open_onnx(file)
    >>> print(container.headers["weight"], container.read("weight").sum())
    float32 (2, 3) 6.0
    """
    return Opened(parse(file))


class Opened:
    """A model as a `Container`.

    Attributes
    ----------
    scopes : list of Scope
        Its graphs.
    """

    format = "onnx"

    def __init__(self, model: Any) -> None:
        self.scopes = list(scopes(model))
        self._headers: dict[str, Header] = {}
        self.headers: Mapping[str, Header] = self._headers
        self._readers: dict[str, Callable[[], Array]] = {}
        for scope in self.scopes:
            for name, tensor in scope.initializers.items():
                self._add(scope.path + name, tensor)
            for node in scope.nodes:
                if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                    self._add_constant(scope, node)
        self.metadata: Mapping[str, Any] = _metadata(model)

    def read(self, name: str) -> Array:
        """Return the array `name`."""
        return self._readers[name]()

    def _add(self, name: str, tensor: Any) -> None:
        self._put(name, tensors.header(tensor, name), lambda: tensors.read(tensor, name))

    def _put(self, name: str, header: Header, reader: Callable[[], Array]) -> None:
        if name in self._readers:
            raise FormatError(f"{name!r} should be there once, got it twice")
        self._headers[name], self._readers[name] = header, reader

    def _add_constant(self, scope: Scope, node: Any) -> None:
        name = scope.path + next(filter(None, node.output), "")
        for attribute in node.attribute:
            if attribute.name == "value":
                self._add(name, attribute.t)
            elif attribute.name.removesuffix("s") in _DTYPES:
                values = constant(attribute)
                self._put(name, Header(values.dtype, values.shape), values.copy)
            else:
                raise FormatError(
                    f"{name!r} should hold numbers, got a constant's {attribute.name}"
                )


def constant(attribute: Any) -> Array:
    """Return what a Constant's ``value_float``, ``value_int`` and lists of them say."""
    field = attribute.name.removeprefix("value_")
    value = getattr(attribute, field if field.endswith("s") else field[0])
    return np.array(value, _DTYPES[attribute.name.removesuffix("s")])


def _metadata(model: Any) -> dict[str, Any]:
    graph = model.graph
    return {
        "ir_version": model.ir_version,
        "opset": _unique("opset", [(o.domain, o.version) for o in model.opset_import]),
        "producer": " ".join(filter(None, [model.producer_name, model.producer_version])),
        "graph": graph.name,
        "inputs": [_described(each) for each in graph.input],
        "outputs": [_described(each) for each in graph.output],
        "metadata_props": _unique(
            "metadata_props", [(each.key, each.value) for each in model.metadata_props]
        ),
    }


def _unique(what: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise FormatError(f"{what} should have {key!r} once, got it twice")
        found[key] = value
    return found


def _described(value: Any) -> dict[str, Any]:
    """An input or output, with None for what only a run knows of its shape."""
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = [
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
            for dim in tensor.shape.dim
        ]
    return {
        "name": value.name,
        "dtype": tensors.name_of(tensor.elem_type),
        "shape": shape,
    }
