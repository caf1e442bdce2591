"""Steps that the kernels run in one call, and the products that stand outside their loop.

Every product that does not depend on the step before is one large product here; the
kernels do the rest, step by step. Arrays are rows as ``gatewise.kernels`` describes them.
Nothing here checks its arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import cells, chooser, products, ragged
from gatewise.kernels.formats import TO_BFLOAT16
from gatewise.kernels.resets import Resets
from gatewise.weights import Prepared, Weights

Array = NDArray[Any]
State = tuple[Array, ...]
BatchSizes = NDArray[np.int64] | None

__all__ = ["BatchSizes", "State", "Stretch", "empty_like_rows", "run", "run_back"]

# So many sequences go back through all steps before the next do, and more where there are
# so many bytes of weights that no cache holds them.
_BLOCK_ROWS = 128
_FAR_BLOCK_ROWS = 512
_FAR_WEIGHTS = 12 << 20
# A part of a backward pass has at least so many rows, and more where they are narrow.
_PART_ROWS = 256
_PART_BYTES = 1 << 21


class Stretch(NamedTuple):
    """What the way back needs to know of one call of the kernels; `y` are the outputs.

    `resets` are those that the kernels were given. `rows` are its place in the whole
    sequence. Where zoneout comes between the steps, a stretch is a single one, and `kept`
    says which parts of the old state then stayed.
    """

    x: Array
    gates: Array
    extra: Array | None
    y: Array
    initial: State
    batch_sizes: BatchSizes
    reverse: bool
    resets: Resets | None = None
    rows: Any = np.s_[:]
    kept: tuple[NDArray[np.bool_], ...] = ()

    def states(self, index: int) -> Array:
        """The state of that index, h or c, that every step left."""
        states = (self.y, self.extra)[index]
        assert states is not None
        return states

    def of(self, rows: slice) -> Stretch:
        """The same of some rows of a batch that is not ragged, as views."""
        where = np.s_[:, rows]
        return self._replace(
            x=self.x[where],
            gates=self.gates[where],
            extra=None if self.extra is None else self.extra[where],
            y=self.y[where],
            initial=_of_rows(self.initial, rows),
            resets=None if self.resets is None else self.resets.at(where),
        )

    def arrays(self) -> Iterator[Array]:
        """Every array that this holds."""
        yield from (self.x, self.gates, self.y, *self.initial, *self.kept)
        if self.extra is not None:
            yield self.extra
        if self.resets is not None:
            yield self.resets.rows

    def astype(self, dtype: np.dtype[Any]) -> Stretch:
        """Return this in another dtype, its rows and states converted."""
        return self._replace(
            x=self.x.astype(dtype),
            gates=self.gates.astype(dtype),
            extra=None if self.extra is None else self.extra.astype(dtype),
            y=self.y.astype(dtype),
            initial=tuple([part.astype(dtype) for part in self.initial]),
            resets=None if self.resets is None else self.resets.astype(dtype),
        )


def run(
    prepared: Prepared,
    x: Array,
    state: State,
    *,
    y: Array | None = None,
    batch_sizes: BatchSizes = None,
    reverse: bool = False,
    resets: Resets | None = None,
    num_threads: int,
) -> Stretch:
    """Run over rows `x`, or integer tokens ``(time, batch)``, and keep what comes of it.

    `state` is overwritten with the final state; of the initial one there is a copy. The
    outputs go to `y` where that is given.
    """
    initial = tuple([s.copy() for s in state])
    weights = prepared.weights
    dtype, width = state[0].dtype, len(weights.w_ih)
    cell = cells.look_up(weights.cell)
    rows: Array | None = x
    if y is None:
        y = empty_like_rows(x, weights.w_hh.shape[1], dtype)
    if cell.keeps_gates:
        # What only the kernels see has the rows of a step side by side.
        gates = chooser.kernels.empty((*x.shape[:2], width), dtype)
        extra = chooser.kernels.empty((*x.shape[:2], width // cell.gates), dtype)
    else:
        gates, extra = y, None
    if x.dtype.kind in "iu":
        # A product with a one-hot row is that row of the table. Checked above, no token
        # needs to be clipped; other modes make a copy.
        np.take(prepared.table, x, axis=0, out=gates, mode="clip")
        rows = None
    elif products.blas_from < math.inf and (
        products.shares(x, weights.w_ih, weights.bias, gates) is not None
    ):
        rows = None
    chooser.kernels.forward(
        prepared.packed,
        gates,
        state,
        y,
        extra,
        x=rows,
        batch_sizes=batch_sizes,
        reverse=reverse,
        resets=resets,
        num_threads=num_threads,
    )
    return Stretch(x, gates, extra, y, initial, batch_sizes, reverse, resets)


def run_back(
    prepared: Prepared,
    stretch: Stretch,
    dy: Array,
    dstate: State,
    dx: Array | None,
    gradients: Weights | None,
    dresets: State | None = None,
    *,
    num_threads: int,
) -> None:
    """Write the gradient of rows to `dx`, and add those of the weights to `gradients`.

    What is None is not wanted. `dy` is the gradient of the outputs; `dstate`, that of the
    final state, is overwritten with that of the initial one. To `dresets` are added those
    of the states that rows were reset to. The stretch stays as it is.
    """
    batch, weights = stretch.gates.shape[1], prepared.weights
    is_far = weights.w_ih.nbytes + weights.w_hh.nbytes > _FAR_WEIGHTS
    most = _FAR_BLOCK_ROWS if is_far else _BLOCK_ROWS
    count = 1 if stretch.batch_sizes is not None else math.ceil(batch / most)
    if count <= 1:
        _run_back(
            prepared, stretch, dy, dstate, dx, gradients, dresets, num_threads=num_threads
        )
        return
    # What the rows of a block left is still in a cache when the next part needs it. Threads
    # do not change the blocks, nor so the order in which gradients are added up.
    for block in range(count):
        rows = slice(batch * block // count, batch * (block + 1) // count)
        _run_back(
            prepared,
            stretch.of(rows),
            dy[:, rows],
            _of_rows(dstate, rows),
            None if dx is None else dx[:, rows],
            gradients,
            None if dresets is None else _of_rows(dresets, rows),
            num_threads=num_threads,
        )


def _of_rows(state: State, rows: slice) -> State:
    """What some rows have of a state, as views."""
    return tuple([part[rows] for part in state])


def _run_back(
    prepared: Prepared,
    stretch: Stretch,
    dy: Array,
    dstate: State,
    dx: Array | None,
    gradients: Weights | None,
    dresets: State | None,
    *,
    num_threads: int,
) -> None:
    """Do the work of `run_back` for a block of rows, part by part."""
    weights, packed = prepared.weights, prepared.packed
    has_dextra = weights.bias_hn is not None or weights.w_hr is not None
    for part in _parts(stretch):
        steps = part.stretch
        dgates = _empty_padded(steps.gates)
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
            resets=steps.resets,
            dresets=dresets,
            num_threads=num_threads,
        )
        if gradients is not None:
            with np.errstate(all="ignore"):
                _add_products(gradients, part, dgates, dextra, num_threads)
        if dx is None:
            continue
        into = dx[part.rows]
        if products.blas_from == math.inf or not products.write_back(
            dgates, weights.w_ih, into
        ):
            chooser.kernels.project_back(packed, dgates, into, num_threads=num_threads)


def _empty_padded(like: Array) -> Array:
    """An array to be filled, whose rows do not all begin in the same places of a cache."""
    time, batch, features = like.shape
    padding = 64 // like.itemsize
    padded: Array = chooser.kernels.empty((time, batch, features + padding), like.dtype)
    return padded[..., :features]


class _Part(NamedTuple):
    """The steps from `start` to `stop` of a whole stretch, as a stretch of their own.

    Their rows stand where `rows` says.
    """

    whole: Stretch
    start: int
    stop: int
    rows: Any
    stretch: Stretch


def _parts(whole: Stretch) -> Iterator[_Part]:
    """Cut a stretch, the last steps first.

    The gradients of the gates are the largest arrays of a backward pass. Those of one part
    fit a cache, and only one part's exist at a time.
    """
    time, batch = whole.gates.shape[:2]
    sizes = whole.batch_sizes
    if sizes is not None:
        ends = np.concatenate([[0], np.cumsum(sizes)])
        time, batch = len(sizes), int(sizes[0]) if len(sizes) else 0
    rows = max(
        _PART_ROWS, _PART_BYTES // max(whole.gates.itemsize * whole.gates.shape[2], 1)
    )
    steps = max(rows // max(batch, 1), 1)
    if steps >= time:
        yield _Part(whole, 0, time, np.s_[:], whole)
        return
    for first in range(0, time, steps):
        start, stop = first, min(first + steps, time)
        if not whole.reverse:
            start, stop = time - stop, time - start
        where: Any = np.s_[start:stop]
        if sizes is not None:
            where = np.s_[:, ends[start] : ends[stop]]
        part = Stretch(
            whole.x[where],
            whole.gates[where],
            None if whole.extra is None else whole.extra[where],
            whole.y[where],
            _state_before(whole, start, stop),
            None if sizes is None else sizes[start:stop],
            whole.reverse,
            None if whole.resets is None else whole.resets.at(where),
        )
        yield _Part(whole, start, stop, where, part)


def _state_before(whole: Stretch, start: int, stop: int) -> State:
    """The state that the steps from `start` to `stop` began with."""
    time = len(whole.y) if whole.batch_sizes is None else len(whole.batch_sizes)
    previous = stop if whole.reverse else start - 1
    if not 0 <= previous < time:
        return whole.initial
    where: Any = previous
    if whole.batch_sizes is not None:
        end = int(whole.batch_sizes[: previous + 1].sum())
        where = np.s_[0, end - whole.batch_sizes[previous] : end]
    state = tuple([part.copy() for part in whole.initial])
    for index, part in enumerate(state):
        # Sequences that have not begun yet still have their initial state.
        running = whole.states(index)[where]
        part[: len(running)] = running
    return state


def _add_products(
    gradients: Weights, part: _Part, dgates: Array, dextra: Array | None, threads: int
) -> None:
    """Add what the steps of a part contribute to the gradients of the weights."""
    steps = part.stretch

    # Looked up once: a small part is over in a few microseconds.
    kernel = products.outer if products.blas_from < math.inf else chooser.kernels.outer
    in_bfloat16 = gradients.weight_format == TO_BFLOAT16

    def outer(
        a: Array, b: Array, out: Array, second: tuple[Array, Array] | None = None
    ) -> None:
        kernel(a, b, out, second=second, in_bfloat16=in_bfloat16, num_threads=threads)

    gradients.bias[...] += _sum(dgates)
    h, cell = _states_before(part, 0), cells.look_up(gradients.cell)
    own = len(gradients.w_hh) // cell.gates * cell.gates_of_h
    is_token, of_x = steps.x.dtype.kind in "iu", None
    if cell.gates_of_h == cell.gates:
        # The gradients of both are made of the same rows, which are read once.
        of_x = None if is_token else (steps.x, gradients.w_ih)
        outer(dgates, h, gradients.w_hh, of_x)
    else:
        outer(dgates[..., :own], h, gradients.w_hh[:own])
    if gradients.bias_hn is not None:
        assert dextra is not None
        outer(dextra, h, gradients.w_hh[own:])
        gradients.bias_hn[...] += _sum(dextra)
    elif cell.gates_of_h < cell.gates:
        assert steps.extra is not None
        outer(dgates[..., own:], steps.extra, gradients.w_hh[own:])
    if gradients.w_hr is not None:
        assert dextra is not None
        assert steps.extra is not None
        hidden = np.empty_like(steps.extra, order="C")
        states = np.ascontiguousarray(steps.extra)
        chooser.kernels.activate(gradients.activations.output, states, hidden)
        hidden *= steps.gates[..., 3 * steps.extra.shape[2] :]
        outer(dextra, hidden, gradients.w_hr)
    if gradients.peepholes is not None:
        assert steps.extra is not None
        di, df, _, do = np.split(dgates, 4, axis=2)
        before = _states_before(part, 1)
        terms = [di * before, df * before, do * steps.extra]
        gradients.peepholes[...] += [term.sum(axis=(0, 1)) for term in terms]
    if is_token:
        # The batch's own copy, checked and aligned; only its order may be another one.
        tokens = np.ascontiguousarray(steps.x.reshape(-1))
        table = np.zeros_like(gradients.w_ih.T, order="C")
        chooser.kernels.add_by_token(tokens, dgates, table)
        gradients.w_ih[...] += table.T
    elif of_x is None:
        outer(dgates, steps.x, gradients.w_ih)


def _sum(rows: Array) -> Array:
    """The sum of all rows."""
    total: Array = np.zeros(rows.shape[2], rows.dtype)
    chooser.kernels.add_rows(rows, total)
    return total


def _states_before(part: _Part, index: int) -> Array:
    """The state of that index, h or c, that each step of a part started from."""
    before, resets = _states_passed(part, index), part.stretch.resets
    if resets is None:
        return before
    return np.where(resets.rows[..., None], resets.state[index], before)


def _states_passed(part: _Part, index: int) -> Array:
    """The state of that index that each step of a part was passed by the one before."""
    whole, steps = part.whole, part.stretch
    if steps.batch_sizes is None:
        shift = 1 if steps.reverse else -1
        start, stop = part.start + shift, part.stop + shift
        if start >= 0 and stop <= len(whole.y):
            return whole.states(index)[start:stop]
    states, initial = steps.states(index), steps.initial[index]
    before = np.empty_like(states)
    if not states.size:
        return before
    if steps.batch_sizes is None:
        if steps.reverse:
            before[-1], before[:-1] = initial, states[1:]
        else:
            before[0], before[1:] = initial, states[:-1]
        return before
    # One copy for all steps: there are as many of them as the longest sequence has.
    sizes = steps.batch_sizes
    if not steps.reverse:
        first = sizes[0]
        before[0, :first] = initial[:first]
        sources = ragged.rows_before(sizes)
        np.take(states[0], sources, axis=0, out=before[0, first:], mode="clip")
        return before
    sequences = ragged.sequences(sizes)
    running = sequences < ragged.repeated(np.append(sizes[1:], 0), sizes)
    sources = np.arange(states.shape[1]) + ragged.repeated(sizes, sizes)
    before[0, running] = states[0, sources[running]]
    before[0, ~running] = initial[sequences[~running]]
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
