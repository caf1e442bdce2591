"""One direction of one layer: the kernels and the products that stand outside their loop.

What the notebook's functions and the layers share. Every product that does not depend on
the step before is one large product here; the kernels do the rest, step by step. Arrays are
rows as ``kernels.numpy`` describes them. Nothing here checks its arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import chooser, thread_limits
from gatewise.kernels.numpy.equations import GATES

Array = NDArray[Any]

# What the rows of narrow w_ih, w_hh and w_hr are multiplied by.
Scales = tuple[Array | None, Array | None, Array | None]
NO_SCALES: Scales = (None, None, None)

# A part of a backward pass has at least so many rows, and more where they are narrow.
_PART_ROWS = 256
_PART_BYTES = 1 << 21


class Weights(NamedTuple):
    """The canonical weights of one direction of one layer, or their gradients.

    The fields are the arguments of the kernels' ``pack``.
    """

    cell: str
    w_ih: Array
    w_hh: Array
    bias: Array
    bias_hn: Array | None = None
    w_hr: Array | None = None
    peepholes: Array | None = None

    def pack(self, scales: Scales = NO_SCALES) -> Any:
        """The form in which the present backend's kernels take these weights."""
        return chooser.kernels.pack(
            self.cell,
            self.w_ih,
            self.w_hh,
            self.bias,
            bias_hn=self.bias_hn,
            w_hr=self.w_hr,
            peepholes=self.peepholes,
            scales=scales,
        )


class Tape(NamedTuple):
    """What the backward pass needs to know of a forward one; `y` are the outputs."""

    x: Array
    gates: Array
    extra: Array | None
    y: Array
    initial: tuple[Array, ...]
    batch_sizes: NDArray[np.int64] | None
    reverse: bool


def forward(
    weights: Weights,
    packed: Any,
    x: Array,
    state: tuple[Array, ...],
    *,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    num_threads: int | None = None,
) -> Tape:
    """Run over rows `x`, or integer tokens ``(time, batch)``, and keep a tape.

    `state` is overwritten with the final state; the tape holds a copy of the initial one.
    """
    threads = thread_limits.resolve(num_threads)
    initial = tuple([s.copy() for s in state])
    dtype, width = state[0].dtype, len(weights.w_ih)
    rows: Array | None = x
    if weights.cell.startswith("rnn"):
        y = gates = empty_like_rows(x, width, dtype)
        extra = None
    else:
        y = empty_like_rows(x, weights.w_hh.shape[1], dtype)
        # What only the kernels see has the rows of a step side by side.
        gates = chooser.kernels.empty((*x.shape[:2], width), dtype)
        units = width // GATES[weights.cell]
        extra = chooser.kernels.empty((*x.shape[:2], units), dtype)
    if x.dtype.kind in "iu":
        # A product with a one-hot row is that row of the table. Checked above, no token
        # needs to be clipped; other modes make a copy.
        with np.errstate(all="ignore"):
            table = weights.w_ih.T + weights.bias
        np.take(table, x, axis=0, out=gates, mode="clip")
        rows = None
    chooser.kernels.forward(
        packed,
        gates,
        state,
        y,
        extra,
        x=rows,
        batch_sizes=batch_sizes,
        reverse=reverse,
        num_threads=threads,
    )
    return Tape(x, gates, extra, y, initial, batch_sizes, reverse)


def backward(
    weights: Weights,
    packed: Any,
    tape: Tape,
    dy: Array,
    dstate: tuple[Array, ...],
    *,
    num_threads: int | None = None,
) -> tuple[Array | None, Weights]:
    """Return the gradients of `x` (None for tokens) and of the weights.

    `dy` is the gradient of the outputs; `dstate`, that of the final state, is overwritten
    with that of the initial one. The tape stays as it is.
    """
    threads = thread_limits.resolve(num_threads)
    arrays = [a if a is None else np.zeros(a.shape, a.dtype) for a in weights[1:]]
    gradients = Weights(weights.cell, *arrays)  # type: ignore[arg-type]
    dx = None
    if tape.x.dtype.kind not in "iu":
        dx = empty_like_rows(tape.x, weights.w_ih.shape[1], dy.dtype)
    for part in _parts(tape):
        steps = part.tape
        dgates = _empty_padded(steps.gates)
        has_dextra = weights.cell == "gru" or weights.w_hr is not None
        dextra = _empty_padded(steps.y) if has_dextra else None
        chooser.kernels.backward(
            packed,
            steps.gates,
            steps.extra,
            steps.y,
            steps.initial,
            dy[part.rows],
            dstate,
            dgates,
            dextra,
            batch_sizes=steps.batch_sizes,
            reverse=steps.reverse,
            num_threads=threads,
        )
        with np.errstate(all="ignore"):
            _add_products(gradients, part, dgates, dextra, threads)
        if dx is not None:
            chooser.kernels.project_back(packed, dgates, dx[part.rows], num_threads=threads)
    return dx, gradients


def _empty_padded(like: Array) -> Array:
    """An array to be filled, whose rows do not all begin in the same places of a cache."""
    time, batch, features = like.shape
    padding = 64 // like.itemsize
    padded: Array = chooser.kernels.empty((time, batch, features + padding), like.dtype)
    return padded[..., :features]


class _Part(NamedTuple):
    """The steps from `start` to `stop` of a whole tape, as a tape of their own.

    Their rows stand where `rows` says.
    """

    whole: Tape
    start: int
    stop: int
    rows: Any
    tape: Tape


