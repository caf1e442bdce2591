"""Many threads at once on what others share: the proof by trying.

``python -W error tests/stress_threads.py`` says whether the GIL is off and stays off, calls
one layer from many threads, lets threads share one stream, and measures how calls scale. On
a Python that has a GIL it is run all the same, but for what would need none.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import gatewise
from gatewise.kernels import chooser

HERE = Path(__file__).parent

# What needs a package beside NumPy, which few free-threaded Pythons can have.
OPTIONAL = {"aeon", "dask", "sklearn", "torch"}

# What two threads do in the time of one, at least, where there are cores for them.
LEAST_SCALE = 1.5


def import_everything() -> int:
    """Import every module that can be here, and return how many there are."""
    # Beside this file are folders with the names of other packages.
    sys.path = [path for path in sys.path if Path(path).resolve() != HERE.resolve()]
    names = [
        module.name
        for module in pkgutil.walk_packages(gatewise.__path__, "gatewise.")
        if not module.name.endswith("__main__")
    ]
    count = 0
    for name in names:
        try:
            import_module(name)
        except ImportError:
            if name.split(".")[1] not in OPTIONAL:
                raise
        else:
            count += 1
    return count


def gil() -> str:
    """Say what this Python has of a GIL."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "always on"
    is_enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled")  # noqa: B009
    return "switched on" if is_enabled() else "off"


def kinds() -> dict[str, tuple[Any, np.ndarray]]:
    """Layers, each with an input."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 12, 6)).astype(np.float32)
    return {
        "RNN": (gatewise.RNN(6, 8, seed=0), x),
        "LSTM": (gatewise.LSTM(6, 8, 2, bidirectional=True, seed=0), x),
        "GRU int8": (gatewise.GRU(6, 8, seed=0).quantize("int8"), x),
        "Conv1d": (gatewise.Conv1d(6, 5, 3, seed=0), x),
        "Linear": (gatewise.Linear(6, 5, seed=0), x),
        "Sequential": (
            gatewise.Sequential(gatewise.Linear(6, 5, seed=0), gatewise.GRU(5, 4, seed=1)),
            x,
        ),
    }


def output(model: Any, x: np.ndarray) -> np.ndarray:
    """What a layer makes of an input, without the state."""
    y = model(x)
    return y[0] if isinstance(y, tuple) else y


def at_once(work: Callable[[int], int], threads: int) -> int:
    """Do the work in so many threads that begin together; return the sum of the results."""
    barrier = threading.Barrier(threads)

    def begin(number: int) -> int:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(begin, range(threads)))


def share_a_layer(model: Any, x: np.ndarray, threads: int, calls: int) -> int:
    """Call one layer from all threads; return how many outputs were wrong."""
    expected = output(model, x)

    def work(number: int) -> int:
        return sum(not np.array_equal(output(model, x), expected) for _ in range(calls))

    return at_once(work, threads)


def share_a_stream(threads: int, calls: int) -> int:
    """Step one stream from all threads, which it is not for: it may give anything.

    Returns whether it is still wrong when it is used by one thread again.
    """
    model = gatewise.Sequential(
        gatewise.Conv1d(3, 4, 3, padding="causal", seed=0), gatewise.GRU(4, 5, seed=1)
    )
    stream = model.stream()

    def work(number: int) -> int:
        for call in range(calls):
            # Chunks of all lengths, for which there has to be more and more room.
            chunk = np.ones((1, 1 + (number + 7 * call) % 200, 3), np.float32)
            stream(chunk if call % 3 else chunk[0, 0])
            if call % 50 == 0:
                # So that the stream renews itself in the midst of other threads' steps.
                model.set_parameters(model.state_dict())
        return 0

    at_once(work, threads)
    chunk = np.ones((1, 20, 3), np.float32)
    stream.reset()
    return int(not np.array_equal(stream(chunk), model.stream()(chunk)))


def scale(model: Any, x: np.ndarray, threads: int, calls: int) -> float:
    """How many calls so many threads make in the time that one takes for one."""

    def work(number: int) -> int:
        for _ in range(calls):
            model(x, num_threads=1)
        return 0

    # The least time of each, since other programs can only take time, and may for long.
    taken = {1: np.inf, threads: np.inf}
    best = 0.0
    for _ in range(60):
        for count in taken:
            begin = time.perf_counter()
            at_once(work, count)
            taken[count] = min(taken[count], time.perf_counter() - begin)
        best = float(threads * taken[1] / taken[threads])
        if best > LEAST_SCALE:
            break
    return best


def main() -> None:
    """Run everything, in the numbers asked for, and print what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--calls", type=int, default=2000)
    options = parser.parse_args()
    print(f"{import_everything()} modules imported, the GIL is {gil()}")
    failed = gil() == "switched on"
    for backend in ("native", "numpy"):
        with chooser.use(backend):
            wrong = tried = 0
            for model, x in kinds().values():
                wrong += share_a_layer(model, x, options.threads, options.calls // 10)
                tried += options.threads * (options.calls // 10)
            wrong += share_a_stream(options.threads, options.calls)
            tried += options.threads * options.calls
            print(f"{backend}: {tried} calls in {options.threads} threads, {wrong} wrong")
            failed |= bool(wrong)
    with chooser.use("native"):
        for units, steps in ((8, 4), (128, 50)):
            layer = gatewise.LSTM(units, units, seed=0)
            x = np.zeros((1, steps, units), np.float32)
            times = scale(layer, x, 2, 20_000 // steps // (units // 8))
            print(f"two threads, LSTM({units}), {steps} steps: {times:.2f} times one")
            if gil() == "off" and (os.cpu_count() or 1) > 1:
                failed |= times < LEAST_SCALE
    print(f"{int(failed)} failed; the GIL is {gil()}")
    sys.exit(failed or gil() == "switched on")


if __name__ == "__main__":
    main()
