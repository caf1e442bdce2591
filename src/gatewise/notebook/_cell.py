"""A cell in the notebook's terms, and its translation to and from the kernels'.

The notebook has a dictionary of parameters and a tuple of values per step; the kernels have
canonical `Weights` and rows of gates. This is the one place where one becomes the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gatewise._checks import Array, as_numbers, check_shape, parameter
from gatewise.direction import Weights
from gatewise.kernels.activations import STANDARD

Parameters = Mapping[str, ArrayLike]
Cache = tuple[Any, ...]


@lru_cache
def _shapes(layout: str, n_x: int, n_a: int) -> list[tuple[int, ...]]:
    sizes = {"x": n_x, "a": n_a, "j": n_a + n_x, "1": 1}
    return [tuple([sizes[letter] for letter in letters]) for letters in layout.split()]


@dataclass(frozen=True)
class Cell(ABC):
    """What one kind of cell has of its own, by the notebook's names.

    `states` and `gates` are in the kernels' order. `fields` names what a step's cache
    holds: the state after the step and before it, the gates, ``xt`` and ``parameters``.
    `own` names the parameters in the order of their gradients, and `layout` has their sizes
    as ``columns`` reads them. `head` is the matrix and the bias of the prediction.
    """

    name: str
    kernel: str
    states: tuple[str, ...]
    gates: tuple[str, ...]
    fields: tuple[str, ...]
    own: tuple[str, ...]
    layout: str
    head: tuple[str, str]

    @abstractmethod
    def weights(self, arrays: Sequence[Array]) -> Weights:
        """Return canonical weights, new arrays all, from those that `own` names."""

    @abstractmethod
    def gradients(self, gradients: Weights) -> list[Array]:
        """Return the gradients of what `own` names from those of canonical weights."""

    @abstractmethod
    def cached_gates(self, gates: Array) -> list[Array]:
        """Return what a cache holds of one step's ``gates (m, gates * n_a)``."""

    def _weights(self, w_ih: Array, w_hh: Array, bias: Array) -> Weights:
        return Weights(self.kernel, STANDARD, bias.dtype.name, w_ih, w_hh, bias)

    @cached_property
    def own_arrays(self) -> Callable[[Any], tuple[Any, ...]]:
        """Look up the parameters outside the prediction."""
        return itemgetter(*self.own)

    @cached_property
    def all_arrays(self) -> Callable[[Any], tuple[Any, ...]]:
        """Look up all parameters, those of the prediction last."""
        return itemgetter(*self.own, *self.head)

    @cached_property
    def step_layout(self) -> str:
        """The sizes of the arrays of a step, as ``columns`` reads them."""
        return " ".join(["xm", *["am"] * len(self.states), self.layout, "ya y1"])

    @cached_property
    def run_layout(self) -> str:
        """The sizes of the arrays of a sequence."""
        return f"xmt am {self.layout} ya y1"

    @cached_property
    def step_back_layout(self) -> str:
        """The sizes of the arrays of a step back."""
        values = len(self.states) + len(self.fields) - 2
        return " ".join([*["am"] * values, "xm", self.layout])

    @cached_property
    def step_gradients(self) -> tuple[str, ...]:
        """The names of the gradients of a step."""
        states = [f"d{state}_prev" for state in self.states]
        return ("dxt", *states, *[f"d{name}" for name in self.own])

    @cached_property
    def run_gradients(self) -> tuple[str, ...]:
        """The names of the gradients of a sequence."""
        return ("dx", "da0", *[f"d{name}" for name in self.own])

    def read(self, parameters: Parameters, n_x: int, n_a: int) -> list[Array]:
        """Return the arrays that `own` names, checked."""
        arrays = []
        for name, shape in zip(self.own, _shapes(self.layout, n_x, n_a), strict=True):
            array = parameter(parameters, name)
            check_shape(name, array, shape)
            arrays.append(array)
        return arrays

    def read_head(self, parameters: Parameters, n_a: int) -> tuple[Array, Array]:
        """Return the matrix and the bias of the prediction, checked."""
        matrix_name, bias_name = self.head
        matrix = parameter(parameters, matrix_name)
        check_shape(matrix_name, matrix, ("n_y", n_a), free=1)
        bias = parameter(parameters, bias_name)
        check_shape(bias_name, bias, (matrix.shape[0], 1))
        return matrix, bias

    def read_cache(self, where: str, cache: Any) -> dict[str, Any]:
        """Return what the cache of one step holds, by field, its arrays checked."""
        if not isinstance(cache, (tuple, list)) or len(cache) != len(self.fields):
            came = f"a {type(cache).__name__}"
            if isinstance(cache, (tuple, list)):
                came += f" of {len(cache)}"
            raise ValueError(
                f"{where} should be a tuple of {len(self.fields)}, "
                f"({', '.join(self.fields)}), got {came}"
            )
        values = dict(zip(self.fields, cache, strict=True))
        for field in self.fields:
            if field != "parameters":
                values[field] = as_numbers(f"{field} in {where}", values[field])
        a_next = values["a_next"]
        check_shape(f"a_next in {where}", a_next, ("n_a", "m"), free=2)
        for field in self.fields:
            if field == "xt":
                check_shape(
                    f"xt in {where}", values["xt"], ("n_x", a_next.shape[1]), free=1
                )
            elif field != "parameters":
                check_shape(f"{field} in {where}", values[field], a_next.shape)
        return values


@dataclass(frozen=True)
class GatedCell(Cell):
    """A cell whose gates each have a matrix that multiplies the stack of a above x.

    A gate's parameters are called after the first letter of its value. The GRU's u is 1
    minus the kernels' z, and so u's parameters are those of z with the opposite sign.
    """

    @cached_property
    def _places(self) -> list[int]:
        """Where each gate's matrix stands in `own`, with its bias after it."""
        return [self.own.index(f"W{gate[0]}") for gate in self.gates]

    def weights(self, arrays: Sequence[Array]) -> Weights:
        """As in `Cell`."""
        n_a = arrays[0].shape[0]
        stacked = np.concatenate([arrays[place] for place in self._places])
        bias = np.concatenate([arrays[place + 1] for place in self._places])
        self._swap_u_and_z(stacked, bias)
        w_ih, w_hh = stacked[:, n_a:].copy(), stacked[:, :n_a].copy()
        return self._weights(w_ih, w_hh, bias[:, 0])

    def gradients(self, gradients: Weights) -> list[Array]:
        """As in `Cell`."""
        n_a = gradients.w_hh.shape[1]
        stacked = np.concatenate([gradients.w_hh, gradients.w_ih], axis=1)
        bias = gradients.bias[:, None]
        self._swap_u_and_z(stacked, bias)
        arrays = [bias] * len(self.own)
        for gate, place in enumerate(self._places):
            part = slice(gate * n_a, (gate + 1) * n_a)
            arrays[place], arrays[place + 1] = stacked[part], bias[part]
        return arrays

    def cached_gates(self, gates: Array) -> list[Array]:
        """As in `Cell`."""
        n_a = gates.shape[1] // len(self.gates)
        columns = gates.T
        parts = [columns[k : k + n_a] for k in range(0, len(columns), n_a)]
        named = dict(zip(self.gates, parts, strict=True))
        if "u" in named:
            named["u"] = 1 - named["u"]
        return [named[field] for field in self.fields if field in named]

    def _swap_u_and_z(self, *arrays: Array) -> None:
        if "u" in self.gates:
            n_a = arrays[0].shape[0] // len(self.gates)
            start = n_a * self.gates.index("u")
            for array in arrays:
                array[start : start + n_a] *= -1
