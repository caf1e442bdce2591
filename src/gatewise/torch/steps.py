"""Sequences that start anew in their midst, step by step on torch.nn's own functions.

It runs where the kernels cannot, and where gradients have to be differentiable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatewise.torch.weights import Sizes, sizes_of

FUNCTIONS: dict[str, Any] = {
    "LSTM": torch._VF.lstm,
    "GRU": torch._VF.gru,
    "RNN_TANH": torch._VF.rnn_tanh,
    "RNN_RELU": torch._VF.rnn_relu,
}

__all__ = ["FUNCTIONS", "by_steps", "run_steps", "zero_states"]


def run_steps(
    module: Any, refuse: Callable[[], Any], x: Any, hx: Any, resets: Tensor
) -> tuple[Tensor, ...]:
    """Return the outputs and the final state of a call of a module.

    Parameters
    ----------
    module
        The module.
    refuse
        torch.nn's own call, which says what is wrong where something is.
    x, hx
        A batch or a packed sequence and its sorted states.
    resets
        For every step of every sequence whether it starts from zeros, laid out as `x`.
    """
    batch_sizes = None
    if isinstance(x, PackedSequence):
        x, batch_sizes = x.data, x.batch_sizes
    sizes = sizes_of(module)
    module._update_flat_weights()
    batch = x.shape[0 if module.batch_first else 1]
    if batch_sizes is not None:
        batch = int(batch_sizes[0])
    if hx is None:
        hx = zero_states(sizes, x, batch)
        hx = tuple(hx) if len(hx) > 1 else hx[0]
    try:
        module.check_forward_args(x, hx, batch_sizes)
    except Exception:
        refuse()
        raise
    is_turned = batch_sizes is None and module.batch_first
    if is_turned:
        x, resets = x.transpose(0, 1), resets.transpose(0, 1)

    def dropped(y: Tensor, _: int) -> Tensor:
        return nn.functional.dropout(y, module.dropout, module.training)

    y, *final = by_steps(
        sizes,
        x,
        None if batch_sizes is None else batch_sizes.tolist(),
        hx if isinstance(hx, tuple | list) else [hx],
        module._flat_weights,
        dropped,
        resets,
    )
    return (y.transpose(0, 1) if is_turned else y, *final)


def zero_states(sizes: Sizes, x: Tensor, batch: int) -> list[Tensor]:
    """What a call starts from that is given no state."""
    count = sizes.num_layers * sizes.directions
    return [x.new_zeros((count, batch, width)) for width in sizes.state_widths]


def by_steps(
    sizes: Sizes,
    x: Tensor,
    batch_sizes: Sequence[int] | None,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    dropped: Callable[[Tensor, int], Tensor],
    resets: Tensor,
) -> list[Tensor]:
    """Return the outputs and the final state, layer by layer and step by step.

    The rows and their resets are ``(time, batch)``, or those of a packed sequence. What
    `dropped` makes of a layer's outputs goes to the next.
    """
    count = sizes.for_direction
    final: list[list[Tensor]] = [[] for _ in states]
    flags = _each_step(resets, batch_sizes)
    for layer in range(sizes.num_layers):
        steps, sides = _each_step(x, batch_sizes), []
        for d in range(sizes.directions):
            at = layer * sizes.directions + d
            parts = [part[at] for part in states]
            own = list(weights[at * count : (at + 1) * count])
            made, parts = _direction(sizes, steps, parts, own, flags, d == 1)
            sides.append(torch.stack(made) if batch_sizes is None else torch.cat(made))
            for into, part in zip(final, parts, strict=True):
                into.append(part)
        x = torch.cat(sides, -1) if len(sides) > 1 else sides[0]
        if layer < sizes.num_layers - 1:
            x = dropped(x, layer)
    return [x, *[torch.stack(parts) for parts in final]]


def _direction(
    sizes: Sizes,
    steps: Sequence[Tensor],
    parts: list[Tensor],
    weights: list[Tensor],
    resets: Sequence[Tensor],
    reverse: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    """The outputs of every step of one direction of a layer, and the state after them."""
    function, is_lstm = FUNCTIONS[sizes.mode], sizes.mode == "LSTM"
    made: list[Any] = [None] * len(steps)
    for t in reversed(range(len(steps))) if reverse else range(len(steps)):
        running = len(steps[t])
        now = [part[:running] for part in parts]
        # Backwards a run comes from an episode's first step to the one before.
        anew = resets[t] if not reverse else resets[t + 1] if t + 1 < len(steps) else None
        if anew is not None:
            if len(anew) < running:
                anew = nn.functional.pad(anew, (0, running - len(anew)))
            now = [part.masked_fill(anew[:, None], 0) for part in now]
        hx = [part[None] for part in now]
        y, *after = function(
            steps[t][None],
            hx if is_lstm else hx[0],
            weights,
            sizes.bias,
            1,
            0.0,
            True,
            False,
            False,
        )
        made[t] = y[0]
        parts = [
            new[0] if len(old) == running else torch.cat([new[0], old[running:]])
            for new, old in zip(after, parts, strict=True)
        ]
    return made, parts


def _each_step(rows: Tensor, batch_sizes: Sequence[int] | None) -> Sequence[Tensor]:
    steps: Sequence[Tensor]
    steps = rows.unbind() if batch_sizes is None else rows.split(list(batch_sizes))
    return steps
