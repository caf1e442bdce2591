"""A module of torch.nn and ours with the same parameters, and what both compute."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import gatewise.torch

KINDS = ("LSTM", "GRU", "RNN")
CELLS = ("LSTMCell", "GRUCell", "RNNCell")


class Case(NamedTuple):
    """A configuration of a module and of a call."""

    kind: str
    sizes: tuple[int, int]
    options: dict[str, Any]
    time: int = 5
    batch: int = 3
    unbatched: bool = False
    has_state: bool = False
    lengths: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float64

    def pair(self) -> tuple[nn.Module, nn.Module]:
        theirs = getattr(nn, self.kind)(*self.sizes, **self.options, dtype=self.dtype)
        ours = getattr(gatewise.torch, self.kind)(
            *self.sizes, **self.options, dtype=self.dtype
        )
        ours.load_state_dict(theirs.state_dict())
        return theirs, ours

    def tensors(self) -> list[Tensor]:
        """The input or, for a packed sequence, its parts, and then the state."""
        features, hidden = self.sizes
        batch = self.batch if self.lengths is None else len(self.lengths)
        if self.kind in CELLS:
            shapes = [(features,), *[(hidden,)] * (self.kind == "LSTMCell"), (hidden,)]
            shapes = [(batch, *shape) for shape in shapes]
        else:
            directions = 2 if self.options.get("bidirectional") else 1
            states = self.options.get("num_layers", 1) * directions
            shapes = [(self.time, batch, features)]
            if self.options.get("batch_first"):
                shapes = [(batch, self.time, features)]
            shapes.append((states, batch, self.options.get("proj_size") or hidden))
            if self.kind == "LSTM":
                shapes.append((states, batch, hidden))
        if self.unbatched:
            axis = 0 if self.options.get("batch_first") or self.kind in CELLS else 1
            shapes[0] = (*shapes[0][:axis], *shapes[0][axis + 1 :])
            rest = 0 if self.kind in CELLS else 1
            shapes[1:] = [(*shape[:rest], *shape[rest + 1 :]) for shape in shapes[1:]]
        made = [torch.randn(shape, dtype=self.dtype) for shape in shapes]
        if self.lengths is not None:
            parts = [torch.randn(n, features, dtype=self.dtype) for n in self.lengths]
            made[:1] = parts
        return made if self.has_state else made[: len(self.lengths or "1")]

    def call(self, module: nn.Module, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The outputs and the final state, all tensors."""
        count = len(self.lengths or "1")
        state: Any = tuple(tensors[count:]) or None
        if state is not None and len(state) == 1:
            state = state[0]
        x: Tensor | PackedSequence = tensors[0]
        if self.lengths is not None:
            x = pack_sequence(list(tensors[:count]), enforce_sorted=False)
        found = module(x, state)
        y, final = found if self.kind not in CELLS else (None, found)
        made = [y.data if isinstance(y, PackedSequence) else y] * (y is not None)
        return [*made, *(final if isinstance(final, tuple) else [final])]


def random_case(source: random.Random) -> Case:
    kind = source.choice(KINDS)
    layers = source.choice([1, 1, 2, 3])
    hidden = source.randint(1, 20)
    options: dict[str, Any] = {
        "num_layers": layers,
        "bias": source.random() < 0.7,
        "batch_first": source.random() < 0.5,
        "bidirectional": source.random() < 0.5,
        "dropout": source.choice([0.0, 0.3, 1.0]) if layers > 1 else 0.0,
    }
    if kind == "LSTM" and hidden > 1 and source.random() < 0.4:
        options["proj_size"] = source.randint(1, hidden - 1)
    if kind == "RNN":
        options["nonlinearity"] = source.choice(["tanh", "relu"])
    batch, form = source.randint(1, 6), source.choice(["plain", "packed", "one"])
    lengths = tuple(source.randint(1, 9) for _ in range(batch))
    return Case(
        kind,
        (source.randint(1, 7), hidden),
        options,
        time=source.randint(1, 9),
        batch=1 if form == "one" else batch,
        unbatched=form == "one",
        has_state=source.random() < 0.5,
        lengths=lengths if form == "packed" else None,
        dtype=source.choice([torch.float32, torch.float64]),
    )


def results(case: Case, module: nn.Module, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Outputs, final state, and the gradients of everything, of a loss of them all."""
    own = [tensor.clone().requires_grad_() for tensor in tensors]
    module.zero_grad()
    torch.manual_seed(7)
    made = case.call(module, own)
    weights = [torch.arange(each.numel()).view(each.shape).cos() for each in made]
    loss = sum((each * by).sum() for each, by in zip(made, weights, strict=True))
    assert isinstance(loss, Tensor)
    loss.backward()
    found = [*made, *[each.grad for each in own], *[p.grad for p in module.parameters()]]
    return [each.detach().clone() for each in found if each is not None]


def assert_equal(case: Case, theirs: Sequence[Tensor], ours: Sequence[Tensor]) -> None:
    single = case.dtype is torch.float32
    assert len(theirs) == len(ours)
    for their, our in zip(theirs, ours, strict=True):
        assert their.dtype == our.dtype
        tolerance = {"rtol": 2e-4, "atol": 2e-4} if single else {"rtol": 1e-9, "atol": 1e-9}
        torch.testing.assert_close(our, their, equal_nan=True, **tolerance)
