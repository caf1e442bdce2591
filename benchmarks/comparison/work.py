"""What every contestant is given, and when two of them agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comparison.grid import Case

Array = NDArray[Any]
Arrays = dict[str, Array]


@dataclass
class Work:
    """The weights of a case by PyTorch's names, and its data, batch first."""

    weights: Arrays
    x: Array
    lengths: NDArray[np.int64]
    dy: Array | None

    def time_first(self, array: Array) -> Array:
        """A copy with the time axis in front, as most peers want it."""
        return np.ascontiguousarray(array.swapaxes(0, 1))


def make_work(case: Case) -> Work:
    """Return the same arrays for the same case in every process."""
    random = np.random.default_rng(1)
    dtype: Any = np.dtype(case.dtype)

    def draw(*shape: int, bound: float = 1.0) -> Array:
        # In place, so that measurements of memory see no temporary arrays.
        values = random.random(shape, dtype)
        values -= 0.5
        values *= 2 * bound
        return values

    rows = case.gates * case.hidden_size
    bound = case.hidden_size**-0.5
    weights = {}
    for number, input_size in enumerate(case.input_sizes()):
        layer, direction = divmod(number, case.directions)
        suffix = f"_l{layer}" + "_reverse" * direction
        weights["weight_ih" + suffix] = draw(rows, input_size, bound=bound)
        weights["weight_hh" + suffix] = draw(rows, case.hidden_size, bound=bound)
        weights["bias_ih" + suffix] = draw(rows, bound=bound)
        weights["bias_hh" + suffix] = draw(rows, bound=bound)
    x = draw(case.batch, case.time, case.input_size)
    outputs = case.directions * case.hidden_size
    dy = draw(case.batch, case.time, outputs) if case.training else None
    return Work(weights, x, sequence_lengths(case), dy)


def sequence_lengths(case: Case) -> NDArray[np.int64]:
    """How many steps of each sequence exist, uniform from 5 up where they are ragged."""
    if not case.ragged:
        return np.full(case.batch, case.time)
    lengths = np.random.default_rng(2).integers(5, case.time + 1, case.batch)
    lengths[0] = case.time
    return lengths


def difference(got: Arrays, wanted: Arrays) -> float:
    """The largest deviation in any array, relative to its largest value or to 1."""
    if got.keys() != wanted.keys():
        raise ValueError(f"results should be {sorted(wanted)}, got {sorted(got)}")
    worst = 0.0
    for name, expected in wanted.items():
        if got[name].shape != expected.shape:
            raise ValueError(
                f"{name} should have shape {expected.shape}, got {got[name].shape}"
            )
        scale = max(1.0, float(np.abs(expected).max()))
        deviation = float(np.abs(got[name] - expected).max()) / scale
        worst = max(worst, deviation if np.isfinite(deviation) else np.inf)
    return worst
