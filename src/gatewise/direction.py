"""One direction of one layer at inference, and in training with its options.

Without options a direction is one call of the kernels over the whole sequence. Recurrent
dropout only changes the weights of that call. Zoneout mixes each step's new state with the
old one, so it makes one call per step.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise import stretch as plain
from gatewise.kernels import chooser
from gatewise.kernels.numpy.equations import widened
from gatewise.stretch import NO_SCALES, Scales, Weights

Array = NDArray[Any]
State = tuple[Array, ...]
BatchSizes = NDArray[np.int64] | None


class Prepared:
    """The weights of a direction in the forms that the kernels run on."""

    def __init__(self, weights: Weights, scales: Scales = NO_SCALES) -> None:
        self.weights = weights
        self.packed = weights.pack(scales)
        self._scale_ih = scales[0]

    @cached_property
    def table(self) -> Array:
        """The input's share of the gates for every token, one row each."""
        bias = self.weights.bias
        w_ih = widened(self.weights.w_ih, self._scale_ih, bias.dtype)
        with np.errstate(all="ignore"):
            return np.ascontiguousarray(w_ih.T) + bias


def infer(
    prepared: Prepared,
    x: Array,
    state: State,
    y: Array,
    cells: Array | None = None,
    *,
    batch_sizes: BatchSizes = None,
    reverse: bool = False,
    zoneout: tuple[float, ...] = (),
    num_threads: int,
) -> None:
    """Run over the rows or tokens `x` and write `y`, `state` and, where wanted, `cells`."""
    if any(zoneout):
        _infer_zoneout(
            prepared, x, state, y, cells, batch_sizes, reverse, zoneout, num_threads
        )
    elif x.ndim == 2:
        chooser.kernels.infer_shares(
            prepared.packed,
            prepared.table[x],
            state,
            y,
            cells=cells,
            batch_sizes=batch_sizes,
            reverse=reverse,
            num_threads=num_threads,
        )
    else:
        chooser.kernels.infer(
            prepared.packed,
            x,
            state,
            y,
            cells=cells,
            batch_sizes=batch_sizes,
            reverse=reverse,
            num_threads=num_threads,
        )


def _infer_zoneout(
    prepared: Prepared,
    x: Array,
    state: State,
    y: Array,
    cells: Array | None,
    batch_sizes: BatchSizes,
    reverse: bool,
    zoneout: tuple[float, ...],
    threads: int,
) -> None:
    for step, count in _steps(x, batch_sizes, reverse):
        now = tuple(part[:count] for part in state)
        before = tuple(part.copy() for part in now)
        infer(prepared, x[step], now, y[step], num_threads=threads)
        # The expectation of what training draws.
        for part, old, rate in zip(now, before, zoneout, strict=True):
            part += rate * (old - part)
        y[step] = now[0]
        if cells is not None:
            cells[step] = now[1]


class Run(NamedTuple):
    """What training one direction leaves for its backward pass."""

    weights: Weights
    packed: Any
    dropped: Array | None
    steps: list[Step] | None
    tape: plain.Tape | None
    y: Array

    def arrays(self) -> Iterator[Array]:
        """Every array that this holds apart from parameters and packed weights."""
        if self.dropped is not None:
            yield self.dropped
            yield self.weights.w_hh
        yield self.y
        tapes = [self.tape] if self.steps is None else [step.tape for step in self.steps]
        for tape in tapes:
            assert tape is not None
            yield from (tape.x, tape.gates, tape.y, *tape.initial)
            if tape.extra is not None:
                yield tape.extra
        for step in self.steps or ():
            yield from step.kept


class Step(NamedTuple):
    """One step of zoneout: where it stands, and which parts of the old state it kept."""

    where: Any
    running: int
    tape: plain.Tape
    kept: tuple[NDArray[np.bool_], ...]


