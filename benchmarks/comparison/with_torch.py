"""PyTorch, eager: its modules under inference mode, autograd, and PackedSequence.

A streaming step goes through the Cell modules, which take a fraction of the time that
``nn.LSTM`` takes for a sequence of one step. Sequences are time first, its default.

bfloat16 can be had in two ways: a module that is converted to it, with inputs that are, or
autocast around one in float32, entered once for all calls at inference, so that weights are
rounded once, and for every forward pass in training. int8 is its `quantize_dynamic` of a
module that contains the layer, since it leaves a module alone that is the layer itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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

    def job(self, case: Case, work: Work, way: str) -> Job:
        if case.streaming:
            return _stream(case, work, way)
        dtype = _dtype(case, way)
        module = getattr(torch.nn, case.cell.upper())(
            case.input_size,
            case.hidden_size,
            case.layers,
            bidirectional=case.directions == 2,
            dtype=getattr(torch, case.dtype),
        )
        module.load_state_dict({n: torch.from_numpy(w) for n, w in work.weights.items()})
        module.to(dtype)
        if way == "int8":
            module = _quantized(module)
        x = torch.from_numpy(work.time_first(work.x)).to(dtype)
        lengths = torch.from_numpy(work.lengths)

        def call() -> Any:
            if not case.ragged:
                return module(x)[0]
            packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
            return pad_packed_sequence(module(packed)[0])[0]

        if work.dy is None:
            return Job(call, lambda y: {"y": _array(y).swapaxes(0, 1)}, _context(way))
        x.requires_grad_()
        dy = torch.from_numpy(work.time_first(work.dy))
        if way:
            dy = dy.to(torch.bfloat16)

        def train() -> Any:
            x.grad = None
            module.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
                y = call()
            y.backward(dy.to(y.dtype))
            return y

        def arrays(y: Any) -> Arrays:
            gradients = {name: _array(p.grad) for name, p in module.named_parameters()}
            sequences = {"y": y.detach(), "dx": x.grad}
            own = {name: _array(s).swapaxes(0, 1) for name, s in sequences.items()}
            return {**own, **gradients}

        return Job(train, arrays)


def _stream(case: Case, work: Work, way: str) -> Job:
    cells, states = [], []
    dtype = _dtype(case, way)
    for layer, input_size in enumerate(case.input_sizes()):
        kind = getattr(torch.nn, case.cell.upper() + "Cell")
        cell = kind(input_size, case.hidden_size, dtype=getattr(torch, case.dtype))
        cell.load_state_dict(
            {
                name: torch.from_numpy(work.weights[f"{name}_l{layer}"])
                for name in cell.state_dict()
            }
        )
        cell.to(dtype)
        zeros = torch.zeros(case.batch, case.hidden_size, dtype=dtype)
        cells.append(_quantized(cell) if way == "int8" else cell)
        states.append((zeros, zeros) if case.cell == "lstm" else zeros)
    x = torch.from_numpy(work.x[:, 0].copy()).to(dtype)

    def step() -> Any:
        y = x
        for layer, cell in enumerate(cells):
            states[layer] = state = cell(y, states[layer])
            y = state[0] if case.cell == "lstm" else state
        return y

    return Job(step, lambda y: {"y": _array(y)[:, None]}, _context(way))


def _dtype(case: Case, way: str) -> torch.dtype:
    """The type of weights and of data."""
    return torch.bfloat16 if way == "bfloat16" else getattr(torch, case.dtype)


def _context(way: str) -> Callable[[], AbstractContextManager[Any]]:
    """What is entered around all calls at inference."""
    return _autocast if way == "autocast" else torch.inference_mode


@contextmanager
def _autocast() -> Iterator[None]:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        yield


def _quantized(layer: torch.nn.Module) -> torch.nn.Module:
    with warnings.catch_warnings():
        # All of torch.ao.quantization is deprecated.
        warnings.simplefilter("ignore")
        holder = torch.nn.ModuleDict({"layer": layer})
        narrow = torch.ao.quantization.quantize_dynamic(holder, {type(layer)}, torch.qint8)
    if type(narrow["layer"]) is type(layer):
        raise TypeError(f"{type(layer).__name__} should have become narrow, got itself")
    return narrow["layer"]


def _array(tensor: Any) -> Any:
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
