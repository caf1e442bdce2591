"""Small calls: Linear beside NumPy, steps on tokens beside steps on floats, chunks, nets.

The two sides of a row take turns of a millisecond or more, and the medians of their times
are compared; their results are compared before. A ratio of 2 means that gatewise takes half
the time of what stands beside it. The goal is 1, for chunks 1 / 1.15.

    python benchmarks/small.py [--seconds 1] [--json FILE] [WORD ...]

With words, only the rows that contain one of them. Both sides have one thread or, with
THREADS in the environment, so many. OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE slow NumPy down
where they are set.
"""

from __future__ import annotations

import os

# Before NumPy is imported, since its BLAS reads them then.
os.environ.update(
    {
        f"{library}_NUM_THREADS": os.environ.get("THREADS", "1")
        for library in ("OPENBLAS", "MKL", "OMP", "BLIS", "VECLIB_MAXIMUM", "GATEWISE")
    }
)

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import gatewise

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]
# The least time that is measured at once, in seconds.
TURN = 1e-3
TOLERANCE = {"float32": 1e-4, "float64": 1e-11}

# The shape of x, and the outputs.
LINEAR: list[tuple[tuple[int, ...], int]] = [
    ((128,), 1),
    ((1, 128), 1),
    ((1, 128), 128),
    ((4, 387), 128),
    ((64, 24), 1),
    ((48000, 24), 1),
    ((1, 256), 1000),
    ((32, 256), 64),
    ((1000, 512), 512),
    ((8, 100, 256), 39),
    ((1, 4), 2),
    *(((rows, 64), outputs) for outputs in (2, 3, 5, 7) for rows in (1, 64, 1000)),
    ((1, 4096), 1),
    ((1, 4096), 8),
    ((1, 4096), 24),
    ((1, 4096), 40),
    ((256, 2048), 16),
    ((100000, 8), 8),
]


class Row(NamedTuple):
    """A call of gatewise and what stands beside it, with what a ratio should reach."""

    name: str
    beside: str
    call: Call
    other: Call
    goal: float = 1.0


def linear(dtype: str) -> Iterator[Row]:
    """A Linear beside what a NumPy user writes."""
    random = np.random.default_rng(0)
    for shape, outputs in LINEAR:
        x = random.standard_normal(shape).astype(dtype)
        layer = gatewise.Linear(shape[-1], outputs, dtype=dtype, seed=0)
        w, b = (array.copy() for array in layer.parameters().values())
        name = f"Linear {'x'.join(map(str, shape))} to {outputs}, {dtype}"
        yield Row(
            name,
            "NumPy",
            lambda layer=layer, x=x: layer(x),
            lambda x=x, w=w, b=b: np.matmul(x, w.T) + b,
        )


def tokens() -> Iterator[Row]:
    """Steps of a stream on a token beside those on the equal one-hot row."""
    for kind, count, hidden in (
        ("LSTM", 65, 128),
        ("GRU", 65, 128),
        ("RNN", 65, 64),
        ("LSTM", 2, 40),
    ):
        layer = getattr(gatewise, kind)(count, hidden, tokens=True, seed=0)
        row = np.eye(count, dtype=np.float32)[1]
        for form, token in (("int", 1), ("0-d", np.array(1)), ("int64", np.int64(1))):
            stream, floats = layer.stream(), layer.stream()
            yield Row(
                f"{kind} {count} to {hidden}, step on a token, {form}",
                "its row",
                lambda stream=stream, token=token: stream(token),
                lambda floats=floats, row=row: floats(row),
            )


def chunks() -> Iterator[Row]:
    """Chunks of 64 samples beside the same samples in one call."""
    x = np.random.default_rng(0).standard_normal((1, 6400, 1)).astype("float32")
    parts = [x[:, first : first + 64] for first in range(0, 6400, 64)]
    for kind in ("LSTM", "GRU"):
        layer = getattr(gatewise, kind)(1, 40, seed=0)
        streams = layer.stream(), layer.stream()

        def chunked(stream: gatewise.layers.Stream = streams[0]) -> Array:
            return np.concatenate([stream(part) for part in parts], axis=1)

        def one_call(stream: gatewise.layers.Stream = streams[1]) -> Array:
            return stream(x)

        yield Row(f"{kind} 1 to 40, chunks of 64", "one call", chunked, one_call, 1 / 1.15)


def nets() -> Iterator[Row]:
    """A step of a whole net beside the steps of its layers, one after another."""
    embedding = gatewise.Embedding(65, 32, seed=0)
    gru = gatewise.GRU(32, 128, seed=0)
    linear, softmax = gatewise.Linear(128, 65, seed=0), gatewise.Softmax()
    model = gatewise.Sequential(embedding, gru, linear, softmax)
    for name, whole in (("float32", model), ("int8", model.quantize("int8"))):
        stream, alone = whole.stream(), whole.layers[1].stream()  # type: ignore[attr-defined]

        def one_by_one(alone: gatewise.layers.Stream = alone) -> Array:
            result: Array = softmax(linear(alone(embedding(3))))
            return result

        yield Row(
            f"Embedding, GRU, Linear, Softmax, one step, {name}",
            "its layers",
            lambda stream=stream: stream(3),
            one_by_one,
        )


def rows() -> Iterator[Row]:
    """Every row, in order."""
    for dtype in TOLERANCE:
        yield from linear(dtype)
    yield from tokens()
    yield from chunks()
    yield from nets()


def turn(call: Call, count: int) -> float:
    """Return the seconds per call of `count` calls in a row."""
    start = perf_counter()
    for _ in range(count):
        call()
    return (perf_counter() - start) / count


def assert_alike(row: Row) -> None:
    """Assert that both sides return the same array."""
    first, second = np.array(row.call()), np.array(row.other())
    assert first.dtype == second.dtype
    tolerance = TOLERANCE[str(first.dtype)] * max(1.0, float(np.abs(second).max()))
    np.testing.assert_allclose(first, second, rtol=0, atol=tolerance)


def measure(row: Row, seconds: float) -> tuple[float, float]:
    """Return the median seconds of both sides, measured in turns."""
    calls = row.call, row.other
    counts = [max(1, round(TURN / max(turn(call, 10), 1e-7))) for call in calls]
    times: tuple[list[float], list[float]] = ([], [])
    end = perf_counter() + seconds
    while perf_counter() < end or len(times[0]) < 7:
        for call, count, taken in zip(calls, counts, times, strict=True):
            taken.append(turn(call, count))
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each row")
    parser.add_argument("--json", metavar="FILE", help="write the medians here, too")
    parser.add_argument("words", nargs="*", metavar="WORD", help="rows to measure")
    options = parser.parse_args()
    print(f"{'median microseconds per call':56} {'gatewise':>9} {'beside':>9}        ratio")
    report, short = [], []
    for row in rows():
        if options.words and not any(word in row.name for word in options.words):
            continue
        assert_alike(row)
        own, other = measure(row, options.seconds)
        ratio = other / own
        times = f"{own * 1e6:9.2f} {other * 1e6:9.2f}"
        print(f"{row.name:56} {times} {row.beside:10} {ratio:6.2f}", flush=True)
        report.append({"name": row.name, "beside": row.beside, "seconds": [own, other]})
        if ratio < row.goal:
            short.append(f"{row.name}: {ratio:.2f} of {row.goal:.2f}")
    print("all goals reached" if not short else "short of the goal: " + "; ".join(short))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