def forward(
    prepared: Prepared,
    x: Array,
    state: State,
    generator: np.random.Generator,
    *,
    batch_sizes: BatchSizes = None,
    reverse: bool = False,
    recurrent_dropout: float = 0.0,
    zoneout: tuple[float, ...] = (),
    num_threads: int | None = None,
) -> Run:
    """Run over the rows or tokens `x` and keep what `backward` needs."""
    weights, packed, dropped = prepared.weights, prepared.packed, None
    if recurrent_dropout:
        # Leaving units of h out of every product is the same as scaling columns of w_hh.
        keep = generator.random(weights.w_hh.shape[1]) >= recurrent_dropout
        dropped = np.divide(keep, 1 - recurrent_dropout, dtype=weights.w_hh.dtype)
        weights = weights._replace(w_hh=weights.w_hh * dropped)
        packed = weights.pack()
    if not any(zoneout):
        tape = plain.forward(
            weights,
            packed,
            x,
            state,
            batch_sizes=batch_sizes,
            reverse=reverse,
            num_threads=num_threads,
        )
        return Run(weights, packed, dropped, None, tape, tape.y)
    y = np.empty((*x.shape[:2], weights.w_hh.shape[1]), weights.w_hh.dtype)
    steps = []
    for where, count in _steps(x, batch_sizes, reverse):
        now = tuple(part[:count] for part in state)
        tape = plain.forward(weights, packed, x[where], now, num_threads=num_threads)
        kept = tuple(
            generator.random(part.shape) < rate
            for part, rate in zip(now, zoneout, strict=True)
        )
        for part, old, keeps in zip(now, tape.initial, kept, strict=True):
            np.copyto(part, old, where=keeps)
        y[where] = now[0]
        steps.append(Step(where, count, tape, kept))
    return Run(weights, packed, dropped, steps, None, y)


def backward(
    run: Run, dy: Array, dstate: State, *, num_threads: int | None = None
) -> tuple[Array | None, Weights]:
    """Return the gradients of the rows (None for tokens) and of the weights.

    `dstate` goes from the gradient of the final state to that of the initial one.
    """
    if run.tape is not None:
        dx, gradients = plain.backward(
            run.weights, run.packed, run.tape, dy, dstate, num_threads=num_threads
        )
    else:
        dx, gradients = _backward_zoneout(run, dy, dstate, num_threads)
    if run.dropped is not None:
        gradients = gradients._replace(w_hh=gradients.w_hh * run.dropped)
    return dx, gradients


def _backward_zoneout(
    run: Run, dy: Array, dstate: State, num_threads: int | None
) -> tuple[Array | None, Weights]:
    sums = [
        None if value is None else np.zeros_like(value) for value in _arrays(run.weights)
    ]
    w_ih = run.weights.w_ih
    dx: Array | None = np.zeros((*dy.shape[:2], w_ih.shape[1]), w_ih.dtype)
    assert run.steps is not None
    for where, count, tape, kept in reversed(run.steps):
        now = tuple(part[:count] for part in dstate)
        now[0][...] += dy[where][0]
        # What was kept of the old state bypasses the step.
        bypass = tuple(part * keep for part, keep in zip(now, kept, strict=True))
        for part, around in zip(now, bypass, strict=True):
            part -= around
        step_dx, gradients = plain.backward(
            run.weights,
            run.packed,
            tape,
            np.zeros_like(dy[where]),
            now,
            num_threads=num_threads,
        )
        for part, around in zip(now, bypass, strict=True):
            part += around
        if step_dx is None:
            dx = None
        elif dx is not None:
            dx[where] = step_dx
        for total, gradient in zip(sums, _arrays(gradients), strict=True):
            if total is not None:
                total += gradient
    return dx, Weights(run.weights.cell, *sums)  # type: ignore[arg-type]


def _arrays(weights: Weights) -> tuple[Array | None, ...]:
    return weights[1:]


def _steps(x: Array, batch_sizes: BatchSizes, reverse: bool) -> Iterator[tuple[Any, int]]:
    """Index one step of rows at a time, with the number of sequences that take it."""
    steps: list[tuple[Any, int]] = []
    if batch_sizes is None:
        steps = [(np.s_[t : t + 1], x.shape[1]) for t in range(x.shape[0])]
    else:
        end = 0
        for count in batch_sizes.tolist():
            steps.append((np.s_[:, end : end + count], count))
            end += count
    return iter(steps[::-1] if reverse else steps)
