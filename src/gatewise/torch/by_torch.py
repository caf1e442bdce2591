"""The same by torch.nn's own functions, where gradients have to be differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.torch.passes import Plan
from gatewise.torch.steps import FUNCTIONS, by_steps, zero_states

__all__ = ["gradients"]


def gradients(
    plan: Plan,
    states: int,
    masks: Sequence[Tensor],
    tensors: Sequence[Tensor],
    given: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of a call's tensors that are needed.

    They are differentiable themselves where grad mode is on.

    Parameters
    ----------
    plan
        Of the call.
    states
        How many of the tensors, after the input, are parts of the state.
    masks
        What dropout multiplied the outputs of layers by.
    tensors
        The call's.
    given
        The gradients of the outputs and of the final state.
    needed
        Which of the tensors have a gradient.
    """
    wants_more = torch.is_grad_enabled()
    # The way back may come when autocast is on that was not, or the other way round.
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=plan.is_mixed)
    with torch.enable_grad(), autocast:
        # Views of their own, since a tensor that is given twice has two gradients.
        own = [tensor.view_as(tensor) for tensor in tensors]
        made = _outputs(plan, own[0], own[1 : 1 + states], own[1 + states :], masks)
        pairs = [(each, dy) for each, dy in zip(made, given, strict=True) if dy is not None]
        wanted = [each for each, needs in zip(own, needed, strict=True) if needs]
        found = iter(
            torch.autograd.grad(
                [each for each, _ in pairs],
                wanted,
                [dy for _, dy in pairs],
                create_graph=wants_more,
                allow_unused=True,
            )
        )
    return [next(found) if needs else None for needs in needed]


def _outputs(
    plan: Plan,
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
) -> list[Tensor]:
    """A call's outputs and final state, layer by layer, with the masks that were drawn."""
    sizes = plan.sizes
    function, is_lstm = FUNCTIONS[sizes.mode], sizes.mode == "LSTM"
    if not states:
        batch = x.shape[0 if plan.batch_first else 1]
        if plan.batch_sizes is not None:
            batch = int(plan.batch_sizes[0])
        states = zero_states(sizes, x, batch)
    if plan.resets is not None:
        return _steps(plan, x, states, weights, masks)
    final: list[list[Tensor]] = []
    count = sizes.directions * sizes.for_direction
    for layer in range(sizes.num_layers):
        start = layer * sizes.directions
        own = [part[start : start + sizes.directions] for part in states]
        hx: Any = own if is_lstm else own[0]
        last: list[Any] = [sizes.bias, 1, 0.0, True, sizes.directions == 2]
        parameters = list(weights[layer * count : (layer + 1) * count])
        if plan.batch_sizes is None:
            made = function(x, hx, parameters, *last, plan.batch_first)
        else:
            batch_sizes = torch.from_numpy(plan.batch_sizes)
            made = function(x, batch_sizes, hx, parameters, *last)
        x = made[0] * masks[layer] if layer < len(masks) else made[0]
        final.append(made[1:])
    return [x, *map(torch.cat, zip(*final, strict=True))]


def _steps(
    plan: Plan,
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
) -> list[Tensor]:
    """The same of a call in which rows start anew."""
    assert plan.resets is not None
    resets, batch_sizes = torch.from_numpy(plan.resets), None
    if plan.batch_sizes is not None:
        resets, batch_sizes = resets[0], plan.batch_sizes.tolist()
    is_turned = plan.batch_first and batch_sizes is None
    if is_turned:
        x, masks = x.transpose(0, 1), [mask.transpose(0, 1) for mask in masks]

    def dropped(y: Tensor, layer: int) -> Tensor:
        return y * masks[layer] if masks else y

    found = by_steps(plan.sizes, x, batch_sizes, states, weights, dropped, resets)
    if is_turned:
        found[0] = found[0].transpose(0, 1)
    return found
