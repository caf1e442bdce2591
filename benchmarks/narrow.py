"""Integer weights against float32, and against ONNX Runtime's own, by turns.

Every case runs in float32, in int8 with activations of 15 and of 8 bits, and, where it is
installed and has the operator, in ONNX Runtime after its ``quantize_dynamic``. Each has a
turn of two milliseconds or more, over and over; the figures are medians over the turns. A
goal is the least ratio that is hoped for; "<" marks what falls short of it.

    python benchmarks/narrow.py [--only 'B1 T1 '] [--turns 60] [--threads 2]
    GATEWISE_ISA=avx2 python benchmarks/narrow.py --goals avx2
"""

from __future__ import annotations

import os

# Before NumPy is imported, since its BLAS reads it then.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from itertools import cycle
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, NamedTuple

import numpy as np
from comparison.grid import Case
from comparison.work import Work, make_work

import gatewise
from gatewise.kernels import chooser

# The least time that is measured at once, in seconds.
TURN = 2e-3
# How long all threads rest before a turn: those of ONNX Runtime wait awake after a call,
# and would keep a core from whoever comes next.
REST = 100e-3
NAMES = ("float32", "15 bits", "8 bits", "runtime")


class Goal(NamedTuple):
    """The least ratio of two contestants' times."""

    slower: str
    faster: str
    ratio: float

    def __str__(self) -> str:
        return f"{self.slower} / {self.faster}"


def cases() -> list[Case]:
    """Single steps, sequences of one, and batches."""

    def case(cell: str, batch: int, time: int, units: int) -> Case:
        return Case("inference", cell, batch, time, units, units)

    steps = [case("lstm", 1, 1, units) for units in (64, 128, 256, 512, 1024)]
    alone = [case("lstm", 1, 100, units) for units in (64, 128, 256, 512, 1024)]
    batches = [case("lstm", 32, 100, units) for units in (128, 256, 512)]
    batches += [case("lstm", 8, 100, 256), case("lstm", 128, 50, 512)]
    others = [case("gru", 1, 100, 256), case("gru", 32, 100, 256)]
    return [*steps, *alone, *batches, *others, case("rnn", 1, 100, 256)]


def goals_of(case: Case, goals: str) -> list[Goal]:
    """What is hoped for of a case."""
    units, is_batch = case.hidden_size, case.batch > 1
    if goals == "avx2":
        if is_batch or units < 256:
            return []
        return [Goal("float32", bits, 1.4) for bits in ("15 bits", "8 bits")]
    found = [Goal("runtime", "8 bits", 1.0)]
    found.append(Goal("runtime", "15 bits", 1.0 if case.streaming else 0.85))
    if is_batch:
        return [*found, Goal("float32", "8 bits", 2.5), Goal("float32", "15 bits", 1.6)]
    if units >= 128:
        wide, best = (2.5, 2.5) if units >= 256 else (1.5, 1.5)
        if case.streaming and units >= 512:
            best = 3.5
        found += [Goal("float32", "8 bits", wide), Goal("float32", "15 bits", best)]
    return found


def gatewise_calls(case: Case, work: Work, threads: int) -> dict[str, Callable[[], Any]]:
    """A call in each of our formats."""
    layer = getattr(gatewise, case.cell.upper())(case.input_size, case.hidden_size)
    layer.load_state_dict(work.weights)
    layers = {
        "float32": layer,
        "15 bits": layer.quantize("int8", activations=15),
        "8 bits": layer.quantize("int8", activations=8),
    }
    if not case.streaming:
        return {name: partial(each, work.x) for name, each in layers.items()}
    row = work.x[:, 0]
    return {
        name: partial(each.stream(case.batch, num_threads=threads), row)
        for name, each in layers.items()
    }


def runtime_call(case: Case, work: Work, threads: int) -> Callable[[], Any] | None:
    """A call of ONNX Runtime with the weights as its own tool makes them narrow."""
    if case.cell != "lstm":
        return None
    try:
        import onnxruntime
        from comparison.onnx_model import build, state_names
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        wide, narrow = Path(folder, "wide.onnx"), Path(folder, "narrow.onnx")
        wide.write_bytes(build(case, work))
        quantize_dynamic(wide, narrow, weight_type=QuantType.QInt8)
        content = narrow.read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"]
    )
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    names = state_names(case) if case.streaming else []
    state = np.zeros((1, case.batch, case.hidden_size), np.float32)
    states = [[value(state.copy()) for _ in names] for _ in range(2)]
    y = value(np.zeros((case.time, case.batch, case.hidden_size), np.float32))
    bindings = []
    for before, after in (states, states[::-1]):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", value(work.time_first(work.x)))
        binding.bind_ortvalue_output("y", y)
        for (given, left), old, new in zip(names, before, after, strict=True):
            binding.bind_ortvalue_input(given, old)
            binding.bind_ortvalue_output(left, new)
        bindings.append(binding)
    turns = cycle(bindings)
    return lambda: session.run_with_iobinding(next(turns))


def turn(call: Callable[[], Any], count: int) -> float:
    """The seconds that one of so many calls takes."""
    start = perf_counter()
    for _ in range(count):
        call()
    return (perf_counter() - start) / count


def medians(
    calls: dict[str, Callable[[], Any]], turns: int, threads: int = 1
) -> dict[str, float]:
    """The seconds of a call of each, measured by turns.

    Threads of others wait awake for their next call, for milliseconds; so with more than
    one there is a rest after every turn, lest they take the cores of whoever comes next.
    """
    rest = REST if threads > 1 else 0.0
    counts = {}
    for name, call in calls.items():
        call()
        counts[name] = max(1, int(TURN / turn(call, 3)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            sleep(rest)
            call()
            times[name].append(turn(call, counts[name]))
    return {name: statistics.median(own) for name, own in times.items()}


def line(case: Case, seconds: dict[str, float], goals: Iterable[Goal]) -> str:
    """A row of the table."""
    parts = [f"{case!s:<20}"]
    parts += [f"{seconds[n] * 1e6:10.1f}" if n in seconds else f"{'':10}" for n in NAMES]
    for goal in goals:
        if goal.slower in seconds:
            ratio = seconds[goal.slower] / seconds[goal.faster]
            mark = " " if ratio >= goal.ratio else "<"
            parts.append(f"   {goal} {ratio:5.2f} {mark}{goal.ratio:4.2f}")
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose names have this")
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--goals", choices=["vnni", "avx2"], default="vnni")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    gatewise.set_num_threads(options.threads)
    print(f"gatewise {gatewise.__version__}, {chooser.kernels.instruction_set()}")
    print(f"{'microseconds':<20}" + "".join(f"{name:>10}" for name in NAMES))
    ahead: list[float] = []
    for case in cases():
        if options.only not in str(case):
            continue
        work = make_work(case)
        calls = gatewise_calls(case, work, options.threads)
        runtime = runtime_call(case, work, options.threads)
        if runtime is not None:
            calls["runtime"] = runtime
        seconds = medians(calls, options.turns)
        print(line(case, seconds, goals_of(case, options.goals)), flush=True)
        if "runtime" in seconds:
            ahead.append(seconds["runtime"] / seconds["8 bits"])
    if ahead:
        mean = math.exp(statistics.fmean(map(math.log, ahead)))
        print(f"runtime / 8 bits: geometric mean {mean:.2f}, goal 1.30")


if __name__ == "__main__":
    main()
