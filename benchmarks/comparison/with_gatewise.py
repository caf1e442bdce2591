"""gatewise through its layers: a call, a stream for steps, forward and backward."""

from __future__ import annotations

from functools import partial
from typing import Any

import gatewise
from comparison.contestant import Job
from comparison.grid import Case
from comparison.work import Work
from gatewise.kernels import chooser


class Contestant:
    def __init__(self, threads: int) -> None:
        self.version = f"gatewise {gatewise.__version__} ({instruction_set()})"
        gatewise.set_num_threads(threads)

    def job(self, case: Case, work: Work) -> Job:
        layer = getattr(gatewise, case.cell.upper())(
            case.input_size,
            case.hidden_size,
            case.layers,
            bidirectional=case.directions == 2,
            dtype=case.dtype,
        )
        layer.load_state_dict(work.weights)
        lengths = work.lengths if case.ragged else None
        if case.streaming:
            step = partial(layer.stream(case.batch), work.x[:, 0])
            return Job(step, lambda y: {"y": y[:, None]})
        if not case.training:
            call = partial(layer, work.x, lengths=lengths)
            return Job(call, lambda result: {"y": result[0]})

        def train() -> Any:
            y, _, tape = layer.forward(work.x, lengths=lengths)
            return y, *layer.backward(tape, work.dy)

        return Job(train, lambda result: {"y": result[0], "dx": result[1], **result[3]})


def instruction_set() -> str:
    """What gatewise runs on: its backend and, where compiled, the kernels' variant."""
    if chooser.name != "native":
        return chooser.name
    return f"{chooser.name}, {chooser.kernels.instruction_set()}"
