"""The notebook's cells and made-up arguments for them, for all its tests."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import gatewise

Array = np.ndarray[Any, Any]


class Notebook(NamedTuple):
    """One cell's functions and what distinguishes them."""

    name: str
    gates: str
    states: tuple[str, ...]
    cache_fields: tuple[str, ...]

    def function(self, kind: str) -> Any:
        return getattr(gatewise, f"{self.name}_{kind}")

    def shapes(self, n_x: int, n_a: int, n_y: int) -> dict[str, tuple[int, int]]:
        if self.name == "rnn":
            shapes = {"Wax": (n_a, n_x), "Waa": (n_a, n_a), "ba": (n_a, 1)}
            return {**shapes, "Wya": (n_y, n_a), "by": (n_y, 1)}
        shapes = {f"W{gate}": (n_a, n_a + n_x) for gate in self.gates}
        shapes |= {f"b{gate}": (n_a, 1) for gate in self.gates}
        return {**shapes, "Wy": (n_y, n_a), "by": (n_y, 1)}

    def gradient_keys(self, *inputs: str) -> list[str]:
        if self.name == "rnn":
            return [*inputs, "dWax", "dWaa", "dba"]
        return [*inputs, *(f"d{kind}{gate}" for gate in self.gates for kind in "Wb")]


RNN = Notebook("rnn", "", ("a",), ("a_next", "a_prev", "xt", "parameters"))
LSTM = Notebook(
    "lstm",
    "fico",
    ("a", "c"),
    ("a_next", "c_next", "a_prev", "c_prev", "ft", "it", "cct", "ot", "xt", "parameters"),
)
GRU = Notebook(
    "gru", "urc", ("a",), ("a_next", "a_prev", "r", "u", "cct", "xt", "parameters")
)
CELLS = (RNN, LSTM, GRU)


def draw_parameters(
    cell: Notebook,
    n_x: int = 3,
    n_a: int = 5,
    n_y: int = 2,
    dtype: str = "float64",
    seed: int = 0,
) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    return {
        name: (0.5 * random.standard_normal(shape)).astype(dtype)
        for name, shape in cell.shapes(n_x, n_a, n_y).items()
    }


def draw(*shape: int, dtype: str = "float64", seed: int = 1) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def run_sequence(cell: Notebook, x: Any, a0: Any, parameters: Any) -> dict[str, Any]:
    """What the sequence function returns, by name, in any cell's order."""
    returned = cell.function("forward")(x, a0, parameters)
    names = ("a", "y", "c", "caches") if cell.name == "lstm" else ("a", "y", "caches")
    return dict(zip(names, returned, strict=True))


def run_cell(
    cell: Notebook, xt: Any, before: tuple[Any, ...], parameters: Any
) -> dict[str, Any]:
    """What the cell function returns, by name."""
    returned = cell.function("cell_forward")(xt, *before, parameters)
    names = [*(f"{state}_next" for state in cell.states), "yt", "cache"]
    return dict(zip(names, returned, strict=True))


def everything(
    x: Any, a0: Any, da: Any, cell: Notebook, parameters: Any
) -> dict[str, Array]:
    """Every array that one forward and one backward pass of a sequence return."""
    run = run_sequence(cell, x, a0, parameters)
    caches = run.pop("caches")
    return {**run, **cell.function("backward")(da, caches)}
