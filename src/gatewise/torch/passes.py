"""Passes through the layers of a module and their directions, on rows.

Rows are ``(time, batch, features)``, or those of a packed sequence in one step of many.
`parts` are those of the state, ``(layers * directions, batch, features)`` each, and are
overwritten: on the way there with the final state, on the way back with the gradient of the
initial one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gatewise import direction
from gatewise.kernels import chooser
from gatewise.kernels.resets import Resets
from gatewise.stretch import Stretch, empty_like_rows, run, run_back
from gatewise.torch.openmp import end_waiting
from gatewise.torch.weights import Sizes, gradients_of
from gatewise.weights import Prepared, Weights

Array = NDArray[Any]
Parts = tuple[Array, ...]

__all__ = ["Plan", "Wanted", "backward", "forward", "infer"]


class Plan(NamedTuple):
    """What a call runs on, beside its tensors.

    `resets` say which rows start anew, from zeros. `dtypes` are those of the outputs and
    of the parts of the final state, `is_mixed` says whether autocast was on.
    """

    sizes: Sizes
    prepared: list[list[Prepared]]
    batch_first: bool
    batch_sizes: NDArray[np.int64] | None
    resets: NDArray[np.bool_] | None
    threads: int
    dtypes: tuple[torch.dtype, ...]
    is_mixed: bool

    def rows(self, array: Array) -> Array:
        """A call's array, such as its input, as rows."""
        if self.batch_sizes is not None:
            return array[None]
        return array.swapaxes(0, 1) if self.batch_first else array

    def restored(self, rows: Array) -> Array:
        """Rows as a call's array."""
        if self.batch_sizes is not None:
            rows_of_all: Array = rows[0]
            return rows_of_all
        return rows.swapaxes(0, 1) if self.batch_first else rows

    def begin(self, rows: Array) -> None:
        """Make room for the kernels' threads."""
        if self.threads > 1:
            count = rows.shape[0] * rows.shape[1]
            weights = [each.weights for layer in self.prepared for each in layer]
            products = count * sum(w.w_ih.size + w.w_hh.size for w in weights)
            end_waiting(products, self.threads)

    def anew(self, weights: Weights) -> Resets | None:
        """What a direction of these weights is given of the resets."""
        if self.resets is None:
            return None
        widths = self.sizes.state_widths
        start = tuple([np.zeros(width, weights.w_hh.dtype) for width in widths])
        return Resets(self.resets, start)

    @property
    def options(self) -> dict[str, Any]:
        """What every run of the kernels is given."""
        return {"batch_sizes": self.batch_sizes, "num_threads": self.threads}


class Wanted(NamedTuple):
    """Which gradients a way back is for."""

    x: bool
    states: bool
    weights: Sequence[bool]

    def of_layer(self, sizes: Sizes, layer: int) -> bool:
        """Whether any tensor of the layer wants one."""
        count = sizes.directions * sizes.for_direction
        return any(self.weights[layer * count : (layer + 1) * count])


def infer(plan: Plan, rows: Array, parts: Parts, masks: Sequence[Array]) -> Array:
    """Return the last layer's outputs and keep nothing."""
    plan.begin(rows)
    states, features = zip(*parts, strict=True), plan.sizes.output_size
    for layer, directions in enumerate(plan.prepared):
        y = _outputs(rows, features * len(directions))
        for d, each in enumerate(directions):
            into = _share(y, d, features)
            direction.infer(
                each,
                rows,
                next(states),
                into,
                reverse=d == 1,
                resets=plan.anew(each.weights),
                **plan.options,
            )
        rows = _masked(y, masks, layer)
    return rows


def forward(
    plan: Plan, rows: Array, parts: Parts, masks: Sequence[Array]
) -> tuple[Array, list[list[Stretch]]]:
    """Return the last layer's outputs, and what `backward` needs."""
    plan.begin(rows)
    states, features = zip(*parts, strict=True), plan.sizes.output_size
    kept: list[list[Stretch]] = []
    for layer, directions in enumerate(plan.prepared):
        y = _outputs(rows, features * len(directions))
        kept.append(
            [
                run(
                    each,
                    rows,
                    next(states),
                    y=_share(y, d, features),
                    reverse=d == 1,
                    resets=_in_order(plan, plan.anew(each.weights), d == 1),
                    **plan.options,
                )
                for d, each in enumerate(directions)
            ]
        )
        rows = _masked(y, masks, layer)
    return rows, kept


def backward(
    plan: Plan,
    kept: list[list[Stretch]],
    masks: Sequence[Array],
    drows: Array,
    dparts: Parts,
    wanted: Wanted,
) -> tuple[Array | None, list[Array | None]]:
    """Return the gradients of the input and, in PyTorch's order, of the tensors.

    What nobody wants may be None. `drows` is the gradient of the last layer's outputs.
    """
    plan.begin(drows)
    sizes, features = plan.sizes, plan.sizes.output_size
    states = list(zip(*dparts, strict=True))
    count = sizes.for_direction
    found: list[Array | None] = [None] * len(wanted.weights)
    dx: Array | None = drows
    for layer in reversed(range(sizes.num_layers)):
        assert dx is not None
        dy = _masked(dx, masks, layer)
        below = wanted.x or any(wanted.weights[: layer * sizes.directions * count])
        below = below or (wanted.states and layer > 0)
        own = wanted.of_layer(sizes, layer)
        dx = None
        for d, stretch in enumerate(kept[layer]):
            prepared = plan.prepared[layer][d]
            prepared.renew()
            into = None
            if below:
                width = prepared.weights.w_ih.shape[1]
                into = empty_like_rows(stretch.y, width, dy.dtype)
            gradients: Weights | None = prepared.weights.zeros() if own else None
            at = layer * sizes.directions + d
            run_back(
                prepared,
                stretch,
                _share(dy, d, features),
                states[at],
                into,
                gradients,
                num_threads=plan.threads,
            )
            if into is not None:
                dx = into if dx is None else _added(dx, into)
            if gradients is not None:
                found[at * count : (at + 1) * count] = gradients_of(sizes, gradients)
        if dx is None and layer:
            # Nothing below wants anything, nor has it a state that does.
            break
    return dx, found


def shares(array: Array, sizes: Sizes) -> Iterator[Array]:
    """What each direction has of the rows of a layer's outputs."""
    for d in range(sizes.directions):
        yield _share(array, d, sizes.output_size)


def _share(rows: Array, d: int, features: int) -> Array:
    return rows[..., d * features : (d + 1) * features]


def _outputs(rows: Array, features: int) -> Array:
    """Outputs to be filled, in the order in memory of torch.nn's, which views rely on."""
    made: Array = chooser.kernels.empty((*rows.shape[:2], features), rows.dtype)
    return made


def _in_order(plan: Plan, resets: Resets | None, reverse: bool) -> Resets | None:
    """Resets as a run of the kernels in that order meets them."""
    if resets is None or not reverse:
        return resets
    return resets.backwards(plan.batch_sizes)


def _masked(rows: Array, masks: Sequence[Array], layer: int) -> Array:
    """What dropout lets through of a layer's outputs; of the last one's all."""
    if layer >= len(masks):
        return rows
    with np.errstate(all="ignore"):
        masked: Array = rows * masks[layer]
    return masked


def _added(dx: Array, other: Array) -> Array:
    with np.errstate(all="ignore"):
        dx += other
    return dx
