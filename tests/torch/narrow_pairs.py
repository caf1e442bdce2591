"""Calls in bfloat16, of torch.nn's and of ours, and how far they are from exact ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import gatewise.torch
from tests.torch.pairs import Case

# What rounding the last step of an exact result to bfloat16 may change it by.
STEP = 2.0**-8


def pair(case: Case, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """A module of torch.nn in that dtype, and ours."""
    theirs = getattr(nn, case.kind)(*case.sizes, **case.options, dtype=torch.float32)
    theirs.to(dtype)
    ours = copy.deepcopy(theirs)
    assert gatewise.torch.accelerate(ours) == 1
    return theirs, ours


def results(
    case: Case,
    module: nn.Module,
    tensors: Sequence[Tensor],
    mixed: bool = False,
    seed: int = 7,
) -> dict[str, list[Tensor]]:
    """Outputs with states, and gradients of everything, of a call and a loss of it all."""
    own = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    module.zero_grad()
    torch.manual_seed(seed)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        made = case.call(module, own)
    generator = torch.Generator().manual_seed(3)
    given = [
        torch.randn(each.shape, generator=generator).bfloat16().to(each.dtype)
        for each in made
    ]
    torch.autograd.backward(made, given)
    gradients = [each.grad for each in (*own, *module.parameters())]
    assert all(each is not None for each in gradients)
    return {
        "made": [each.detach() for each in made],
        "gradients": [each for each in gradients if each is not None],
    }


def exact(
    case: Case, module: nn.Module, tensors: Sequence[Tensor]
) -> dict[str, list[Tensor]]:
    """The same numbers in float64, by torch.nn."""
    wide = copy.deepcopy(module).double()
    gatewise.torch.restore(wide)
    return results(case, wide, [tensor.double() for tensor in tensors])


def error(found: Sequence[Tensor], true: Sequence[Tensor]) -> float:
    """How far results are off, as a part of their size."""
    off = sum(
        (a.double() - b).square().sum().item() for a, b in zip(found, true, strict=True)
    )
    size = sum(each.square().sum().item() for each in true)
    return float((off / max(size, 1e-30)) ** 0.5)


def assert_as_good(
    ours: dict[str, list[Tensor]],
    theirs: dict[str, list[Tensor]],
    true: dict[str, list[Tensor]],
    slack: float = STEP / 4,
) -> None:
    """Ours have the dtypes of theirs, and are not further from the truth."""
    for name, expected in theirs.items():
        found = ours[name]
        assert [each.dtype for each in found] == [each.dtype for each in expected]
        assert [each.shape for each in found] == [each.shape for each in expected]
        # Where they are off by hardly more than the rounding of results, luck decides.
        allowed = 1.25 * error(expected, true[name]) + slack
        assert error(found, true[name]) <= allowed, name
