"""A call of a module as one function that PyTorch's autograd knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor

from gatewise.stretch import Stretch, run
from gatewise.torch import by_torch, passes
from gatewise.torch.passes import Parts, Plan, Wanted
from gatewise.torch.weights import as_array, as_tensor

Array = NDArray[Any]

__all__ = ["Call", "run_call"]


class Call(NamedTuple):
    """A call that the kernels take: `states` is empty where they start from zeros."""

    plan: Plan
    x: Tensor
    states: tuple[Tensor, ...]
    weights: Sequence[Tensor]
    masks: tuple[Tensor, ...]


def run_call(call: Call) -> tuple[Tensor, ...]:
    """Return the outputs and the final state, whose gradients autograd knows."""
    tensors = (call.x, *call.states, *call.weights)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        made: tuple[Tensor, ...] = _Pass.apply(
            call.plan, len(call.states), call.masks, *tensors
        )
        return made
    plan = call.plan
    parts = _parts(call.plan, call.x, call.states)
    masks = [plan.rows(as_array(mask)) for mask in call.masks]
    rows = passes.infer(plan, _rows(plan, call.x), parts, masks)
    return _made(plan, rows, parts)


class _Pass(torch.autograd.Function):
    """The kernels' way there, and their way back.

    What the way back needs is saved as tensors, so that PyTorch frees it, moves it and
    watches it as it does with its own.
    """

    @staticmethod
    def forward(
        ctx: Any, plan: Plan, states: int, masks: tuple[Tensor, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        x, hx = tensors[0], tensors[1 : 1 + states]
        parts = _parts(plan, x, hx)
        arrays = [plan.rows(as_array(mask)) for mask in masks]
        rows, kept = passes.forward(plan, _rows(plan, x), parts, arrays)
        made = _made(plan, rows, parts)
        ctx.set_materialize_grads(False)
        ctx.plan, ctx.states = plan, states
        # The way back reads the outputs. PyTorch's own lets them be changed in place, and
        # so this has to notice: a detached tensor counts the same versions. Narrow outputs
        # are copies of what is read.
        ctx.outputs, ctx.version = made[0].detach(), made[0]._version
        ctx.reads_outputs = plan.dtypes[0] is not torch.bfloat16
        shelf = _Shelf(kept[0][0].x)
        ctx.kept = [[shelf.put(each) for each in layer] for layer in kept]
        # PyTorch's own would not notice changes of these: its way back does not use them.
        ctx.unwatched = {
            place: tensors[place]
            for place in _unwatched(plan, states, ctx.needs_input_grad[3])
        }
        watched = [t for i, t in enumerate(tensors) if i not in ctx.unwatched]
        ctx.counts = len(watched), len(masks)
        ctx.save_for_backward(*watched, *masks, *shelf.tensors)
        return made

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, masks_end = ctx.counts[0], sum(ctx.counts)
        tensors, masks = list(saved[:inputs]), saved[inputs:masks_end]
        for place, tensor in ctx.unwatched.items():
            tensors.insert(place, tensor)
        plan: Plan = ctx.plan
        needed = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled() or not _all_plain(given):
            # Somebody wants the gradients' gradients, or many gradients at once.
            found = by_torch.gradients(plan, ctx.states, masks, tensors, given, needed)
            return (None, None, None, *found)
        arrays = [plan.rows(as_array(mask)) for mask in masks]
        shelf = _Shelf(_rows(plan, tensors[0]), saved[masks_end:])
        kept = shelf.take(ctx.kept)
        if ctx.reads_outputs and ctx.outputs._version != ctx.version:
            kept[-1] = _again(plan, kept[-1])
        drows, dparts = _gradients(plan, kept, given)
        states = ctx.states
        wanted = Wanted(needed[0], any(needed[1 : 1 + states]), needed[1 + states :])
        dx, dweights = passes.backward(plan, kept, arrays, drows, dparts, wanted)
        gradients: list[Array | None] = [None if dx is None else plan.restored(dx)]
        gradients += [*dparts[:states], *dweights]
        made: list[Tensor | None] = [None] * 3
        for array, tensor, wants in zip(gradients, tensors, needed, strict=True):
            one = array if wants else None
            made.append(None if one is None else as_tensor(one, tensor.dtype))
        return tuple(made)


def _made(plan: Plan, rows: Array, parts: Parts) -> tuple[Tensor, ...]:
    """The outputs and the final state as a call returns them."""
    arrays = (plan.restored(rows), *parts)
    return tuple(map(as_tensor, arrays, plan.dtypes))


def _unwatched(plan: Plan, states: int, wants_x: bool) -> list[int]:
    """The places of a call's tensors, in rising order, that may change before the way back.

    These are the biases and, where the input has no gradient, the first layer's weights of
    the input.
    """
    sizes, found = plan.sizes, []
    count = sizes.for_direction
    for at in range(sizes.num_layers * sizes.directions):
        start = 1 + states + at * count
        if at < sizes.directions and not wants_x:
            found.append(start)
        if sizes.bias:
            found += [start + 2, start + 3]
    return found


class _Shelf:
    """Where the arrays of stretches stand as tensors while autograd has them.

    The rows of the call's own input, which autograd has anyhow, stand in place -1.
    """

    def __init__(self, rows: Array, tensors: Sequence[Tensor] = ()) -> None:
        self.tensors: list[Tensor] = list(tensors)
        self._rows = rows
        self._places: dict[int, int] = {id(rows): -1}

    def put(self, stretch: Stretch) -> Stretch:
        """A stretch with the places of its arrays for arrays."""
        x, gates, y = map(self._place, (stretch.x, stretch.gates, stretch.y))
        extra = None if stretch.extra is None else self._place(stretch.extra)
        initial = tuple([self._place(part) for part in stretch.initial])
        return stretch._replace(x=x, gates=gates, y=y, extra=extra, initial=initial)

    def take(self, placed: list[list[Stretch]]) -> list[list[Stretch]]:
        """The stretches whose arrays these tensors are."""
        arrays: list[Any] = [*map(as_array, self.tensors), self._rows]
        return [
            [
                each._replace(
                    x=arrays[each.x],
                    gates=arrays[each.gates],
                    y=arrays[each.y],
                    extra=None if each.extra is None else arrays[each.extra],
                    initial=tuple([arrays[part] for part in each.initial]),
                )
                for each in layer
            ]
            for layer in placed
        ]

    def _place(self, array: Array) -> Any:
        # An array stands in several stretches as the same object, or has another owner.
        place = self._places.setdefault(id(array), len(self.tensors))
        if place == len(self.tensors):
            self.tensors.append(torch.from_numpy(array))
        return place


def _rows(plan: Plan, x: Tensor) -> Array:
    """The rows of a call's tensor; the kernels want features side by side."""
    if x.stride(-1) != 1:
        x = x.contiguous()
    return plan.rows(as_array(x))


