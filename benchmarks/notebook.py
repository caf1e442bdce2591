"""The notebook's functions in plain NumPy against both of gatewise's backends.

Everything runs in one process and in one thread, NumPy's BLAS too. The ways to compute take
turns of a millisecond or more, and the medians of their processor time are compared: what
other programs take of a busy machine does not count, and what they do to its caches and its
clock hits all ways alike. Results are compared before they are timed. A ratio of 3 means
that gatewise takes a third of the time.

    python benchmarks/notebook.py [--seconds 2] [--json FILE] [WORD ...]

With words, only the rows that contain one of them.
"""

from __future__ import annotations

import os

# Before NumPy is imported, since its BLAS reads them then.
os.environ.update(
    {
        f"{library}_NUM_THREADS": "1"
        for library in ("OPENBLAS", "MKL", "OMP", "BLIS", "VECLIB_MAXIMUM", "GATEWISE")
    }
)

import argparse
import json
import statistics
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
import plain

import gatewise
from gatewise.kernels import chooser

Array = np.ndarray[Any, Any]
Calls = dict[str, Callable[[], Any]]
TOLERANCE = {"float32": 1e-4, "float64": 1e-11}
# The least processor time that is measured at once, in seconds.
TURN = 1e-3


class Case(NamedTuple):
    """A function and the sizes of its arrays."""

    cell: str
    kind: str
    n_x: int
    n_a: int
    n_y: int
    m: int
    time: int
    dtype: str

    def __str__(self) -> str:
        steps = "" if self.kind.startswith("cell") else f" T={self.time}"
        sizes = f"n_x={self.n_x} n_a={self.n_a} m={self.m}{steps}"
        return f"{self.cell + '_' + self.kind:18} {sizes:27} {self.dtype}"


CASES = [
    *(
        Case(cell, kind, 3, 5, 2, 10, time, "float64")
        for kind in ("forward", "backward", "cell_forward", "cell_backward")
        for cell, time in (("rnn", 4), ("lstm", 7), ("gru", 7))
    ),
    *(
        Case(cell, kind, 128, 128, 2, 32, 100, dtype)
        for dtype in ("float32", "float64")
        for kind in ("forward", "backward")
        for cell in ("rnn", "lstm", "gru")
    ),
]


def calls(case: Case) -> Calls:
    """Every way to compute the case: what to call, by the name of the way."""
    random = np.random.default_rng(1)

    def draw(*shape: int) -> Array:
        return random.standard_normal(shape).astype(case.dtype)

    n_x, n_a, m = case.n_x, case.n_a, case.m
    shapes = parameter_shapes(case)
    parameters = {name: n_a**-0.5 * draw(*shape) for name, shape in shapes.items()}
    if case.kind.startswith("cell"):
        states = [draw(n_a, m) for _ in range(2 if case.cell == "lstm" else 1)]
        arguments = (draw(n_x, m), *states, parameters)
        gradients = [draw(n_a, m) for _ in states]
    else:
        arguments = (draw(n_x, m, case.time), draw(n_a, m), parameters)
        gradients = [draw(n_a, m, case.time)]

    def one(module: Any) -> Callable[[], Any]:
        function = getattr(module, f"{case.cell}_{case.kind}")
        if case.kind.endswith("forward"):
            return lambda: function(*arguments)
        forward = getattr(module, f"{case.cell}_{case.kind.replace('back', 'for')}")
        *_, caches = forward(*arguments)
        return lambda: function(*gradients, caches)

    result = {"plain": one(plain)}
    for name in backends():
        with chooser.use(name):
            result[name] = one(gatewise)
    return result


def parameter_shapes(case: Case) -> dict[str, tuple[int, int]]:
    n_x, n_a, n_y = case.n_x, case.n_a, case.n_y
    if case.cell == "rnn":
        shapes = {"Wax": (n_a, n_x), "Waa": (n_a, n_a), "ba": (n_a, 1), "Wya": (n_y, n_a)}
    else:
        gates = "fico" if case.cell == "lstm" else "urc"
        shapes = {f"W{gate}": (n_a, n_a + n_x) for gate in gates}
        shapes |= {f"b{gate}": (n_a, 1) for gate in gates}
        shapes["Wy"] = (n_y, n_a)
    return {**shapes, "by": (n_y, 1)}


def backends() -> list[str]:
    try:
        with chooser.use("native"):
            return ["native", "numpy"]
    except ImportError:
        return ["numpy"]


def turn(name: str, call: Callable[[], Any], count: int) -> float:
    """Return the seconds per call of `count` calls in a row."""
    with chooser.use("numpy" if name == "plain" else name):
        call()
        start = process_time()
        for _ in range(count):
            call()
        return (process_time() - start) / count


def measure(case: Case, seconds: float) -> dict[str, float]:
    """Return the median seconds per call of every way, measured in turns."""
    every = calls(case)
    assert_alike(case, every)
    counts = {
        name: max(1, round(TURN / max(turn(name, call, 10), 1e-7)))
        for name, call in every.items()
    }
    times: dict[str, list[float]] = {name: [] for name in every}
    end = perf_counter() + seconds
    while perf_counter() < end or len(times["plain"]) < 7:
        for name, call in every.items():
            times[name].append(turn(name, call, counts[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def assert_alike(case: Case, every: Calls) -> None:
    """Assert that all ways return the same arrays, and as many step caches."""
    wanted = every["plain"]()
    for name in every.keys() - {"plain"}:
        with chooser.use(name):
            got = every[name]()
        if case.kind.endswith("backward"):
            assert list(got) == list(wanted)
            pairs = list(zip(got.values(), wanted.values(), strict=True))
        else:
            pairs = list(zip(got[:-1], wanted[:-1], strict=True))
            assert len(got[-1][0]) == len(wanted[-1][0])
        for array, plain_array in pairs:
            scale = np.abs(plain_array).max()
            np.testing.assert_allclose(
                array, plain_array, rtol=0, atol=TOLERANCE[case.dtype] * scale
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each row")
    parser.add_argument("--json", metavar="FILE", help="write the medians here, too")
    parser.add_argument("words", nargs="*", metavar="WORD", help="rows to measure")
    options = parser.parse_args()
    present = backends()
    if "native" not in present:
        print("The compiled backend is not built: only NumPy is measured.")
    head = f"{'median microseconds per call':54} {'plain':>10}"
    print(head + "".join(f" {name:>10} {'ratio':>6}" for name in present))
    report = []
    for case in CASES:
        if options.words and not any(word in str(case) for word in options.words):
            continue
        medians = measure(case, options.seconds)
        line = f"{case!s:54} {medians['plain'] * 1e6:10.1f}"
        for name in present:
            ratio = medians["plain"] / medians[name]
            line += f" {medians[name] * 1e6:10.1f} {ratio:6.2f}"
        print(line, flush=True)
        report.append({**case._asdict(), "seconds": medians})
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
