"""The notebook's way of computing, one NumPy cell per step, against both backends.

All ways run in one process, in turns, so that whatever else the machine does hits them
alike; the medians are compared. A ratio of 3 means that gatewise takes a third of the time.

    python benchmarks/notebook.py [--seconds 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import gatewise
from gatewise import _backend

Array = np.ndarray[Any, Any]
Parameters = dict[str, Array]


class Case(NamedTuple):
    cell: str
    n_x: int
    n_a: int
    n_y: int
    m: int
    time: int
    dtype: str

    def __str__(self) -> str:
        sizes = f"n_x={self.n_x} n_a={self.n_a} m={self.m} T={self.time}"
        return f"{self.cell:4} {sizes:28} {self.dtype}"


CASES = [
    Case("rnn", 3, 5, 2, 10, 4, "float64"),
    Case("lstm", 3, 5, 2, 10, 7, "float64"),
    Case("gru", 3, 5, 2, 10, 7, "float64"),
    *(
        Case(cell, 128, 128, 2, 32, 100, dtype)
        for dtype in ("float32", "float64")
        for cell in ("rnn", "lstm", "gru")
    ),
]


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def softmax(z: Array) -> Array:
    exponentials = np.exp(z - z.max(axis=0))
    return exponentials / exponentials.sum(axis=0)


def plain_rnn_step(xt: Array, state: tuple[Array, ...], p: Parameters) -> tuple[Any, ...]:
    (a_prev,) = state
    a_next = np.tanh(np.dot(p["Waa"], a_prev) + np.dot(p["Wax"], xt) + p["ba"])
    prediction = softmax(np.dot(p["Wya"], a_next) + p["by"])
    return (a_next,), prediction, (a_next, a_prev, xt, p)


def plain_lstm_step(xt: Array, state: tuple[Array, ...], p: Parameters) -> tuple[Any, ...]:
    a_prev, c_prev = state
    stack = np.concatenate([a_prev, xt])
    ft = sigmoid(np.dot(p["Wf"], stack) + p["bf"])
    it = sigmoid(np.dot(p["Wi"], stack) + p["bi"])
    cct = np.tanh(np.dot(p["Wc"], stack) + p["bc"])
    ot = sigmoid(np.dot(p["Wo"], stack) + p["bo"])
    c_next = ft * c_prev + it * cct
    a_next = ot * np.tanh(c_next)
    prediction = softmax(np.dot(p["Wy"], a_next) + p["by"])
    cache = (a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, p)
    return (a_next, c_next), prediction, cache


def plain_gru_step(xt: Array, state: tuple[Array, ...], p: Parameters) -> tuple[Any, ...]:
    (a_prev,) = state
    stack = np.concatenate([a_prev, xt])
    u = sigmoid(np.dot(p["Wu"], stack) + p["bu"])
    r = sigmoid(np.dot(p["Wr"], stack) + p["br"])
    cct = np.tanh(np.dot(p["Wc"], np.concatenate([r * a_prev, xt])) + p["bc"])
    a_next = u * cct + (1 - u) * a_prev
    prediction = softmax(np.dot(p["Wy"], a_next) + p["by"])
    return (a_next,), prediction, (a_next, a_prev, r, u, cct, xt, p)


PLAIN_STEP = {"rnn": plain_rnn_step, "lstm": plain_lstm_step, "gru": plain_gru_step}


def plain_forward(
    cell: str, x: Array, a0: Array, parameters: Parameters
) -> tuple[Any, ...]:
    step = PLAIN_STEP[cell]
    n_a, m = a0.shape
    n_y, time = len(parameters["by"]), x.shape[2]
    state = (a0, np.zeros_like(a0)) if cell == "lstm" else (a0,)
    sequences = [np.zeros((n_a, m, time), x.dtype) for _ in state]
    predictions = np.zeros((n_y, m, time), x.dtype)
    caches = []
    for t in range(time):
        state, predictions[:, :, t], cache = step(x[:, :, t], state, parameters)
        for sequence, value in zip(sequences, state, strict=True):
            sequence[:, :, t] = value
        caches.append(cache)
    return sequences[0], predictions, *sequences[1:], (caches, x)


def arguments(case: Case) -> tuple[Array, Array, Parameters]:
    random = np.random.default_rng(1)

    def draw(*shape: int) -> Array:
        scale = 1 / np.sqrt(case.n_a) if shape[0] == case.n_a else 1
        return (scale * random.standard_normal(shape)).astype(case.dtype)

    n_x, n_a, n_y = case.n_x, case.n_a, case.n_y
    if case.cell == "rnn":
        shapes = {"Wax": (n_a, n_x), "Waa": (n_a, n_a), "ba": (n_a, 1), "Wya": (n_y, n_a)}
    else:
        gates = "fico" if case.cell == "lstm" else "urc"
        shapes = {f"W{gate}": (n_a, n_a + n_x) for gate in gates}
        shapes |= {f"b{gate}": (n_a, 1) for gate in gates}
        shapes["Wy"] = (n_y, n_a)
    shapes["by"] = (n_y, 1)
    parameters = {name: draw(*shape) for name, shape in shapes.items()}
    return draw(n_x, case.m, case.time), draw(n_a, case.m), parameters


def ways(case: Case) -> Iterator[tuple[str, Any, Callable[[], tuple[Any, ...]]]]:
    """Every way to compute the case: its name, the context it runs in, and the call."""
    x, a0, parameters = arguments(case)
    forward = getattr(gatewise, f"{case.cell}_forward")
    yield "plain", nullcontext, lambda: plain_forward(case.cell, x, a0, parameters)
    for backend in backends():
        yield backend, lambda b=backend: _backend.use(b), lambda: forward(x, a0, parameters)


def backends() -> list[str]:
    try:
        with _backend.use("native"):
            return ["numpy", "native"]
    except ImportError:
        return ["numpy"]


def measure(case: Case, seconds: float) -> dict[str, float]:
    """Return the median seconds per call of every way, measured in turns."""
    every = list(ways(case))
    results = []
    for _, context, call in every:
        with context():
            results.append(call())
    for result in results[1:]:
        for got, wanted in zip(result[:-1], results[0][:-1], strict=True):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
    # Short calls are timed several at once, or the clock would count.
    start = perf_counter()
    every[0][2]()
    calls = max(1, round(1e-3 / (perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name, _, _ in every}
    end = perf_counter() + seconds
    while perf_counter() < end or len(times["plain"]) < 5:
        for name, context, call in every:
            with context():
                start = perf_counter()
                for _ in range(calls):
                    call()
                times[name].append((perf_counter() - start) / calls)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each case")
    parser.add_argument("--json", metavar="FILE", help="write the medians here, too")
    options = parser.parse_args()
    present = backends()
    if "native" not in present:
        print("The compiled backend is not built: only NumPy is measured.")
    head = f"{'forward pass':42} {'plain':>10}"
    print(head + "".join(f" {name:>10} {'ratio':>6}" for name in present))
    report = []
    for case in CASES:
        medians = measure(case, options.seconds)
        line = f"{case!s:42} {medians['plain'] * 1e6:7.1f} us"
        for name in present:
            ratio = medians["plain"] / medians[name]
            line += f" {medians[name] * 1e6:7.1f} us {ratio:6.2f}"
        print(line, flush=True)
        report.append({**case._asdict(), "seconds": medians})
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
