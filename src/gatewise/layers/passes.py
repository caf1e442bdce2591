"""The passes of a recurrent layer through its layers and their directions, on rows.

`parts` are those of the state, ``(states, batch, features)`` each, with a state for every
direction of every layer. Those of the initial state are overwritten with the final one, and
on the way back those of the final state's gradient with the initial one's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise import direction
from gatewise.direction import Prepared, Tape, Weights
from gatewise.kernels.resets import Resets
from gatewise.layers.masks import Mask
from gatewise.layers.sequences import Batch

Array = NDArray[Any]
Parts = tuple[Array, ...]


class Drawn(NamedTuple):
    """What a layer draws in training, and from where.

    Taken once, so that a pass has the same options from its first layer to its last.
    """

    generator: np.random.Generator
    dropout: float
    recurrent_dropout: float
    zoneout: tuple[float, ...]
    variational: bool

    def mask(self, batch: Batch, shape: tuple[int, ...]) -> Mask:
        """Which outputs of a layer the next one sees; if `variational`, at every step."""
        if not self.variational:
            return Mask.draw(self.generator, shape, self.dropout)
        keep = Mask.draw(self.generator, (batch.size, shape[2]), self.dropout).keep
        sorted_keep = keep if batch.ragged is None else keep[batch.ragged.sorted]
        return Mask(sorted_keep[None], self.dropout)


def infer(
    prepared: list[list[Prepared]],
    batch: Batch,
    parts: Parts,
    zoneout: tuple[float, ...],
    resets: Iterator[Resets] | None,
    *,
    wants_cells: bool,
    num_threads: int,
) -> tuple[Array, list[Array]]:
    """Return the last layer's outputs and, where wanted, every direction's cell states."""
    rows, cells = batch.rows, []
    states = _by_direction(parts)
    features = parts[0].shape[2]
    for directions in prepared:
        y = batch.empty(features * len(directions))
        for d, each in enumerate(directions):
            of_direction = batch.empty(parts[1].shape[2]) if wants_cells else None
            direction.infer(
                each,
                rows,
                next(states),
                _share(y, d, features),
                of_direction,
                batch_sizes=batch.batch_sizes,
                reverse=d == 1,
                resets=None if resets is None else next(resets),
                zoneout=zoneout,
                num_threads=num_threads,
            )
            if of_direction is not None:
                cells.append(of_direction)
        rows = y
    return rows, cells


class Passed(NamedTuple):
    """What a pass leaves for the way back: every direction's tape, every layer's mask."""

    tapes: list[list[Tape]]
    masks: list[Mask | None]


def forward(
    prepared: list[list[Prepared]],
    batch: Batch,
    parts: Parts,
    drawn: Drawn,
    resets: Iterator[Resets] | None,
    *,
    num_threads: int,
) -> tuple[Array, Passed]:
    """Return the last layer's outputs, and what `backward` needs."""
    rows, passed = batch.rows, Passed([], [])
    states = _by_direction(parts)
    features = parts[0].shape[2]
    for directions in prepared:
        tapes = [
            direction.forward(
                each,
                rows,
                next(states),
                drawn.generator,
                batch_sizes=batch.batch_sizes,
                reverse=d == 1,
                resets=None if resets is None else next(resets),
                recurrent_dropout=drawn.recurrent_dropout,
                zoneout=drawn.zoneout,
                num_threads=num_threads,
            )
            for d, each in enumerate(directions)
        ]
        rows = tapes[0].y
        if len(tapes) > 1:
            rows = batch.empty(features * len(tapes))
            for d, tape in enumerate(tapes):
                _share(rows, d, features)[...] = tape.y
        mask = None
        if drawn.dropout and directions is not prepared[-1]:
            mask = drawn.mask(batch, rows.shape)
            rows = mask.apply(rows)
        passed.tapes.append(tapes)
        passed.masks.append(mask)
    return rows, passed


def backward(
    passed: Passed,
    drows: Array,
    dparts: Parts,
    dresets: Parts | None = None,
    *,
    num_threads: int,
) -> tuple[Array | None, list[list[Weights]]]:
    """Return the gradients of the input (None for tokens) and of every direction's weights.

    `drows` is the gradient of the last layer's outputs. To `dresets`, of the form of
    `dparts`, are added the gradients of the states that rows were reset to, where wanted.
    """
    dx: Array | None = drows
    found: list[list[Weights]] = []
    # The last layer's are the first to be needed, in the order of the directions.
    states = list(_by_direction(dparts))
    of_resets = None if dresets is None else list(_by_direction(dresets))
    features = dparts[0].shape[2]
    for tapes, mask in zip(reversed(passed.tapes), reversed(passed.masks), strict=True):
        assert dx is not None
        dy = dx if mask is None else mask.apply(dx)
        dx, gradients = None, []
        first = len(states) - len(tapes)
        for d, tape in enumerate(tapes):
            of_direction, weights = direction.backward(
                tape,
                _share(dy, d, features),
                states[first + d],
                None if of_resets is None else of_resets[first + d],
                num_threads=num_threads,
            )
            dx = of_direction if dx is None else dx + of_direction
            gradients.append(weights)
        del states[first:]
        found.insert(0, gradients)
    return dx, found


def _by_direction(parts: Parts) -> Iterator[Parts]:
    """The state of one direction after the other, of one layer after the other."""
    return zip(*parts, strict=True)


def _share(rows: Array, d: int, features: int) -> Array:
    """What one of the directions has of the rows of a layer's outputs."""
    return rows[..., d * features : (d + 1) * features]
