"""bfloat16 against float32, and against OpenVINO's and PyTorch's: one thread, by turns.

Every case runs in our float32 and bfloat16, in OpenVINO without a precision hint, which is
bfloat16 where the processor has it, and in PyTorch as a module converted to bfloat16 and as
one under autocast. Each has a turn of two milliseconds or more, over and over; the figures
are medians over the turns. "<" marks what is not ahead of the best of the others.

    python benchmarks/bfloat16.py [--only 'B1 T1 '] [--turns 20] [--threads 1]
"""

from __future__ import annotations

import os

# Before NumPy is imported, since its BLAS reads it then.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import math
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from comparison.grid import Case, grid
from comparison.work import Work, make_work
from narrow import medians

import gatewise
from gatewise.kernels import chooser

Calls = dict[str, Callable[[], Any]]
OURS, WIDE = "bfloat16", "float32"
PEERS = ("openvino", "torch", "autocast")


def gatewise_calls(case: Case, work: Work) -> Calls:
    """A call in either precision."""
    layer = getattr(gatewise, case.cell.upper())(case.input_size, case.hidden_size)
    layer.load_state_dict(work.weights)
    layers = {WIDE: layer, OURS: layer.quantize(OURS)}
    if not case.streaming:
        return {name: partial(each, work.x) for name, each in layers.items()}
    row = work.x[:, 0]
    return {name: partial(each.stream(case.batch), row) for name, each in layers.items()}


def openvino_calls(case: Case, work: Work, threads: int) -> Calls:
    """A call of the model as OpenVINO runs it unless it is told otherwise."""
    try:
        import openvino
        from comparison.onnx_model import build, state_names
        from openvino._offline_transformations import apply_make_stateful_transformation
    except ImportError:
        return {}
    core = openvino.Core()
    model = core.read_model(build(case, work))
    if case.streaming:
        apply_make_stateful_transformation(model, dict(state_names(case)))
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(model, "CPU", options).create_infer_request()
    request.set_tensor("x", openvino.Tensor(work.time_first(work.x)))
    return {"openvino": lambda: request.infer(share_outputs=True)}


def torch_calls(case: Case, work: Work, threads: int) -> Calls:
    """A call of a converted module, and one of a module under autocast."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    tensors = {name: torch.from_numpy(array) for name, array in work.weights.items()}
    x = torch.from_numpy(work.time_first(work.x))

    def call(dtype: Any) -> Any:
        kind, rows = case.cell.upper(), x.to(dtype)
        if not case.streaming:
            module = getattr(torch.nn, kind)(case.input_size, case.hidden_size)
            module.load_state_dict(tensors)
            module.to(dtype)
            return lambda: module(rows)
        cell = getattr(torch.nn, f"{kind}Cell")(case.input_size, case.hidden_size)
        cell.load_state_dict({name[:-3]: tensor for name, tensor in tensors.items()})
        cell.to(dtype)
        zeros = torch.zeros(case.batch, case.hidden_size, dtype=dtype)
        state = [(zeros, zeros) if case.cell == "lstm" else zeros]

        def step() -> None:
            state[0] = cell(rows[0], state[0])

        return step

    converted, mixed = call(torch.bfloat16), call(torch.float32)

    def run() -> None:
        with torch.inference_mode():
            converted()

    def run_mixed() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            mixed()

    return {"torch": run, "autocast": run_mixed}


def line(case: Case, seconds: dict[str, float], names: tuple[str, ...]) -> str:
    """A row of the table."""
    parts = [f"{case!s:<20}"]
    parts += [f"{seconds[n] * 1e6:10.1f}" if n in seconds else f"{'':10}" for n in names]
    parts.append(f"{seconds[WIDE] / seconds[OURS]:10.2f}")
    others = [seconds[name] for name in PEERS if name in seconds]
    if others:
        ahead = min(others) / seconds[OURS]
        parts.append(f"{ahead:10.2f}{' <' if ahead < 1 else ''}")
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose names have this")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    gatewise.set_num_threads(options.threads)
    print(f"gatewise {gatewise.__version__}, {chooser.kernels.instruction_set()}")
    names = (WIDE, OURS, *PEERS)
    columns = (*names, "to float32", "to best")
    print(f"{'microseconds':<20}" + "".join(f"{name:>10}" for name in columns))
    ahead: list[float] = []
    for case in grid():
        if case.kind != "inference" or options.only not in str(case):
            continue
        work = make_work(case)
        calls = gatewise_calls(case, work)
        calls |= openvino_calls(case, work, options.threads)
        calls |= torch_calls(case, work, options.threads)
        seconds = medians(calls, options.turns, options.threads)
        print(line(case, seconds, names), flush=True)
        others = [seconds[name] for name in PEERS if name in seconds]
        if others:
            ahead.append(min(others) / seconds[OURS])
    if ahead:
        mean = math.exp(statistics.fmean(map(math.log, ahead)))
        print(f"best of the others / bfloat16: geometric mean {mean:.2f}")


if __name__ == "__main__":
    main()
