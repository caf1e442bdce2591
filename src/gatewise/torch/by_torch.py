"""The same by torch.nn's own functions, where gradients have to be differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.torch.passes import Plan

__all__ = ["gradients"]

_FUNCTIONS: dict[str, Any] = {
    "LSTM": torch._VF.lstm,
    "GRU": torch._VF.gru,
    "RNN_TANH": torch._VF.rnn_tanh,
    "RNN_RELU": torch._VF.rnn_relu,
}


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
    with torch.enable_grad():
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
    function, is_lstm = _FUNCTIONS[sizes.mode], sizes.mode == "LSTM"
    if not states:
        batch = x.shape[0 if plan.batch_first else 1]
        if plan.batch_sizes is not None:
            batch = int(plan.batch_sizes[0])
        count = sizes.num_layers * sizes.directions
        widths = [sizes.output_size, sizes.hidden_size][: 1 + is_lstm]
        states = [x.new_zeros((count, batch, width)) for width in widths]
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
