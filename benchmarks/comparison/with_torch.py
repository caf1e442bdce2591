"""PyTorch, eager: its modules under inference mode, autograd, and PackedSequence.

A streaming step goes through the Cell modules, which take a fraction of the time that
``nn.LSTM`` takes for a sequence of one step. Sequences are time first, its default.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from comparison.contestant import Job
from comparison.grid import Case
from comparison.work import Arrays, Work


class Contestant:
    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self.version = (
            f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"
        )

    def job(self, case: Case, work: Work) -> Job:
        if case.streaming:
            return _stream(case, work)
        module = getattr(torch.nn, case.cell.upper())(
            case.input_size,
            case.hidden_size,
            case.layers,
            bidirectional=case.directions == 2,
            dtype=getattr(torch, case.dtype),
        )
        module.load_state_dict({n: torch.from_numpy(w) for n, w in work.weights.items()})
        x = torch.from_numpy(work.time_first(work.x))
        lengths = torch.from_numpy(work.lengths)

        def call() -> Any:
            if not case.ragged:
                return module(x)[0]
            packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
            return pad_packed_sequence(module(packed)[0])[0]

        if work.dy is None:
            return Job(call, lambda y: {"y": _array(y)}, torch.inference_mode)
        x.requires_grad_()
        dy = torch.from_numpy(work.time_first(work.dy))

        def train() -> Any:
            x.grad = None
            module.zero_grad()
            y = call()
            y.backward(dy)
            return y

        def arrays(y: Any) -> Arrays:
            gradients = {name: p.grad.numpy() for name, p in module.named_parameters()}
            return {"y": _array(y.detach()), "dx": _array(x.grad), **gradients}

        return Job(train, arrays)


def _stream(case: Case, work: Work) -> Job:
    cells, states = [], []
    for layer, input_size in enumerate(case.input_sizes()):
        kind = getattr(torch.nn, case.cell.upper() + "Cell")
        cell = kind(input_size, case.hidden_size, dtype=getattr(torch, case.dtype))
        cell.load_state_dict(
            {
                name: torch.from_numpy(work.weights[f"{name}_l{layer}"])
                for name in cell.state_dict()
            }
        )
        zeros = torch.zeros(case.batch, case.hidden_size, dtype=getattr(torch, case.dtype))
        cells.append(cell)
        states.append((zeros, zeros) if case.cell == "lstm" else zeros)
    x = torch.from_numpy(work.x[:, 0].copy())

    def step() -> Any:
        y = x
        for layer, cell in enumerate(cells):
            states[layer] = state = cell(y, states[layer])
            y = state[0] if case.cell == "lstm" else state
        return y

    return Job(step, lambda y: {"y": y.numpy()[:, None]}, torch.inference_mode)


def _array(sequence: Any) -> Any:
    return sequence.numpy().swapaxes(0, 1)
