"""What the attributes of an RNN, LSTM or GRU say, and its inputs by their names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gatewise.formats.onnx import functions
from gatewise.formats.onnx.node import Node
from gatewise.kernels import cells
from gatewise.kernels.activations import TANH, Activation, Activations

__all__ = ["OPERATORS", "Operator", "Plan", "Way", "plan_of"]


class Operator(NamedTuple):
    """One of the three: its inputs and outputs, and its activations unless given."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    activations: tuple[str, ...]


_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h")
OPERATORS = {
    "RNN": Operator(_INPUTS, ("Y", "Y_h"), ("Tanh",)),
    "GRU": Operator(_INPUTS, ("Y", "Y_h"), ("Sigmoid", "Tanh")),
    "LSTM": Operator(
        (*_INPUTS, "initial_c", "P"), ("Y", "Y_h", "Y_c"), ("Sigmoid", "Tanh", "Tanh")
    ),
}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
# Those of some operators only.
_OWN = {"linear_before_reset": "GRU", "input_forget": "LSTM"}
_KNOWN = {
    "activations",
    "activation_alpha",
    "activation_beta",
    "clip",
    "direction",
    "hidden_size",
    "layout",
    # Of versions before 7, which leave outputs out by not naming them all the same.
    "output_sequence",
}


class Way(NamedTuple):
    """One direction of a node: whether it starts at the end, and its activations."""

    reverse: bool
    activations: Activations


class Plan(NamedTuple):
    """What the attributes of a node say.

    `cell` is the kernels' name for its formula. Sums are clipped to `clip` either way, if
    it is not None, on their way into the activations. With `coupled` gates an LSTM's f is
    ``1 - i``.
    """

    node: Node
    operator: Operator
    cell: str
    hidden_size: int | None
    ways: tuple[Way, ...]
    clip: float | None
    coupled: bool
    batch_first: bool

    @property
    def gates(self) -> int:
        """How many blocks of rows the weights have."""
        return cells.look_up(self.cell).gates


def plan_of(node: Node) -> Plan:
    """Return what a node says.

    Raises
    ------
    ValueError
        If it is none of the three, or an attribute is unknown or not what it should be.

    References
    ----------
    "RNN", "GRU" and "LSTM", github.com/onnx/onnx/blob/main/docs/Operators.md
    """
    kind = node.op_type
    if kind not in OPERATORS or node.domain not in ("", "ai.onnx"):
        raise ValueError(f"node should be an RNN, an LSTM or a GRU of ONNX, got {node}")
    operator, given = OPERATORS[kind], node.attributes
    for name in given:
        if name not in _KNOWN and _OWN.get(name) != kind:
            raise ValueError(f"{node} should have attributes of its kind, got {name!r}")
    for what, names, known in (
        ("inputs", node.input, operator.inputs),
        ("outputs", node.output, operator.outputs),
    ):
        if len(names) > len(known):
            raise ValueError(
                f"{node} should have at most {len(known)} {what}, got {len(names)}"
            )
    _whole(given, "output_sequence", 0, 1)
    direction = given.get("direction", "forward")
    if direction not in _DIRECTIONS:
        raise ValueError(
            f"direction should be one of {', '.join(_DIRECTIONS)}, got {direction!r}"
        )
    reverses = _DIRECTIONS[direction]
    cell = {"RNN": "rnn", "LSTM": "lstm", "GRU": "gru_reset_before"}[kind]
    if _whole(given, "linear_before_reset", -(2**63), 2**63):
        cell = "gru"
    hidden_size = given.get("hidden_size")
    if hidden_size is not None:
        hidden_size = _whole(given, "hidden_size", 1, 2**31 - 1)
    return Plan(
        node,
        operator,
        cell,
        hidden_size,
        tuple(map(Way, reverses, _activations(given, operator, len(reverses)))),
        _clip(given),
        bool(_whole(given, "input_forget", -(2**63), 2**63)),
        bool(_whole(given, "layout", 0, 1)),
    )


def _activations(
    given: Mapping[str, Any], operator: Operator, ways: int
) -> list[Activations]:
    names = given.get("activations")
    each = len(operator.activations)
    if not names:
        names = operator.activations * ways
    elif each == 1 and ways == 1 and list(names) == ["Tanh", "Tanh"]:
        # The attribute's own default, for any number of directions.
        names = names[:1]
    if not isinstance(names, Sequence) or isinstance(names, str):
        raise ValueError(f"activations should be a list of names, got {names!r}")
    if len(names) != each * ways:
        raise ValueError(
            f"activations should have {each * ways} names, {each} for each direction, "
            f"got {len(names)}"
        )
    alphas, betas = (
        _numbers(given, f"activation_{letter}") for letter in ("alpha", "beta")
    )
    found = functions.taken(list(names), alphas, betas)
    return [_of_cell(found[way * each : (way + 1) * each]) for way in range(ways)]


def _of_cell(found: list[Activation]) -> Activations:
    """ONNX's f, g and h, which are the gates', the candidate's and the one of c."""
    if len(found) == 1:
        return Activations(TANH, found[0], TANH)
    return Activations(found[0], found[1], found[-1])


def _clip(given: Mapping[str, Any]) -> float | None:
    clip = given.get("clip")
    if clip is None:
        return None
    if isinstance(clip, bool) or not isinstance(clip, int | float) or not clip > 0:
        raise ValueError(f"clip should be a number above 0, got {clip!r}")
    return None if math.isinf(clip) else float(clip)


def _whole(given: Mapping[str, Any], name: str, lowest: int, highest: int) -> int:
    value = given.get(name, 0)
    if type(value) is not int or not lowest <= value <= highest:
        raise ValueError(
            f"{name} should be a whole number from {lowest} to {highest}, got {value!r}"
        )
    return value


def _numbers(given: Mapping[str, Any], name: str) -> list[float]:
    values = given.get(name, [])
    if not isinstance(values, Sequence) or not all(
        isinstance(value, int | float) for value in values
    ):
        raise ValueError(f"{name} should be a list of numbers, got {values!r}")
    return [float(value) for value in values]
