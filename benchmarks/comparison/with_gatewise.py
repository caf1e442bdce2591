"""gatewise through its layers: a call, a stream for steps, forward and backward.

At inference the narrow ways are layers that `quantize` has made; training in bfloat16 is
`forward` told to compute in it, with weights in float32.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gatewise
from comparison.contestant import Job
from comparison.grid import Case
from comparison.work import Work
from gatewise.kernels import chooser

_QUANTIZED: dict[str, Any] = {
    "bfloat16": {"weight_format": "bfloat16"},
    "int8-15": {"weight_format": "int8", "activations": 15},
    "int8-8": {"weight_format": "int8", "activations": 8},
}


class Contestant:
    def __init__(self, threads: int) -> None:
        self.version = f"gatewise {gatewise.__version__} ({instruction_set()})"
        gatewise.set_num_threads(threads)

    def job(self, case: Case, work: Work, way: str) -> Job:
        layer = getattr(gatewise, case.cell.upper())(
            case.input_size,
            case.hidden_size,
            case.layers,
            bidirectional=case.directions == 2,
            dtype=case.dtype,
        )
        layer.load_state_dict(work.weights)
        lengths = work.lengths if case.ragged else None
        if way and not case.training:
            layer = layer.quantize(**_QUANTIZED[way])
        if case.streaming:
            step = partial(layer.stream(case.batch), work.x[:, 0])
            return Job(step, lambda y: {"y": y[:, None]})
        if not case.training:
            call = partial(layer, work.x, lengths=lengths)
            return Job(call, lambda result: {"y": result[0]})

        compute = way or None

        def train() -> Any:
            y, _, tape = layer.forward(work.x, lengths=lengths, compute=compute)
            return y, *layer.backward(tape, work.dy)

        return Job(train, lambda result: {"y": result[0], "dx": result[1], **result[3]})


def instruction_set() -> str:
    """What gatewise runs on: its backend and, where compiled, the kernels' variant."""
    if chooser.name != "native":
        return chooser.name
    return f"{chooser.name}, {chooser.kernels.instruction_set()}"
