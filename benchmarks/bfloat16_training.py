"""Training steps in bfloat16 against float32, and against PyTorch's bfloat16: by turns.

A step is a layer's way there and back with all gradients, after a change of parameters;
PyTorch's is that of a module converted to bfloat16, or of one under autocast.

    python benchmarks/bfloat16_training.py [--only 'lstm B32'] [--turns 7] [--threads 1]
"""

from __future__ import annotations

import os

# Before NumPy is imported, since its BLAS reads it then.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
from collections.abc import Callable
from typing import Any

import torch
from comparison.grid import Case, grid
from comparison.work import Work, make_work
from narrow import medians

import gatewise
from gatewise.kernels import chooser

NAMES = ("float32", "bfloat16", "torch", "autocast")
Calls = dict[str, Callable[[], Any]]


def gatewise_calls(case: Case, work: Work) -> Calls:
    """A training step in either precision."""
    layer = getattr(gatewise, case.cell.upper())(case.input_size, case.hidden_size)
    layer.load_state_dict(work.weights)
    values = layer.state_dict()

    def step(compute: str) -> None:
        layer.set_parameters(values)
        _, _, tape = layer.forward(work.x, compute=compute)
        layer.backward(tape, work.dy)

    return {name: lambda name=name: step(name) for name in NAMES[:2]}  # type: ignore[misc]


def torch_calls(case: Case, work: Work) -> Calls:
    """A training step of a converted module, and of one under autocast."""
    tensors = {name: torch.from_numpy(array) for name, array in work.weights.items()}
    assert work.dy is not None
    rows, drows = (torch.from_numpy(work.time_first(a)) for a in (work.x, work.dy))

    def call(dtype: Any, mixed: bool) -> Callable[[], None]:
        module = getattr(torch.nn, case.cell.upper())(case.input_size, case.hidden_size)
        module.load_state_dict(tensors)
        module.to(dtype)
        x, dy = rows.to(dtype).requires_grad_(), drows.to(torch.bfloat16)

        def step() -> None:
            module.zero_grad()
            x.grad = None
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                y = module(x)[0]
            y.backward(dy.to(y.dtype))

        return step

    return {"torch": call(torch.bfloat16, False), "autocast": call(torch.float32, True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose names have this")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    gatewise.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    print(f"gatewise {gatewise.__version__}, {chooser.kernels.instruction_set()}")
    columns = (*NAMES, "to float32", "to torch")
    print(f"{'milliseconds':<20}" + "".join(f"{name:>12}" for name in columns))
    for case in grid():
        if case.kind != "training" or options.only not in str(case):
            continue
        work = make_work(case)
        calls = gatewise_calls(case, work) | torch_calls(case, work)
        seconds = medians(calls, options.turns, options.threads)
        best = min(seconds["torch"], seconds["autocast"])
        ratios = seconds["float32"] / seconds["bfloat16"], best / seconds["bfloat16"]
        print(
            f"{case!s:<20}"
            + "".join(f"{seconds[name] * 1e3:12.2f}" for name in NAMES)
            + "".join(f"{ratio:12.2f}" for ratio in ratios),
            flush=True,
        )


if __name__ == "__main__":
    main()
