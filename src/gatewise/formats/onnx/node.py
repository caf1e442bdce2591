"""A node of a graph in Python's plain types, whatever it came as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gatewise.formats.onnx import tensors

__all__ = ["Node", "plain"]

# By the numbers of AttributeProto.AttributeType.
_FIELDS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}
# What an attribute without a type, as the first files have them, may consist of.
_UNTYPED = tuple(_FIELDS.values())


class Node(NamedTuple):
    """One operation of a graph.

    Attributes
    ----------
    op_type : str
        Such as ``"LSTM"``.
    input : sequence of str
        The names of its inputs; an empty one where an optional input is left out.
    output : sequence of str
        The same of its outputs.
    attributes : mapping
        Numbers, texts and lists of them, by name.
    name : str
    domain : str

    Examples
    --------
    >>> from gatewise.formats.onnx import Node
    >>> Node("GRU", ["x", "w", "r"], ["y"], {"hidden_size": 4}).op_type
    'GRU'
    """

    op_type: str
    input: Sequence[str]
    output: Sequence[str]
    attributes: Mapping[str, Any] = {}
    name: str = ""
    domain: str = ""

    def __str__(self) -> str:
        name = self.name or next(filter(None, self.output), "")
        return f"the {self.op_type} {name!r}"


def plain(node: Any) -> Node:
    """Return a node as a `Node`.

    Parameters
    ----------
    node
        A `Node`, or an ``onnx.NodeProto`` or what else has ``op_type``, ``input``,
        ``output`` and a list ``attribute``.

    Raises
    ------
    ValueError
        If an attribute is there twice, or is none of these.
    TypeError
        If it is no node.
    """
    if isinstance(node, Node):
        return node
    try:
        found = Node(
            node.op_type,
            tuple(node.input),
            tuple(node.output),
            {},
            getattr(node, "name", ""),
            getattr(node, "domain", ""),
        )
        attributes = list(node.attribute)
    except AttributeError as error:
        raise TypeError(
            f"node should be a Node or an onnx.NodeProto, got {type(node).__name__}"
        ) from error
    values: dict[str, Any] = {}
    for attribute in attributes:
        if attribute.name in values:
            raise ValueError(
                f"{attribute.name} of {found} should be there once, got it twice"
            )
        values[attribute.name] = _value(attribute, found)
    return found._replace(attributes=values)


def _value(attribute: Any, node: Node) -> Any:
    field: str | None = _FIELDS.get(attribute.type)
    if not attribute.type:
        there = [descriptor.name for descriptor, _ in attribute.ListFields()]
        field = next((name for name in _UNTYPED if name in there), None)
    referred: object = getattr(attribute, "ref_attr_name", None)
    if field is None or referred:
        got = "another kind" if field is None else "a reference"
        raise ValueError(
            f"{attribute.name} of {node} should be numbers, texts or a tensor, got {got}"
        )
    value = getattr(attribute, field)
    if field == "t":
        return tensors.read(value, attribute.name)
    if field == "s":
        return _text(value, attribute.name, node)
    if field == "strings":
        return [_text(each, attribute.name, node) for each in value]
    return list(value) if field.endswith("s") else value


def _text(value: bytes | str, name: str, node: Node) -> str:
    try:
        return value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} of {node} should be a text, got {value!r}") from error
