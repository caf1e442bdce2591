"""Nothing is lost of what calls take: the proof by trying.

``python tests/stress_memory.py`` makes 20,000 calls of each kind on each backend, refused
ones too, and compares what the process has of memory before and after. Linux only, since
other systems do not say so as simply.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import gatewise
from gatewise.kernels import chooser

# Bytes in a call that nobody could call a leak: a page or two of the allocator's own.
MOST_A_CALL = 16

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 4)).astype(np.float32)


def refused(call: Callable[[], Any]) -> Callable[[], None]:
    """A call that raises, without the exception."""

    def run() -> None:
        with suppress(TypeError, ValueError):
            call()
            raise AssertionError("this was to be refused")

    return run


def kinds() -> dict[str, Callable[[], Any]]:
    """Calls of all kinds, each to be made again and again."""
    calls: dict[str, Callable[[], Any]] = {}
    layers: dict[str, Any] = {
        "RNN": gatewise.RNN(4, 3, seed=0),
        "LSTM": gatewise.LSTM(4, 3, 2, bidirectional=True, proj_size=2, seed=0),
        "GRU": gatewise.GRU(4, 3, seed=0),
        "Conv1d": gatewise.Conv1d(4, 3, 2, padding="causal", seed=0),
        "Linear": gatewise.Linear(4, 3, seed=0),
        "Sequential": gatewise.Sequential(
            gatewise.Linear(4, 3, seed=0), gatewise.Tanh(), gatewise.GRU(3, 2, seed=0)
        ),
    }

    def train(layer: Any, **options: Any) -> None:
        y, *_, tape = layer.forward(X, **options)
        layer.backward(tape, np.ones_like(y))

    for name, layer in layers.items():
        calls[f"{name}, called"] = lambda layer=layer: layer(X)
        calls[f"{name}, trained"] = lambda layer=layer: train(layer)
        calls[f"{name}, changed"] = lambda layer=layer: layer.set_parameters(
            layer.state_dict()
        )
        calls[f"{name}, refused"] = refused(lambda layer=layer: layer(X[:, :, :2]))
        calls[f"{name}, refused as text"] = refused(lambda layer=layer: layer("text"))
    for name in ("RNN", "GRU", "Conv1d", "Sequential"):
        stream = layers[name].stream(2)
        calls[f"{name}, a step"] = lambda stream=stream: stream(X[:, 0])
        calls[f"{name}, a chunk"] = lambda stream=stream: stream(X)
        calls[f"{name}, a new stream"] = layers[name].stream
    for name, weight_format, activations in (
        ("GRU", "int8", None),
        ("LSTM", "int8", 8),
        ("GRU", "bfloat16", None),
        ("Linear", "int8", None),
    ):
        layer = layers[name]
        narrow = layer.quantize(weight_format, activations=activations)
        what = f"{name} of {weight_format}, {activations or 'usual'} bits"
        calls[f"{what}, made"] = lambda layer=layer, to=weight_format: layer.quantize(to)
        calls[f"{what}, called"] = lambda narrow=narrow: narrow(X)
        calls[f"{what}, refused"] = refused(lambda narrow=narrow: narrow(X[:, :, :2]))
    stream = layers["GRU"].quantize("int8").stream(2)
    calls["GRU of int8, a chunk"] = lambda stream=stream: stream(X)
    for name in ("RNN", "LSTM", "GRU"):
        calls[f"{name}, trained in bfloat16"] = lambda layer=layers[name]: train(
            layer, compute="bfloat16"
        )
    large = np.zeros((1, 2000, 4), np.float32)
    calls["GRU, many steps"] = lambda layer=layers["GRU"]: layer(large)

    p = {
        "Wax": RNG.standard_normal((3, 4)),
        "Waa": RNG.standard_normal((3, 3)),
        "Wya": RNG.standard_normal((2, 3)),
        "ba": np.zeros((3, 1)),
        "by": np.zeros((2, 1)),
    }
    x, a0 = RNG.standard_normal((4, 2, 5)), np.zeros((3, 2))

    def notebook() -> None:
        a, _, caches = gatewise.rnn_forward(x, a0, p)
        gatewise.rnn_backward(np.ones_like(a), caches)

    calls["rnn_forward and back"] = notebook
    calls["rnn_forward, refused"] = refused(lambda: gatewise.rnn_forward(x, a0[:2], p))
    calls["sigmoid and softmax"] = lambda: (gatewise.sigmoid(x), gatewise.softmax(x[0]))
    return calls


def resident() -> int:
    """The bytes of memory that the process has."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def grown(call: Callable[[], Any], count: int) -> float:
    """How many bytes a call leaves.

    Allocators take memory by the page and now and then, so that a few calls seem to leave
    some. Where they do, three times as many are looked at, up to four times: what is lost
    with each call is still there then.
    """
    left = np.inf
    for _ in range(5):
        for _ in range(count // 20):
            call()
        gc.collect()
        before = resident()
        for _ in range(count):
            call()
        gc.collect()
        left = (resident() - before) / count
        if left <= MOST_A_CALL:
            break
        count *= 3
    return float(left)


def main() -> None:
    """Make the calls that were asked for, and say which of them leave memory behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    options = parser.parse_args()
    failed = tried = 0
    for backend in ("native", "numpy"):
        with chooser.use(backend):
            for name, call in kinds().items():
                count = options.calls if "many" not in name else options.calls // 20
                left = grown(call, count)
                tried += count
                if left > MOST_A_CALL:
                    failed += 1
                    print(f"{backend}: {name} leaves {left:.0f} bytes a call")
    print(f"{tried} calls of {len(kinds())} kinds on two backends, {failed} kinds leak")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
