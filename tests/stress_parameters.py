"""Parameters change in one step, whatever falls between: the proof by trying.

``python tests/stress_parameters.py`` interrupts `set_parameters` 300 times and lets 100,000
calls race with it, on every backend that there is; the tests do the same in small.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import numpy as np

import gatewise
from gatewise.kernels import chooser

X = np.random.default_rng(0).standard_normal((2, 5, 6)).astype(np.float32)


class Interrupted(BaseException):
    """What falls into the middle of a change."""


def models() -> dict[str, Any]:
    """A layer, layers upon layers, and a whole network that holds one layer twice."""
    shared = gatewise.Linear(4, 4, seed=2)
    return {
        "GRU": gatewise.GRU(6, 8, seed=0),
        "LSTM": gatewise.LSTM(6, 4, 2, bidirectional=True, seed=0),
        "Sequential": gatewise.Sequential(
            gatewise.Linear(6, 5, seed=0),
            gatewise.Sequential(gatewise.LSTM(5, 4, seed=1), shared),
            shared,
        ),
    }


def two_sets(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's own parameters, and others."""
    old = model.state_dict()
    return old, {name: 0.5 * value + 0.1 for name, value in old.items()}


def outputs(model: Any) -> np.ndarray:
    """What the model makes of the one input."""
    y: np.ndarray = model(X)[0]
    return y


def gradients(model: Any) -> list[np.ndarray]:
    """The same in training, with all gradients."""
    y, _, tape = model.forward(X)
    dx, _, found = model.backward(tape, np.ones_like(y))
    return [y, dx, *found.values()]


def raise_before(count: int, name: str) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that interrupts before instruction number `count`.

    Only those of functions called `name` count.
    """
    passed = itertools.count()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_name != name:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(passed) == count:
            raise Interrupted
        return trace

    return trace


def interrupted(model: Any, values: dict[str, Any], count: int, name: str) -> bool:
    """Set parameters; whether an instruction number `count` was there to interrupt at."""
    before = sys.gettrace()
    sys.settrace(raise_before(count, name))
    try:
        model.set_parameters(values)
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


def check_interrupts(model: Any, counts: Iterable[int], name: str) -> tuple[int, int]:
    """Interrupt before each of `counts`; return how often, and how often it was wrong."""
    sets = two_sets(model)
    known = []
    for values in sets:
        model.set_parameters(values)
        known.append(outputs(model))
    done = wrong = 0
    for count in counts:
        model.set_parameters(sets[0])
        if not interrupted(model, sets[1], count, name):
            break
        done += 1
        shown = model.parameters()
        which = [
            all(np.array_equal(shown[name], values[name]) for name in values)
            for values in sets
        ]
        if sum(which) != 1 or not np.array_equal(outputs(model), known[which[1]]):
            wrong += 1
    return done, wrong


def race(model: Any, run: Callable[[Any], Any], calls: int, readers: int) -> int:
    """Call while another thread sets parameters; return how many answers were mixtures."""
    sets = two_sets(model)
    known = []
    for values in sets:
        model.set_parameters(values)
        known.append([np.asarray(part) for part in _parts(run(model))])
    done, wrong = threading.Event(), []

    def write() -> None:
        for values in itertools.cycle(sets):
            if done.is_set():
                break
            model.set_parameters(values)

    def read() -> None:
        for _ in range(calls // readers):
            try:
                found = _parts(run(model))
            except RuntimeError:
                # A tape from before a change is refused, as it should be.
                continue
            if not any(all(map(np.array_equal, found, answer)) for answer in known):
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(readers)]
    writer = threading.Thread(target=write)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in (writer, *threads):
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        done.set()
        writer.join()
        sys.setswitchinterval(before)
    return len(wrong)


def _parts(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def main() -> None:
    """Run everything, in the numbers asked for, and print what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interrupts", type=int, default=300)
    parser.add_argument("--calls", type=int, default=100_000)
    options = parser.parse_args()
    failed = False
    for backend in ("native", "numpy"):
        with chooser.use(backend):
            done = wrong = 0
            for model in models().values():
                # Everywhere in the step itself, and in what leads to it.
                for name in ("change", "now", "set_parameters", "_write", "frozen"):
                    counts = range(options.interrupts)
                    some, bad = check_interrupts(model, counts, name)
                    done, wrong = done + some, wrong + bad
            print(f"{backend}: {done} interrupts inside set_parameters, {wrong} wrong")
            failed |= bool(wrong) or not done
            for run in (outputs, gradients):
                share = options.calls // (2 * len(models()))
                bad = sum(race(model, run, share, 2) for model in models().values())
                print(f"{backend}: {3 * share} calls of {run.__name__}, {bad} mixtures")
                failed |= bool(bad)
    sys.exit(failed)


if __name__ == "__main__":
    main()
