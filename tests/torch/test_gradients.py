"""PyTorch's own check of gradients, first and second, by finite differences."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor  # noqa: E402

import gatewise.torch  # noqa: E402
from tests.torch.pairs import CELLS, KINDS, Case  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")

OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3},
    {"num_layers": 2, "dropout": 0.5},
]
CASES = [
    *[Case(kind, (2, 3), o, 3, 2, has_state=True) for kind in KINDS for o in OPTIONS],
    *[Case(kind, (2, 3), {}, 3, 1, unbatched=True, has_state=True) for kind in KINDS],
    *[Case(kind, (2, 3), {}, 3, 2) for kind in KINDS],
    *[
        Case(kind, (2, 3), o, has_state=True, lengths=(2, 4, 1))
        for kind in KINDS
        for o in ({}, {"bidirectional": True, "num_layers": 2})
    ],
    Case("LSTM", (2, 4), {"proj_size": 2, "num_layers": 2}, 3, 2, has_state=True),
    Case("LSTM", (2, 4), {"proj_size": 2, "bidirectional": True}, lengths=(3, 1)),
    Case("RNN", (2, 3), {"nonlinearity": "relu"}, 3, 2, has_state=True),
    *[Case(kind, (2, 3), {}, batch=2, has_state=True) for kind in CELLS],
]


def functional(case: Case) -> tuple[Any, list[Tensor]]:
    """A call as a function of its tensors and its module's."""
    _, module = case.pair()
    tensors, parameters = case.tensors(), dict(module.named_parameters())
    count = len(tensors)

    def call(*given: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(3)
        own = dict(zip(parameters, given[count:], strict=True))

        class Caller(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = module

            def forward(self, first: Sequence[Tensor]) -> list[Tensor]:
                return case.call(self.inner, first)

        named = {f"inner.{name}": each for name, each in own.items()}
        made = torch.func.functional_call(Caller(), named, (given[:count],))
        return tuple(made)

    given = [*tensors, *[each.detach() for each in parameters.values()]]
    return call, [each.clone().requires_grad_() for each in given]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients(case: Case) -> None:
    call, given = functional(case)
    assert torch.autograd.gradcheck(
        call, given, fast_mode=True, check_batched_grad=case.kind not in CELLS
    )


@pytest.mark.parametrize("case", CASES[::3], ids=str)
def test_gradients_of_gradients(case: Case) -> None:
    call, given = functional(case)
    assert torch.autograd.gradgradcheck(call, given, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_a_gradient(kind: str) -> None:
    call, given = functional(Case(kind, (2, 2), {"bidirectional": True}, 3, 2))
    assert torch.autograd.gradcheck(call, given)


def test_many_gradients_at_once() -> None:
    theirs, ours = Case("GRU", (3, 4), {}).pair()
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    many = torch.randn(6, 5, 2, 4, dtype=torch.float64)
    found = []
    for layer in (theirs, ours):
        own = x.clone().requires_grad_()
        found.append(
            torch.autograd.grad(layer(own)[0], own, many, is_grads_batched=True)[0]
        )
    torch.testing.assert_close(*found)


def test_a_penalty_on_gradients_trains() -> None:
    """As in adversarial training: the gradient of the input is a part of the loss."""
    theirs = torch.nn.GRU(3, 4, num_layers=2, dropout=0.4)
    ours = copy.deepcopy(theirs)
    gatewise.torch.accelerate(ours)
    for layer in (theirs, ours):
        torch.manual_seed(5)
        x = torch.linspace(-1, 1, 30).view(5, 2, 3).requires_grad_()
        (dx,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
        dx.square().sum().backward()
    for their, our in zip(theirs.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(our.grad, their.grad)
