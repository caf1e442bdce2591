"""Whole models of recurrent nodes, as a backend of ONNX's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.formats.onnx import run
from gatewise.formats.onnx.library import library
from gatewise.formats.onnx.model import scopes
from gatewise.formats.onnx.node import Node, plain
from gatewise.formats.onnx.operators import OPERATORS, evaluate
from gatewise.formats.onnx.plan import OPERATORS as RECURRENT
from gatewise.formats.onnx.plan import plan_of
from gatewise.formats.onnx.tensors import read
from gatewise.formats.onnx.weights import matrices_of

Array = NDArray[Any]

__all__ = ["Program", "backend_class"]


class Program:
    """A model that can be run: nodes in their order, weights prepared once.

    Parameters
    ----------
    model : ModelProto

    Raises
    ------
    ValueError
        If it has other operators than those that there are here, or is not in order.
    """

    def __init__(self, model: Any) -> None:
        refused = unsupported(model)
        if refused is not None:
            raise ValueError(f"model should have operators of this backend, got {refused}")
        (self._scope,) = scopes(model)
        scope = self._scope
        self._constants = {
            name: read(tensor, name) for name, tensor in scope.initializers.items()
        }
        self._nodes = [plain(node) for node in scope.nodes]
        self._recurrences: dict[int, run.Recurrence] = {}
        for index, node in enumerate(self._nodes):
            if node.op_type in RECURRENT:
                plan = plan_of(node)
                names = dict(zip(plan.operator.inputs, node.input, strict=False))
                weights = [names[role] for role in ("W", "R", "B", "P") if names.get(role)]
                if all(name in self._constants for name in weights):
                    given = {
                        role: self._constants.get(name) for role, name in names.items()
                    }
                    self._recurrences[index] = run.Recurrence(
                        plan, matrices_of(plan, given)
                    )
        self._inputs = [value.name for value in model.graph.input]
        self._outputs = [value.name for value in model.graph.output]

    def run(self, inputs: Any, **_: Any) -> tuple[Any, ...]:
        """Return the model's outputs.

        Parameters
        ----------
        inputs
            Arrays by name, or in the order of the model's inputs without those that are
            constants; one array for a model with one input.

        Raises
        ------
        ValueError
            If an input is missing, a node cannot be computed, or an output is none that
            there is here, as the mask of a Dropout.
        """
        given_inputs = self._given(inputs)
        values = {**self._constants, **given_inputs}
        replaced = given_inputs.keys() & self._constants.keys()
        for index, node in enumerate(self._nodes):
            missing = [name for name in node.input if name and name not in values]
            if missing:
                raise ValueError(f"{node} should have an input {missing[0]!r}, got none")
            given = [values[name] if name else None for name in node.input]
            is_known = replaced.isdisjoint(node.input)
            outputs = self._outputs_of(index if is_known else None, node, given)
            for name, value in zip(node.output, outputs, strict=False):
                if name and value is not None:
                    values[name] = value
        missing = [name for name in self._outputs if name not in values]
        if missing:
            raise ValueError(f"model should give {missing[0]!r}, got no node that does")
        return tuple(values[name] for name in self._outputs)

    def _outputs_of(
        self, index: int | None, node: Node, given: list[Array | None]
    ) -> Sequence[Array | None]:
        if node.op_type not in RECURRENT:
            return evaluate(node, given, self._scope.opset)
        known = None if index is None else self._recurrences.get(index)
        if known is None:
            return run.run_node(node, given)
        return known(dict(zip(known.plan.operator.inputs, given, strict=False)))

    def _given(self, inputs: Any) -> dict[str, Array]:
        wanted = [name for name in self._inputs if name not in self._constants]
        if isinstance(inputs, Mapping):
            # What is a constant and no input of the model stays what it is.
            return {n: np.asarray(inputs[n]) for n in self._inputs if n in inputs}
        if isinstance(inputs, np.ndarray):
            inputs = [inputs]
        values = list(inputs)
        if len(values) > len(wanted):
            # Constants too may be given.
            wanted = self._inputs
        if len(values) != len(wanted):
            raise ValueError(
                f"inputs should be the {len(wanted)} that the model has, got {len(values)}"
            )
        return {n: np.asarray(v) for n, v in zip(wanted, values, strict=True)}


def unsupported(model: Any) -> str | None:
    """What of a model cannot be run here, if anything."""
    if len(model.functions) or len(model.graph.sparse_initializer):
        return "functions or sparse tensors"
    for node in model.graph.node:
        known = node.op_type in RECURRENT or node.op_type in OPERATORS
        if not known or node.domain not in ("", "ai.onnx"):
            return f"{node.domain or 'ai.onnx'}.{node.op_type}"
    return None


def run_one(node: Any, inputs: Any) -> tuple[Any, ...]:
    """Run a node alone, whose inputs may be those only that are not left out."""
    found = plain(node)
    if not isinstance(inputs, Mapping):
        values = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        present = [name for name in found.input if name]
        if len(values) == len(present) < len(found.input):
            inputs = dict(zip(present, values, strict=True))
        else:
            inputs = values
    if found.op_type in RECURRENT:
        return run.run_node(found, inputs)
    if isinstance(inputs, Mapping):
        inputs = [inputs[name] if name else None for name in found.input]
    given = [None if value is None else np.asarray(value) for value in inputs]
    return evaluate(found, given, 22)


@cache
def backend_class() -> Any:
    """Return ``gatewise.formats.onnx.Backend``, which is a subclass of the library's.

    Raises
    ------
    ImportError
        If the library is not installed.
    """
    base = library("onnx.backend.base")
    checker = library("onnx.checker")

    class Prepared(base.BackendRep):  # type: ignore[misc, name-defined]
        """A model that can be run again and again."""

        def __init__(self, model: Any) -> None:
            self._program = Program(model)

        def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
            """Return the model's outputs, for its inputs in their order or by name."""
            return self._program.run(inputs, **kwargs)

    class Backend(base.Backend):  # type: ignore[misc, name-defined]
        """A backend of ONNX for models of recurrent nodes and what stands around them.

        Its methods are those of ``onnx.backend.base.Backend``.
        """

        @classmethod
        def is_compatible(cls, model: Any, device: str = "CPU", **_: Any) -> bool:
            """Whether all operators of the model are here."""
            return cls.supports_device(device) and unsupported(model) is None

        @classmethod
        def prepare(cls, model: Any, device: str = "CPU", **_: Any) -> Any:
            """Return what runs the model."""
            if not cls.supports_device(device):
                raise ValueError(f"device should be the CPU, got {device!r}")
            prepared = Prepared(model)
            checker.check_model(model)
            return prepared

        @classmethod
        def run_node(
            cls,
            node: Any,
            inputs: Any,
            device: str = "CPU",
            outputs_info: Any = None,
            **_: Any,
        ) -> tuple[Any, ...]:
            """Run a node alone."""
            return run_one(node, inputs)

        @classmethod
        def supports_device(cls, device: str) -> bool:
            """Whether it is the CPU."""
            return device.split(":")[0] == "CPU"

    Backend.__module__ = Prepared.__module__ = "gatewise.formats.onnx"
    return Backend
