"""Time whole training steps in PyTorch, of torch.nn's modules and of gatewise.torch's.

A step is what a training loop does: a forward pass through the recurrent module and a
linear head, the loss, the way back, Adam. Both take turns, a few steps each, in one
process, so that whatever else the machine does hits both; the medians are compared.

    python benchmarks/pytorch_training.py [--threads 1 2] [--rounds 9]
    python benchmarks/pytorch_training.py --precision bfloat16 autocast [--inference]

In bfloat16 modules, data and optimizer's parameters are of it; under autocast they are of
float32, and the forward pass and the loss run within the context. Inference is the module's
call alone. In any precision both have the same one. It ends with status 1 where a goal is
missed and ``--check`` is given.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import gatewise.torch

KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


class Size(NamedTuple):
    batch: int
    time: int
    hidden: int
    packed: bool = False

    def __str__(self) -> str:
        name = f"B{self.batch} T{self.time} H{self.hidden}"
        return f"{name} packed" if self.packed else name


SIZES = [
    Size(1, 100, 64),
    Size(32, 100, 32),
    Size(32, 100, 64),
    Size(32, 100, 128),
    Size(64, 50, 256),
    Size(32, 100, 64, packed=True),
    Size(64, 50, 128, packed=True),
]
# What a ratio should be at least: of each kind anywhere, and in some places.
LEAST = {"LSTM": 1.0, "GRU": 1.15, "RNN": 1.15}
LEAST_PACKED = 3.0
LEAST_AT = {("GRU", SIZES[0]): 4.0, ("RNN", SIZES[0]): 4.0, ("GRU", SIZES[1]): 2.5}
LEAST_MEAN = 2.0
# In bfloat16, and at inference, everywhere.
LEAST_NARROW = 1.0
PRECISIONS = ("float32", "bfloat16", "autocast")


def goal(kind: str, size: Size, precision: str, inference: bool) -> float:
    if precision != "float32" or inference:
        return LEAST_NARROW
    if size.packed:
        return LEAST_PACKED
    return LEAST_AT.get((kind, size), LEAST[kind])


def around(precision: str) -> AbstractContextManager[None]:
    """What stands around a forward pass."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast")


def data(size: Size, precision: str) -> tuple[Tensor | PackedSequence, Tensor]:
    """An input and a target of that size."""
    generator = torch.Generator().manual_seed(0)
    padded = torch.randn(size.batch, size.time, size.hidden, generator=generator)
    target = torch.randn(size.batch, size.time, generator=generator)
    if precision == "bfloat16":
        padded, target = padded.bfloat16(), target.bfloat16()
    x: Tensor | PackedSequence = padded
    if size.packed:
        # Lengths from one step to all, as of sentences or visits.
        lengths = torch.linspace(1, size.time, size.batch).round().long()
        x = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
        target = pack_padded_sequence(
            target[..., None], lengths, batch_first=True, enforce_sorted=False
        ).data[..., 0]
    return x, target


def inference(layer: nn.Module, size: Size, precision: str) -> Callable[[], object]:
    """A call of a module on data of that size."""
    x, _ = data(size, precision)

    def call() -> object:
        with torch.inference_mode(), around(precision):
            return layer(x)

    return call


def training(
    layer: nn.Module, head: nn.Module, size: Size, precision: str
) -> Callable[[], object]:
    """A step of training on data of that size."""
    x, target = data(size, precision)
    parameters = [*layer.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-3)

    def step() -> float:
        optimizer.zero_grad()
        with around(precision):
            y, _ = layer(x)
            out = head(y.data if size.packed else y)[..., 0]
            loss = nn.functional.mse_loss(out, target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def seconds(step: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - begin) / count


def ratio(
    kind: str, size: Size, precision: str, only_calls: bool, rounds: int
) -> tuple[float, float, float]:
    """How many times faster gatewise is, and the milliseconds of both."""
    torch.manual_seed(0)
    theirs, head = (
        KINDS[kind](size.hidden, size.hidden, batch_first=True),
        nn.Linear(size.hidden, 1),
    )
    if precision == "bfloat16":
        theirs, head = theirs.bfloat16(), head.bfloat16()
    ours = copy.deepcopy(theirs)
    assert gatewise.torch.accelerate(ours) == 1
    if only_calls:
        steps = [inference(each, size, precision) for each in (theirs, ours)]
    else:
        steps = [
            training(theirs, head, size, precision),
            training(ours, copy.deepcopy(head), size, precision),
        ]
    # About a twentieth of a second for each turn, and the first is no measurement.
    count = max(1, int(0.05 / max(seconds(steps[0], 1), seconds(steps[0], 1))))
    seconds(steps[1], 2)
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for step, found in zip(steps, times, strict=True):
            found.append(seconds(step, count))
    ratios = [a / b for a, b in zip(*times, strict=True)]
    own, other = (statistics.median(found) * 1e3 for found in (times[1], times[0]))
    return statistics.median(ratios), other, own


def table(threads: int, precision: str, arguments: argparse.Namespace) -> list[str]:
    """Print all ratios in a precision and return the names of what missed its goal."""
    work = "calls" if arguments.inference else "training"
    print(f"\n{threads} thread(s), {precision}, {work}:", end=" ")
    print("torch.nn ms, gatewise.torch ms, ratio (goal)")
    ratios, missed = [], []
    for kind in arguments.kinds:
        for size in SIZES:
            if arguments.only not in str(size):
                continue
            found, other, own = ratio(
                kind, size, precision, arguments.inference, arguments.rounds
            )
            wanted = goal(kind, size, precision, arguments.inference)
            ratios.append(found)
            mark = "" if found >= wanted else "  MISSED"
            missed += [f"{precision} {kind} {size}"] if mark else []
            print(
                f"{kind:5} {size!s:22} {other:8.2f} {own:8.2f} {found:7.2f}"
                f"  ({wanted:g}){mark}",
                flush=True,
            )
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    least = LEAST_NARROW
    if precision == "float32" and not arguments.inference:
        least = LEAST_MEAN
    print(f"geometric mean {mean:.2f} ({least:g})")
    return missed + [f"{precision}, geometric mean"] * (mean < least)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["float32"])
    parser.add_argument("--inference", action="store_true", help="calls alone")
    parser.add_argument("--only", default="", help="sizes whose names have this")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--check", action="store_true", help="fail where a goal is missed")
    arguments = parser.parse_args()
    missed = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for precision in arguments.precision:
            missed += table(threads, precision, arguments)
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