def _parts(plan: Plan, x: Tensor, states: Sequence[Tensor]) -> Parts:
    """The state to start from, for the kernels to overwrite."""
    if states:
        return tuple([np.array(as_array(state), order="C") for state in states])
    sizes = plan.sizes
    if plan.batch_sizes is not None:
        batch = int(plan.batch_sizes[0])
    else:
        batch = x.shape[0 if plan.batch_first else 1]
    dtype, count = plan.prepared[0][0].weights.w_hh.dtype, sizes.num_layers
    count *= sizes.directions
    return tuple([np.zeros((count, batch, w), dtype) for w in sizes.state_widths])


def _gradients(
    plan: Plan, kept: list[list[Stretch]], given: Sequence[Tensor | None]
) -> tuple[Array, Parts]:
    """The gradients of the outputs' rows and of the final state, zeros where None."""
    dy, *dstates = given
    last = kept[-1][0]
    if dy is None:
        width = plan.sizes.directions * plan.sizes.output_size
        drows = np.zeros((*last.y.shape[:2], width), last.y.dtype)
    else:
        drows = _rows(plan, dy)
    layers = plan.sizes.num_layers * plan.sizes.directions
    return drows, tuple(
        [
            np.zeros((layers, *part.shape), part.dtype)
            if dstate is None
            else np.array(as_array(dstate), order="C")
            for part, dstate in zip(last.initial, dstates, strict=True)
        ]
    )


def _again(plan: Plan, layer: list[Stretch]) -> list[Stretch]:
    """A layer's stretches, run once more, since its outputs have been changed."""
    return [
        run(
            prepared,
            each.x,
            tuple([part.copy() for part in each.initial]),
            reverse=each.reverse,
            resets=each.resets,
            **plan.options,
        )
        for prepared, each in zip(plan.prepared[-1], layer, strict=True)
    ]


def _all_plain(given: Sequence[Tensor | None]) -> bool:
    return not torch._C._are_functorch_transforms_active() and all(
        each is None or _is_plain(each) for each in given
    )


def _is_plain(tensor: Tensor) -> bool:
    """Whether a gradient is numbers in memory, and no stand-in for them."""
    if type(tensor) is not Tensor or not tensor.is_cpu:
        return False
    return tensor.layout is torch.strided and not is_legacy_batchedtensor(tensor)
