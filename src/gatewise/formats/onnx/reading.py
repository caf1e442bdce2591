"""A layer out of a recurrent node in a file of ONNX."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.errors import FormatError
from gatewise.formats.onnx import functions
from gatewise.formats.onnx.constants import Constants
from gatewise.formats.onnx.model import Scope, parse, scopes
from gatewise.formats.onnx.node import plain
from gatewise.formats.onnx.plan import OPERATORS, Plan, plan_of
from gatewise.formats.onnx.rows import Rows
from gatewise.formats.onnx.weights import Matrices, matrices_of
from gatewise.formats.opening import open_regular
from gatewise.formats.recognising import expecting
from gatewise.layers import GRU, LSTM, RNN

Array = NDArray[Any]
Layer = RNN | LSTM | GRU

__all__ = ["from_onnx", "layer_of", "names_of", "recurrent_nodes"]


def from_onnx(path: str | os.PathLike[str], node: str | None = None) -> Layer:
    """Make a layer of an RNN, LSTM or GRU in a file of ONNX.

    Parameters
    ----------
    path
        A model, whose weights are constants; they may have gone through what exporters do
        to weights, such as Transpose, Concat and Slice.
    node
        The name of the node, or of its first output, in whichever graph it stands. None
        will do where there is one recurrent node only; with several the error lists them.

    Returns
    -------
    RNN, LSTM or GRU
        With one layer, in one direction or two, of float64 if the weights are that, else of
        float32. Its inputs are ``(batch, time, features)``, as those of all layers. An
        initial state that is a constant, the same for all of a batch, is its
        `initial_state`; one that comes from the model's inputs is the `state` of a call, as
        ``sequence_lens`` are its `lengths`.

    Raises
    ------
    OSError
        If the file cannot be read.
    FormatError
        If it is no model of ONNX, or a damaged one, has no such node, or one that no layer
        can be; `gatewise.formats.onnx.run_node` runs those as well.
    TypeError
        If `node` is no text.
    ImportError
        If the package onnx is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, gatewise
    >>> layer = gatewise.GRU(3, 4, seed=0)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "model.onnx")
    ...     gatewise.to_onnx(layer, path)
    ...     again = gatewise.from_onnx(path)
    >>> again
    GRU(3, 4) with 108 parameters
    >>> bool((again(np.ones((1, 5, 3)))[0] == layer(np.ones((1, 5, 3)))[0]).all())
    True
    """
    if node is not None and not isinstance(node, str):
        raise TypeError(f"node should be a name or None, got {type(node).__name__}")
    with open_regular(path) as file:
        with expecting(file, path, ("onnx",), "a model of ONNX"):
            model = parse(file)
        scope, chosen = _chosen(list(scopes(model)), node)
        return layer_of(scope, chosen, Constants(os.fstat(file.fileno()).st_size))


def recurrent_nodes(graphs: list[Scope]) -> list[tuple[Scope, Any]]:
    """Return all nodes that `from_onnx` looks at, with the graphs that they stand in."""
    return [
        (scope, node)
        for scope in graphs
        for node in scope.nodes
        if node.op_type in OPERATORS and node.domain in ("", "ai.onnx")
    ]


def names_of(there: list[tuple[Scope, Any]]) -> list[tuple[str, bool]]:
    """Return what the nodes are called, and whether `from_onnx` knows each alone by it."""
    known = Counter(
        name
        for scope, node in there
        for name in {node.name, _output(node), _name(scope, node)}
    )
    return [(name, known[name] == 1) for name in (_name(*each) for each in there)]


def layer_of(scope: Scope, node: Any, constants: Constants) -> Layer:
    """Return the layer of a node.

    Parameters
    ----------
    scope
        The graph that it stands in.
    node : NodeProto
    constants
        Of its model.

    Raises
    ------
    FormatError
        If no layer can be such a node.
    """
    try:
        return _layer(scope, node, constants)
    except FormatError as error:
        raise FormatError(f"{_name(scope, node)}: {error}") from error


def _chosen(graphs: list[Scope], name: str | None) -> tuple[Scope, Any]:
    """The node that is asked for, and the graph that it stands in."""
    there = recurrent_nodes(graphs)
    if not there:
        raise FormatError("should have an RNN, an LSTM or a GRU, got none")
    found = there
    if name is not None:
        found = [
            (scope, node)
            for scope, node in there
            if name in (node.name, _output(node), _name(scope, node))
        ]
    if len(found) != 1:
        wanted = (
            "node should say which one of several"
            if name is None
            else (f"node should be the name of one of these, got {name!r}")
        )
        listed = ", ".join(
            f"{_name(scope, node)!r} ({node.op_type})" for scope, node in there[:20]
        )
        more = ", ..." if len(there) > 20 else ""
        raise FormatError(f"{wanted}: {listed}{more}")
    return found[0]


def _output(node: Any) -> str:
    return next(filter(None, node.output), "")


def _name(scope: Scope, node: Any) -> str:
    return scope.path + (node.name or _output(node))


def _layer(scope: Scope, source: Any, constants: Constants) -> Layer:
    try:
        plan = plan_of(plain(source))
        matrices = _matrices(scope, plan, constants)
        layer = _made(plan, matrices)
    except FormatError:
        raise
    except (TypeError, ValueError) as error:
        raise FormatError(str(error)) from error
    values: dict[str, Array] = {}
    for way, suffix in enumerate(["_l0", "_l0_reverse"][: len(plan.ways)]):
        values["weight_ih" + suffix] = matrices.w_ih[way]
        values["weight_hh" + suffix] = matrices.w_hh[way]
        if layer.bias:
            values["bias_ih" + suffix] = matrices.bias_ih[way]
            values["bias_hh" + suffix] = matrices.bias_hh[way]
        if matrices.peepholes is not None:
            values["weight_peephole" + suffix] = matrices.peepholes[way]
    layer.set_parameters({name: _plain_floats(value) for name, value in values.items()})
    try:
        _start(layer, scope, plan, constants)
    except FormatError:
        raise
    except (TypeError, ValueError) as error:
        raise FormatError(str(error)) from error
    return layer


def _matrices(scope: Scope, plan: Plan, constants: Constants) -> Matrices:
    given: dict[str, Array] = {}
    for role, name in zip(plan.operator.inputs, plan.node.input, strict=False):
        if role in ("W", "R", "B", "P") and name:
            value = constants.value(scope, name)
            if value is None:
                found = scope.find(name)
                of = "an input" if found is None else f"of a {found[1].op_type}"
                raise FormatError(
                    f"{role} should be a constant for a layer, got {name!r}, "
                    f"which is {of}; gatewise.formats.onnx.run_node takes it as an input"
                )
            given[role] = value
    return matrices_of(plan, given)


def _made(plan: Plan, matrices: Matrices) -> Layer:
    """A layer of the node's kind, its parameters still to be set."""
    _check(plan)
    gate, candidate, _ = map(functions.shortest, plan.ways[0].activations)
    has_bias = len(plan.node.input) > 3 and bool(plan.node.input[3])
    options: dict[str, Any] = {
        "bias": has_bias,
        "bidirectional": len(plan.ways) == 2,
        "dtype": "float64" if matrices.dtype == np.float64 else "float32",
        "activation": candidate,
        "seed": 0,
    }
    sizes = matrices.input_size, matrices.hidden_size
    if plan.cell == "rnn":
        return RNN(*sizes, **options)
    options["recurrent_activation"] = gate
    if plan.cell == "lstm":
        return LSTM(*sizes, peepholes=matrices.peepholes is not None, **options)
    return GRU(*sizes, reset_after=plan.cell == "gru", **options)


