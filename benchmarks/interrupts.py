"""How long a call goes on after Ctrl-C.

Every call takes more than a second. A signal comes at a random moment of its first half
second, and the time from there to the exception is printed: the median and the longest.

    python benchmarks/interrupts.py [--rounds 20] [WORD ...]

With words, only the calls whose names contain one of them.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

import gatewise

Call = Callable[[], Any]


def calls() -> dict[str, Call]:
    draw = np.random.default_rng(0).standard_normal
    layer = gatewise.LSTM(256, 512, 2, seed=0)
    rows = draw((64, 1000, 256), np.float32)
    one = draw((1, 30_000, 256), np.float32)
    part = rows[:, :500]
    y, _, tape = layer.forward(part)
    linear = gatewise.Linear(2000, 2000, seed=0)
    inputs = draw((50_000, 2000), np.float32)
    outputs, linear_tape = linear.forward(inputs)
    parameters = {"Waa": draw((512, 512)) / 50, "Wax": draw((512, 64)) / 50}
    parameters |= {"Wya": draw((2, 512)), "ba": np.zeros((512, 1)), "by": np.zeros((2, 1))}
    x, a0 = draw((64, 64, 1500)), np.zeros((512, 64))
    a, _, caches = gatewise.rnn_forward(x[..., :1000], a0, parameters)
    stream = layer.stream(len(rows))
    return {
        "LSTM, 64 rows": lambda: layer(rows),
        "LSTM, 1 row": lambda: layer(one),
        "LSTM.forward": lambda: layer.forward(rows),
        "LSTM.backward": lambda: layer.backward(tape, y),
        "stream, chunk": lambda: stream(rows),
        "Linear": lambda: linear(inputs),
        "Linear.backward": lambda: linear.backward(linear_tape, outputs),
        "rnn_forward": lambda: gatewise.rnn_forward(x, a0, parameters),
        "rnn_backward": lambda: gatewise.rnn_backward(a, caches),
    }


def seconds_to_stop(call: Call) -> float | None:
    """From the signal to the exception; None where the call was done before."""
    sent = []

    def send() -> None:
        sent.append(perf_counter())
        signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(random.uniform(0.05, 0.5), send)
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        return perf_counter() - sent[0]
    finally:
        timer.cancel()
        timer.join()
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("words", nargs="*", metavar="WORD")
    arguments = parser.parse_args()
    # A shell may start it with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(f"{'from signal to exception':24}  median  longest")
    for name, call in calls().items():
        if arguments.words and not any(word in name for word in arguments.words):
            continue
        found = [seconds_to_stop(call) for _ in range(arguments.rounds)]
        times = [seconds * 1e3 for seconds in found if seconds is not None]
        if times:
            print(f"{name:24}  {statistics.median(times):3.0f} ms   {max(times):3.0f} ms")
        else:
            print(f"{name:24}  too soon done")


if __name__ == "__main__":
    main()