def _parts(tape: Tape) -> Iterator[_Part]:
    """Cut a tape, the last steps first.

    The gradients of the gates are the largest arrays of a backward pass. Those of one part
    fit a cache, and only one part's exist at a time.
    """
    time, batch = tape.gates.shape[:2]
    sizes = tape.batch_sizes
    if sizes is not None:
        ends = np.concatenate([[0], np.cumsum(sizes)])
        time, batch = len(sizes), int(sizes[0]) if len(sizes) else 0
    rows = max(_PART_ROWS, _PART_BYTES // max(tape.gates.itemsize * tape.gates.shape[2], 1))
    steps = max(rows // max(batch, 1), 1)
    if steps >= time:
        yield _Part(tape, 0, time, np.s_[:], tape)
        return
    for first in range(0, time, steps):
        start, stop = first, min(first + steps, time)
        if not tape.reverse:
            start, stop = time - stop, time - start
        where: Any = np.s_[start:stop]
        if sizes is not None:
            where = np.s_[:, ends[start] : ends[stop]]
        part = Tape(
            tape.x[where],
            tape.gates[where],
            None if tape.extra is None else tape.extra[where],
            tape.y[where],
            _state_before(tape, start, stop),
            None if sizes is None else sizes[start:stop],
            tape.reverse,
        )
        yield _Part(tape, start, stop, where, part)


def _state_before(tape: Tape, start: int, stop: int) -> tuple[Array, ...]:
    """The state that the steps from `start` to `stop` began with."""
    time = len(tape.y) if tape.batch_sizes is None else len(tape.batch_sizes)
    previous = stop if tape.reverse else start - 1
    if not 0 <= previous < time:
        return tape.initial
    where: Any = previous
    if tape.batch_sizes is not None:
        end = int(tape.batch_sizes[: previous + 1].sum())
        where = np.s_[0, end - tape.batch_sizes[previous] : end]
    state = tuple([part.copy() for part in tape.initial])
    for index, part in enumerate(state):
        # Sequences that have not begun yet still have their initial state.
        running = _states(tape, index)[where]
        part[: len(running)] = running
    return state


def _add_products(
    gradients: Weights, part: _Part, dgates: Array, dextra: Array | None, threads: int
) -> None:
    """Add what the steps of a part contribute to the gradients of the weights."""
    tape = part.tape

    def outer(a: Array, b: Array, out: Array) -> None:
        chooser.kernels.outer(a, b, out, num_threads=threads)

    gradients.bias[...] += dgates.sum(axis=(0, 1))
    h = _states_before(part, 0)
    if gradients.cell.startswith("gru"):
        both = 2 * tape.y.shape[2]
        outer(dgates[..., :both], h, gradients.w_hh[:both])
        if gradients.bias_hn is not None:
            assert dextra is not None
            outer(dextra, h, gradients.w_hh[both:])
            gradients.bias_hn[...] += dextra.sum(axis=(0, 1))
        else:
            assert tape.extra is not None
            outer(dgates[..., both:], tape.extra, gradients.w_hh[both:])
    else:
        outer(dgates, h, gradients.w_hh)
    if gradients.w_hr is not None:
        assert dextra is not None
        assert tape.extra is not None
        hidden = tape.gates[..., 3 * tape.extra.shape[2] :] * np.tanh(tape.extra)
        outer(dextra, hidden, gradients.w_hr)
    if gradients.peepholes is not None:
        assert tape.extra is not None
        di, df, _, do = np.split(dgates, 4, axis=2)
        before = _states_before(part, 1)
        products = [di * before, df * before, do * tape.extra]
        gradients.peepholes[...] += [product.sum(axis=(0, 1)) for product in products]
    if tape.x.dtype.kind in "iu":
        # The batch's own copy, checked and aligned; only its order may be another one.
        tokens = np.ascontiguousarray(tape.x.reshape(-1))
        table = np.zeros_like(gradients.w_ih.T, order="C")
        chooser.kernels.add_by_token(tokens, dgates, table)
        gradients.w_ih[...] += table.T
    else:
        outer(dgates, tape.x, gradients.w_ih)


def _states(tape: Tape, index: int) -> Array:
    states = (tape.y, tape.extra)[index]
    assert states is not None
    return states


def _states_before(part: _Part, index: int) -> Array:
    """The state of that index, h or c, that each step of a part started from."""
    whole, tape = part.whole, part.tape
    if tape.batch_sizes is None:
        shift = 1 if tape.reverse else -1
        start, stop = part.start + shift, part.stop + shift
        if start >= 0 and stop <= len(whole.y):
            return _states(whole, index)[start:stop]
    states, initial = _states(tape, index), tape.initial[index]
    before = np.empty_like(states)
    if not states.size:
        return before
    if tape.batch_sizes is None:
        if tape.reverse:
            before[-1], before[:-1] = initial, states[1:]
        else:
            before[0], before[1:] = initial, states[:-1]
        return before
    ends = np.cumsum(tape.batch_sizes)
    starts = ends - tape.batch_sizes
    previous_starts = np.roll(starts, -1 if tape.reverse else 1)
    previous_sizes = np.roll(tape.batch_sizes, -1 if tape.reverse else 1)
    previous_sizes[-1 if tape.reverse else 0] = 0
    for start, end, source, size in zip(
        starts, ends, previous_starts, previous_sizes, strict=True
    ):
        running = min(size, end - start)
        before[0, start : start + running] = states[0, source : source + running]
        before[0, start + running : end] = initial[running : end - start]
    return before


def empty_like_rows(like: Array, features: int, dtype: np.dtype[Any]) -> Array:
    """An array of rows to be filled, in the same order in memory as other rows."""
    (time, batch), empty = like.shape[:2], chooser.kernels.empty
    array: Array
    if time > 1 and batch > 1 and abs(like.strides[0]) > abs(like.strides[1]):
        array = empty((time, batch, features), dtype)
    else:
        array = empty((batch, time, features), dtype).swapaxes(0, 1)
    return array