def _check(plan: Plan) -> None:
    """Refuse what a node can be, and a layer cannot."""
    of_ways = {way.activations for way in plan.ways}
    first = plan.ways[0].activations
    for is_so, wanted, got in (
        (plan.ways[0].reverse, "begin at the start of sequences", "direction 'reverse'"),
        (plan.clip is not None, "not clip its sums", f"clip {plan.clip}"),
        (plan.coupled, "have a forget gate of its own", "input_forget"),
        (len(of_ways) > 1, "have the same activations in both directions", "others"),
        (
            plan.cell == "lstm" and first.candidate != first.output,
            "have one activation for the candidate and for c",
            f"{first.candidate.name} and {first.output.name}",
        ),
    ):
        if is_so:
            raise FormatError(
                f"a layer should {wanted}, got {got}; gatewise.formats.onnx.run_node runs "
                "such a node"
            )


def _start(layer: Layer, scope: Scope, plan: Plan, constants: Constants) -> None:
    """Give the layer the initial state that the node has of itself, if it has one."""
    names = dict(zip(plan.operator.inputs, plan.node.input, strict=False))
    directions, axis, rows = len(plan.ways), int(not plan.batch_first), Rows(constants)
    parts: list[Array] = []
    for role in ("initial_h", "initial_c")[: 2 if plan.cell == "lstm" else 1]:
        shape = (directions, layer.hidden_size)
        part = np.zeros(shape)
        if names.get(role):
            known = rows.find(scope, names[role], 3, axis)
            if known is None and constants.is_from_input(scope, names[role]):
                # A call of the layer is given it, as the model is.
                return
            if known is None:
                raise FormatError(
                    f"{role} should be a constant, the same for all of a batch, or come "
                    f"from an input, got {names[role]!r}"
                )
            part = known
            with_batch = (1, *shape) if plan.batch_first else (directions, 1, shape[1])
            try:
                part = np.broadcast_to(part, with_batch).reshape(shape)
            except ValueError as error:
                raise FormatError(
                    f"{role} should have shape {with_batch} for each of a batch, "
                    f"got {part.shape}"
                ) from error
        parts.append(_plain_floats(part))
    if any(part.any() for part in parts):
        layer.initial_state = parts[0] if len(parts) == 1 else tuple(parts)


def _plain_floats(array: Array) -> Array:
    return array if array.dtype == np.float64 else array.astype(np.float32)
