"""One direction of one layer: what layers and notebook know of the kernels.

``Prepared(weights)`` is what runs. `infer` runs it and keeps nothing; `forward` leaves a
`Tape`, from which `backward` makes the gradients. Without options a direction is one call
of the kernels over the whole sequence. Recurrent dropout only changes the weights of that
call. Zoneout mixes each step's new state with the old one, so it makes one call per step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import chooser, products, thread_limits
from gatewise.kernels.resets import Resets
from gatewise.stretch import BatchSizes, State, Stretch, empty_like_rows, run, run_back
from gatewise.weights import NO_SCALES, Prepared, Scales, Weights

Array = NDArray[Any]

__all__ = [
    "NO_SCALES",
    "Prepared",
    "Resets",
    "Scales",
    "Stretch",
    "Tape",
    "Weights",
    "backward",
    "empty_like_rows",
    "forward",
    "infer",
]


def infer(
    prepared: Prepared,
    x: Array,
    state: State,
    y: Array,
    cells: Array | None = None,
    *,
    batch_sizes: BatchSizes = None,
    reverse: bool = False,
    resets: Resets | None = None,
    zoneout: tuple[float, ...] = (),
    num_threads: int,
) -> None:
    """Run over the rows or tokens `x` and write `y`, `state` and, where wanted, `cells`.

    `resets` say which steps begin something new, in either direction.
    """
    if resets is not None and reverse:
        resets = resets.backwards(batch_sizes)
    if any(zoneout):
        _infer_zoneout(
            prepared, x, state, y, cells, batch_sizes, reverse, resets, zoneout, num_threads
        )
        return
    shares: Array | None = None
    if x.ndim == 2:
        shares = prepared.table[x]
    elif products.blas_from < math.inf:
        shares = products.shares(x, prepared.weights.w_ih, prepared.weights.bias)
    kernel, rows = chooser.kernels.infer, x
    if shares is not None:
        kernel, rows = chooser.kernels.infer_shares, shares
    kernel(
        prepared.packed,
        rows,
        state,
        y,
        cells=cells,
        batch_sizes=batch_sizes,
        reverse=reverse,
        resets=resets,
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
    resets: Resets | None,
    zoneout: tuple[float, ...],
    threads: int,
) -> None:
    for step, count in _steps(x, batch_sizes, reverse):
        now = tuple(part[:count] for part in state)
        if resets is not None:
            resets.restart(resets.rows[step][0], now)
        before = tuple(part.copy() for part in now)
        infer(prepared, x[step], now, y[step], num_threads=threads)
        # The expectation of what training draws; nothing is kept of an infinite state
        # where nothing is to be.
        with np.errstate(all="ignore"):
            for part, old, rate in zip(now, before, zoneout, strict=True):
                if rate:
                    part *= 1 - rate
                    part += rate * old
        y[step] = now[0]
        if cells is not None:
            cells[step] = now[1]


class Tape(NamedTuple):
    """What `forward` leaves for `backward`; `y` are the outputs.

    `prepared` are the weights that ran, `dropped` what recurrent dropout multiplied the
    columns of their w_hh by. There is one stretch, or with zoneout one for each step.
    """

    prepared: Prepared
    y: Array
    stretches: list[Stretch]
    dropped: Array | None

    def arrays(self) -> Iterator[Array]:
        """Every array that this holds apart from parameters and packed weights."""
        if self.dropped is not None:
            yield self.dropped
            yield self.prepared.weights.w_hh
        yield self.y
        for stretch in self.stretches:
            yield from stretch.arrays()

    def astype(self, dtype: np.dtype[Any]) -> Tape:
        """Return this in another dtype, its numbers converted."""
        return Tape(
            Prepared(self.prepared.weights.astype(dtype)),
            self.y.astype(dtype),
            [stretch.astype(dtype) for stretch in self.stretches],
            None if self.dropped is None else self.dropped.astype(dtype),
        )


def forward(
    prepared: Prepared,
    x: Array,
    state: State,
    generator: np.random.Generator | None = None,
    *,
    batch_sizes: BatchSizes = None,
    reverse: bool = False,
    resets: Resets | None = None,
    recurrent_dropout: float = 0.0,
    zoneout: tuple[float, ...] = (),
    num_threads: int | None = None,
) -> Tape:
    """Run over the rows or tokens `x` and keep what `backward` needs.

    `state` goes from the initial to the final one. `resets` are those of `infer`. Dropout
    and zoneout draw from the `generator`.
    """
    if resets is not None and reverse:
        resets = resets.backwards(batch_sizes)
    threads, dropped = thread_limits.resolve(num_threads), None
    if recurrent_dropout:
        assert generator is not None
        # Leaving units of h out of every product is the same as scaling columns of w_hh.
        weights = prepared.weights
        keep = generator.random(weights.w_hh.shape[1]) >= recurrent_dropout
        dropped = np.divide(keep, 1 - recurrent_dropout, dtype=weights.w_hh.dtype)
        with np.errstate(all="ignore"):
            prepared = Prepared(weights._replace(w_hh=weights.w_hh * dropped))
    if not any(zoneout):
        stretch = run(
            prepared,
            x,
            state,
            batch_sizes=batch_sizes,
            reverse=reverse,
            resets=resets,
            num_threads=threads,
        )
        return Tape(prepared, stretch.y, [stretch], dropped)
    assert generator is not None
    w_hh = prepared.weights.w_hh
    y, stretches = np.empty((*x.shape[:2], w_hh.shape[1]), w_hh.dtype), []
    for rows, count in _steps(x, batch_sizes, reverse):
        now = tuple(part[:count] for part in state)
        here = None if resets is None else resets.at(rows)
        if here is not None:
            # What zoneout keeps of the old state is of that one, too.
            here.restart(here.rows[0], now)
        stretch = run(prepared, x[rows], now, num_threads=threads)
        kept = tuple(
            generator.random(part.shape) < rate
            for part, rate in zip(now, zoneout, strict=True)
        )
        for part, old, keeps in zip(now, stretch.initial, kept, strict=True):
            np.copyto(part, old, where=keeps)
        y[rows] = now[0]
        stretches.append(stretch._replace(resets=here, rows=rows, kept=kept))
    return Tape(prepared, y, stretches, dropped)


def backward(
    tape: Tape,
    dy: Array,
    dstate: State,
    dresets: State | None = None,
    *,
    num_threads: int | None = None,
) -> tuple[Array | None, Weights]:
    """Return the gradients of the rows (None for tokens) and of the weights.

    `dy` is the gradient of the outputs; `dstate` goes from the gradient of the final state
    to that of the initial one. To `dresets`, of the same form, those of the state that rows
    were reset to are added, where they are wanted. The tape stays as it is.
    """
    threads, prepared = thread_limits.resolve(num_threads), tape.prepared
    prepared.renew()
    gradients, stretches = prepared.weights.zeros(), tape.stretches
    dx = None
    if not stretches or stretches[0].x.dtype.kind not in "iu":
        dx = empty_like_rows(tape.y, prepared.weights.w_ih.shape[1], dy.dtype)
    for stretch in reversed(stretches):
        back = _step_back if stretch.kept else run_back
        back(prepared, stretch, dy, dstate, dx, gradients, dresets, num_threads=threads)
    if tape.dropped is not None:
        with np.errstate(all="ignore"):
            gradients.w_hh[...] *= tape.dropped
    return dx, gradients


def _step_back(
    prepared: Prepared,
    step: Stretch,
    dy: Array,
    dstate: State,
    dx: Array | None,
    gradients: Weights,
    dresets: State | None,
    *,
    num_threads: int,
) -> None:
    """Do what `run_back` does for one step of a sequence, after which came zoneout."""
    now = tuple(part[: len(step.initial[0])] for part in dstate)
    dstep = dy[step.rows]
    into, nothing = None if dx is None else dx[step.rows], np.zeros_like(dstep)
    with np.errstate(all="ignore"):
        now[0][...] += dstep[0]
        # What was kept of the old state bypasses the step.
        bypass = [part * keep for part, keep in zip(now, step.kept, strict=True)]
        for part, around in zip(now, bypass, strict=True):
            part -= around
        # The step began with its reset, so the kernels know of none.
        steps = step._replace(resets=None)
        run_back(prepared, steps, nothing, now, into, gradients, num_threads=num_threads)
        for part, around in zip(now, bypass, strict=True):
            part += around
        if step.resets is not None:
            step.resets.cut(step.resets.rows[0], now, dresets)


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
