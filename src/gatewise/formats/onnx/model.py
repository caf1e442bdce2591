"""A model out of a file's bytes, and the graphs in it with the names that each sees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from gatewise.formats.errors import FormatError
from gatewise.formats.onnx import wire
from gatewise.formats.onnx.library import library

__all__ = ["Scope", "parse", "scopes"]

# Protobuf's own.
_MOST_BYTES = 2**31 - 1
_DEEPEST = 32


def parse(file: BinaryIO) -> Any:
    """Return the model in an open file, as the library has it.

    Raises
    ------
    FormatError
        If there is none in it, or one that refers to other files.
    ImportError
        If the library is not installed.
    """
    message = library().ModelProto
    size = file.seek(0, os.SEEK_END)
    if size > _MOST_BYTES:
        raise FormatError(f"should have at most {_MOST_BYTES} bytes, got {size}")
    file.seek(0)
    content = file.read()
    wire.check(content, message)
    try:
        model = message.FromString(content)
    except MemoryError:
        raise
    except Exception as error:
        # It is an error of protobuf's, which is the library's own matter.
        raise FormatError(f"should be a model of ONNX, got none: {error}") from error
    # The operators' version comes after the graph: a file cut short between them has none.
    has_opset = model.ir_version < 3 or len(model.opset_import)
    if not model.HasField("graph") or model.ir_version < 1 or not has_opset:
        raise FormatError("should be a model of ONNX, got one without a graph or versions")
    return model


class Scope:
    """One graph, and what its nodes see: its own names, then those of the graph around it.

    Attributes
    ----------
    path : str
        What its names have before them among those of the whole model.
    nodes : list of NodeProto
    initializers : dict of str to TensorProto
    producers : dict of str to NodeProto
        By the names of the nodes' outputs.
    inputs : set of str
    outer : Scope or None
    opset : int
        The version of ONNX's own operators.

    Raises
    ------
    FormatError
        If a name stands for two things.
    """

    def __init__(self, graph: Any, path: str, outer: Scope | None, opset: int) -> None:
        self.path, self.outer, self.opset = path, outer, opset
        self.nodes = list(graph.node)
        # The inputs of a function have no types, only names.
        self.inputs = {each if isinstance(each, str) else each.name for each in graph.input}
        self.initializers: dict[str, Any] = {}
        self.producers: dict[str, Any] = {}
        for tensor in getattr(graph, "initializer", ()):
            self._once(tensor.name)
            self.initializers[tensor.name] = tensor
        for sparse in getattr(graph, "sparse_initializer", ()):
            raise FormatError(
                f"{path + sparse.values.name!r} should be dense, got a sparse tensor"
            )
        for node in self.nodes:
            for name in node.output:
                if name:
                    self._once(name)
                    self.producers[name] = node

    def _once(self, name: str) -> None:
        if name in self.initializers or name in self.producers:
            raise FormatError(f"{self.path + name!r} should be there once, got it twice")

    def find(self, name: str) -> tuple[Scope, Any] | None:
        """Return where a name is defined, with its tensor or the node that makes it.

        None stands for what only a run knows, such as an input.
        """
        scope: Scope | None = self
        while scope is not None:
            found = scope.initializers.get(name) or scope.producers.get(name)
            if found is not None:
                return scope, found
            if name in scope.inputs:
                return None
            scope = scope.outer
        return None


def scopes(model: Any) -> Iterator[Scope]:
    """Go through all graphs of a model: its own, those inside nodes, and its functions'.

    Raises
    ------
    FormatError
        If they are nested too deeply, or a name stands for two things.
    """
    opset = max(
        (o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1
    )
    yield from _nested(Scope(model.graph, "", None, opset), 0)
    for function in model.functions:
        path = (
            f"{function.domain}.{function.name}/"
            if function.domain
            else f"{function.name}/"
        )
        yield from _nested(Scope(function, path, None, opset), 0)


def _nested(scope: Scope, depth: int) -> Iterator[Scope]:
    if depth > _DEEPEST:
        raise FormatError(f"should have at most {_DEEPEST} graphs inside one another")
    yield scope
    for index, node in enumerate(scope.nodes):
        for attribute in node.attribute:
            graphs = [attribute.g] if attribute.HasField("g") else []
            graphs += attribute.graphs
            for number, graph in enumerate(graphs):
                label = node.name or next(
                    filter(None, node.output), f"{node.op_type}{index}"
                )
                which = (
                    f"{attribute.name}[{number}]" if attribute.graphs else attribute.name
                )
                path = f"{scope.path}{label}.{which}/"
                yield from _nested(Scope(graph, path, scope, scope.opset), depth + 1)
