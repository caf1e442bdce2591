"""How the rate holds, and memory grows, as the work grows: over T, B and H.

Every row lets one size grow and keeps the others: the steps T to 100,000, the batch B to
4096, the units H, with as many inputs, to 2048. It shows the rate in multiply-adds per
second, of inference or of a forward and a backward pass, and at each size what share that
is of the best rate of the row; and the peak of memory beside what weights and data take,
also for each number of the outputs, which stays the same while memory grows linearly.

    python benchmarks/growth.py [--quick] [--threads 1] [--json FILE] [WORD ...]

With words, only the rows whose names contain all of them. ``--quick`` leaves out the
largest sizes. Every point is a process of its own, and its rate the median of some turns
after one that is not counted. A point that would need more memory than is there is left
out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

CELLS = {"LSTM": 4, "GRU": 3, "RNN": 1}
# Numbers that training keeps for each output, beside the gates: inputs, outputs, states and
# the gradients of both ends.
KEPT = 6
SHARE_OF_MEMORY = 0.7


class Point(NamedTuple):
    """One layer and its data."""

    cell: str
    training: bool
    batch: int
    time: int
    hidden: int

    @property
    def work(self) -> int:
        """The multiply-adds; the way back has twice those of the way forward."""
        one = CELLS[self.cell] * self.hidden * 2 * self.hidden
        return self.batch * self.time * one * (3 if self.training else 1)

    @property
    def bytes_needed(self) -> int:
        """About how much memory this takes."""
        kept = KEPT + CELLS[self.cell] if self.training else 2
        weights = 8 * CELLS[self.cell] * self.hidden**2
        return 4 * (self.batch * self.time * self.hidden * kept + weights)


class Row(NamedTuple):
    """What grows, and its points."""

    name: str
    grows: str
    points: list[Point]


def rows(quick: bool) -> Iterator[Row]:
    """Every row, in order."""
    for training in (False, True):
        for cell in CELLS:
            what = f"{cell} {'training' if training else 'inference'}"

            def point(b: int, t: int, h: int, c: str = cell, f: bool = training) -> Point:
                return Point(c, f, b, t, h)

            times = (10, 100, 1000, *(() if quick else (10_000, 100_000)))
            points = [point(32, time, 128) for time in times]
            yield Row(f"{what} over T, B32 H128", "T", points)
            batches = (16, 64, 256, 1024, *(() if quick else (4096,)))
            for hidden in (64, 128, 256):
                points = [point(batch, 50, hidden) for batch in batches]
                yield Row(f"{what} over B, T50 H{hidden}", "B", points)
            sizes = (64, 128, 256, 512, *(() if quick else (1024, 2048)))
            points = [point(128, 20, hidden) for hidden in sizes]
            yield Row(f"{what} over H, B128 T20", "H", points)


def measure(point: Point, threads: int, repeats: int) -> dict[str, float]:
    """Return the median seconds of a call, and the bytes that it took at most."""
    import numpy as np

    import gatewise

    gatewise.set_num_threads(threads)
    layer = getattr(gatewise, point.cell)(point.hidden, point.hidden, seed=0)
    random = np.random.default_rng(0)
    shape = (point.batch, point.time, point.hidden)
    x = random.standard_normal(shape, dtype=np.float32)
    dy = random.standard_normal(shape, dtype=np.float32) if point.training else None

    def call() -> None:
        if dy is None:
            layer(x)
        else:
            layer.backward(layer.forward(x)[2], dy)

    before, times = _memory("VmRSS"), []
    call()
    # A median of five turns of at least a twentieth of a second.
    start = perf_counter()
    call()
    count = max(1, round(0.05 / (perf_counter() - start)))
    for _ in range(repeats):
        start = perf_counter()
        for _ in range(count):
            call()
        times.append((perf_counter() - start) / count)
    taken = _memory("VmHWM") - before
    return {"seconds": statistics.median(times), "bytes": taken}


def _memory(key: str) -> int:
    """Return a figure of this process, in bytes; 0 where the system has none."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            (line,) = [line for line in file if line.startswith(key)]
    except OSError:
        return 0
    return int(line.split()[1]) * 1024


def _available() -> float:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            (line,) = [line for line in file if line.startswith("MemAvailable")]
    except OSError:
        return float("inf")
    return int(line.split()[1]) * 1024 * SHARE_OF_MEMORY


def _in_process(point: Point, options: argparse.Namespace) -> dict[str, float]:
    """Measure in a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--point", json.dumps(point)]
    command += ["--threads", str(options.threads), "--repeats", str(options.repeats)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _show(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    found: list[tuple[Point, dict[str, float]]] = []
    for point in row.points:
        if point.bytes_needed <= _available():
            found.append((point, _in_process(point, options)))
    rates = [point.work / result["seconds"] / 1e9 for point, result in found]
    print(f"\n{row.name}")
    report = []
    for (point, result), rate in zip(found, rates, strict=True):
        size = {"T": point.time, "B": point.batch, "H": point.hidden}[row.grows]
        outputs = point.batch * point.time * point.hidden
        share, numbers = rate / max(rates), result["bytes"] / 4 / outputs
        print(
            f"  {row.grows}{size:<7} {rate:7.1f} G/s  {share:5.2f} of the best"
            f"  {result['bytes'] / 1e6:8.1f} MB  {numbers:6.1f} numbers for an output",
            flush=True,
        )
        report.append({"size": size, "rate": rate, "share": share} | result)
    return {"row": row.name, "points": report}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without the largest sizes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5, help="turns of each point")
    parser.add_argument("--json", metavar="FILE", help="write the figures here, too")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", metavar="WORD", help="rows to measure")
    options = parser.parse_args()
    if options.point:
        point = Point(*json.loads(options.point))
        print(json.dumps(measure(point, options.threads, options.repeats)))
        return
    os.environ["GATEWISE_NUM_THREADS"] = str(options.threads)
    report = [
        _show(row, options)
        for row in rows(options.quick)
        if all(word in row.name for word in options.words)
    ]
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
