"""One call with resets beside a loop over steps in Python, as in reinforcement learning.

Where episodes end inside a sequence, a layer without resets has to be called step by step,
with the state of the sequences that begin anew multiplied by zero: so a recurrent policy of
PPO does it in training. Beside gatewise's one call stand such loops, over its own layer and
over ``torch.nn.LSTM``; the last is left out where PyTorch is not installed.

    python benchmarks/resets.py [--seconds 1] [--json FILE] [WORD ...]

With words, only the rows that contain one of them. The sides of a row take turns of a
millisecond or more, and the medians of their times are compared; outputs and, in training,
the gradients of the weights are compared before. A ratio of 2 means that the one call takes
half the time. All sides have one thread or, with THREADS in the environment, so many.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

# Sets the number of threads of what is imported after it.
from small import Row, assert_alike, measure  # isort: skip

import numpy as np

import gatewise

Array = np.ndarray[Any, Any]
Side = Callable[[], list[Array]]

# How often an episode begins: in the mean after so many steps.
EPISODE = 25


class Shape(NamedTuple):
    """An LSTM, and how many sequences of how many steps it is given."""

    features: int
    hidden: int
    batch: int
    time: int

    @property
    def name(self) -> str:
        """What a row is called."""
        return f"{self.features} to {self.hidden}, {self.batch} x {self.time} steps"


SHAPES = [
    Shape(4, 32, 1, 128),
    Shape(4, 64, 8, 128),
    Shape(64, 256, 1, 128),
    Shape(64, 256, 8, 16),
    Shape(64, 256, 8, 128),
    Shape(64, 256, 32, 128),
]


class Episodes:
    """An LSTM and sequences with episodes in them, for every side."""

    def __init__(self, shape: Shape) -> None:
        self.layer = gatewise.LSTM(shape.features, shape.hidden, seed=0)
        random = np.random.default_rng(0)
        size = (shape.batch, shape.time)
        self.x = random.standard_normal((*size, shape.features)).astype(np.float32)
        self.dy = random.standard_normal((*size, shape.hidden)).astype(np.float32)
        self.resets = random.random(size) < 1 / EPISODE
        self.resets[:, 0] = True
        self.keep = (~self.resets).astype(np.float32)[..., None]

    def call(self) -> list[Array]:
        """Return the outputs, by one call."""
        return [self.layer(self.x, resets=self.resets)[0]]

    def train(self) -> list[Array]:
        """Return the outputs and the gradients of the weights, by one call each."""
        y, _, tape = self.layer.forward(self.x, resets=self.resets)
        return [y, *self.layer.backward(tape, self.dy)[2].values()]

    def call_in_loop(self) -> list[Array]:
        """Return what `call` does, step by step."""
        state: Any = None
        steps = []
        for t in range(self.x.shape[1]):
            if state is not None:
                state = tuple(part * self.keep[:, t] for part in state)
            y, state = self.layer(self.x[:, t : t + 1], state)
            steps.append(y)
        return [np.concatenate(steps, axis=1)]

    def train_in_loop(self) -> list[Array]:
        """Return what `train` does, step by step."""
        state: Any = None
        steps, tapes = [], []
        for t in range(self.x.shape[1]):
            if state is not None:
                state = tuple(part * self.keep[:, t] for part in state)
            y, state, tape = self.layer.forward(self.x[:, t : t + 1], state)
            steps.append(y)
            tapes.append(tape)
        dstate: Any = None
        sums: dict[str, Array] = {}
        for t in reversed(range(self.x.shape[1])):
            _, dstate, found = self.layer.backward(tapes[t], self.dy[:, t : t + 1], dstate)
            dstate = tuple(part * self.keep[:, t] for part in dstate)
            for name, gradient in found.items():
                sums[name] = sums[name] + gradient if name in sums else gradient
        return [np.concatenate(steps, axis=1), *sums.values()]

    def by_torch(self) -> tuple[Side, Side]:
        """Return what does the same with PyTorch, step by step."""
        import torch

        torch.set_num_threads(gatewise.get_num_threads())
        lstm = torch.nn.LSTM(self.layer.input_size, self.layer.hidden_size)
        arrays = self.layer.state_dict().items()
        lstm.load_state_dict({name: torch.from_numpy(array) for name, array in arrays})
        # The steps are outermost, as they are taken.
        x, dy, keep = (
            torch.from_numpy(array.swapaxes(0, 1).copy())
            for array in (self.x, self.dy, self.keep)
        )

        def run() -> Any:
            h = c = torch.zeros(1, x.shape[1], self.layer.hidden_size)
            steps = []
            for step, kept in zip(x, keep, strict=True):
                y, (h, c) = lstm(step.unsqueeze(0), (kept * h, kept * c))
                steps.append(y)
            return torch.cat(steps)

        def call() -> list[Array]:
            with torch.inference_mode():
                return [run().numpy().swapaxes(0, 1)]

        def train() -> list[Array]:
            lstm.zero_grad()
            y = run()
            y.backward(dy)
            weights: list[Any] = list(lstm.parameters())
            gradients = [weight.grad.numpy() for weight in weights]
            return [y.detach().numpy().swapaxes(0, 1), *gradients]

        return call, train


def flat(side: Side) -> Callable[[], Array]:
    """Return what gives all results of a side as one array."""
    return lambda: np.concatenate([array.ravel() for array in side()])


def rows() -> Iterator[tuple[Row, Row]]:
    """Every row, in order, with one that compares its results."""
    for shape in SHAPES:
        sides = Episodes(shape)
        others = [("own loop", sides.call_in_loop, sides.train_in_loop)]
        with contextlib.suppress(ImportError):
            others.append(("torch's loop", *sides.by_torch()))
        for beside, call, train in others:
            for what, own, other in (
                ("inference", sides.call, call),
                ("training", sides.train, train),
            ):
                name = f"{what}, {shape.name}"
                row = Row(name, beside, own, other)
                yield row, row._replace(call=flat(own), other=flat(other))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each row")
    parser.add_argument("--json", metavar="FILE", help="write the medians here, too")
    parser.add_argument("words", nargs="*", metavar="WORD", help="rows to measure")
    options = parser.parse_args()
    print(
        f"{'median microseconds per call':40} {'one call':>10} {'beside':>10}       ratio"
    )
    report = []
    for row, checked in rows():
        if options.words and not any(word in row.name for word in options.words):
            continue
        assert_alike(checked)
        own, other = measure(row, options.seconds)
        times = f"{own * 1e6:10.1f} {other * 1e6:10.1f}"
        print(f"{row.name:40} {times} {row.beside:12} {other / own:6.2f}", flush=True)
        report.append({"name": row.name, "beside": row.beside, "seconds": [own, other]})
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
