"""The kernels in plain NumPy: the fallback, the reference, the page to read for the maths.

Every function here has a compiled twin of the same name, signature and docstring in
``kernels.native``. A kernel runs one layer in one direction over a whole sequence. It
trusts its arguments: shapes and dtypes were checked above.

Rows
    Sequences are ``(time, batch, features)`` with contiguous features; time and batch may
    have any stride. A ragged batch holds only the steps that exist: its sequences are
    sorted by falling length, its arrays are ``(1, total_steps, features)`` with the rows of
    one time step after those of the step before, and ``batch_sizes[t]`` says how many rows
    step ``t`` has. ``batch_sizes=None`` means a plain batch.
State
    A tuple of ``(batch, features)`` arrays, ``(h,)`` or for the LSTM ``(h, c)``, which is
    read as the initial state and overwritten with the final one.
Cells
    ``"rnn_tanh"``, ``"rnn_relu"``, ``"lstm"``, ``"gru"`` (the reset gate applied after the
    recurrent product) and ``"gru_reset_before"`` (before it). Gates stand in PyTorch's
    order: LSTM i f g o, GRU r z n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import cells, formats
from gatewise.kernels.activations import Activations
from gatewise.kernels.numpy.columns import (
    cell_backward,
    cell_forward,
    run_backward,
    run_forward,
)
from gatewise.kernels.numpy.equations import BACKWARD, FORWARD, GATES, Packed, widened
from gatewise.kernels.numpy.stepper import Stepper

Array = NDArray[Any]

__all__ = [
    "Packed",
    "PackedLinear",
    "add_by_token",
    "backward",
    "cell_backward",
    "cell_forward",
    "empty",
    "forward",
    "infer",
    "infer_shares",
    "linear",
    "linear_back",
    "outer",
    "pack",
    "pack_linear",
    "project_back",
    "release_memory",
    "relu",
    "run_backward",
    "run_forward",
    "sigmoid",
    "softmax",
    "stepper",
    "tanh",
]


def pack(
    cell: str,
    w_ih: Array,
    w_hh: Array,
    bias: Array,
    *,
    bias_hn: Array | None = None,
    w_hr: Array | None = None,
    peepholes: Array | None = None,
    activations: Activations,
    weight_format: str,
    scales: tuple[Array | None, ...] = (None, None, None),
) -> Packed:
    """Bring the weights of one direction of one layer into the form the kernels run on.

    With H hidden units, I inputs and G gates, `w_ih` is ``(G*H, I)``, `w_hh` ``(G*H, P)``
    and `bias` ``(G*H,)``, the sum of the input and the hidden biases. `bias_hn` ``(H,)`` is
    the part of the GRU's n bias inside the reset gate's product (cell "gru" only, where
    `bias` leaves it out). `w_hr` ``(P, H)`` projects the LSTM's output; without it P is H.
    `peepholes` ``(3, H)`` are the LSTM's connections from c to the gates i, f and o. The
    packed form does not follow later changes of the arrays.

    `weight_format` is how `w_ih`, `w_hh` and `w_hr` come. For inference in float32 it may
    be a narrow one; where that is scaled, `scales`, a vector for each of the three,
    multiply the rows of their matrix. A cell, a format or an activation that is in no table
    is a ValueError.
    """
    cells.look_up(cell)
    formats.look_up(weight_format)
    if cell == "rnn":
        cell = f"rnn_{activations.candidate.name}"
    matrices = (w_ih, w_hh, w_hr)
    w_ih, w_hh, w_hr = (
        widened(w, s, bias.dtype) for w, s in zip(matrices, scales, strict=True)
    )
    transposed = w_ih.T.copy(), w_hh.T.copy()
    return Packed(cell, w_ih, w_hh, bias, bias_hn, w_hr, peepholes, *transposed)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array with nothing in it yet, for what the other kernels fill."""
    return np.empty(shape, dtype)


def release_memory() -> int:
    """Give memory that waits for the next arrays back to the system; return its bytes."""
    return 0


def stepper(
    stages: Sequence[tuple[Any, ...]],
    batch: int,
    features: int,
    dtype: np.dtype[Any],
    *,
    num_threads: int = 1,
) -> Callable[[Any], Array | None]:
    """Return a function that runs layers upon layers a step or a chunk on, in place.

    `stages` are what the layers do, one after another:

    - ``("table", table)`` gives the row of `table` that a token names. It is the first.
    - ``("recurrent", packed, state)`` advances `state`. If it is the first, a fourth
      element can be a table with the input's share of the gates for every token.
    - ``("linear", packed)``
    - ``("relu",)``, ``("tanh",)``, ``("sigmoid",)``, ``("softmax",)``

    The function takes a step ``(batch, features)`` of `dtype`, for a batch of one also
    ``(features,)``, or a chunk ``(batch, time, features)``. Where the first stage has a
    table, it takes integers without the last axis. It returns the last stage's output, for
    a step always the same array, for a chunk a new one.

    It does nothing and returns None where `x` is something else: of another shape or dtype,
    a token that is not in the table, numbers that are not aligned or whose features are not
    contiguous, the array that it returned for a step. Where it raises, the states are those
    from before.
    """
    first, states = stages[0], [array for s in stages for array in _state_of(s)]
    table = first[-1] if first[0] == "table" or len(first) == 4 else ()
    functions = [_stage(stage, num_threads) for stage in stages]
    outputs = features
    for stage in stages:
        outputs = _outputs(stage, outputs)
    rows = None if first[0] == "table" else features
    return Stepper(functions, states, batch, rows, outputs, len(table), dtype)


def _state_of(stage: tuple[Any, ...]) -> tuple[Array, ...]:
    state: tuple[Array, ...] = stage[2] if stage[0] == "recurrent" else ()
    return state


def _outputs(stage: tuple[Any, ...], features: int) -> int:
    """How many features a stage gives."""
    kind, *what = stage
    if kind == "table":
        features = what[0].shape[1]
    elif kind == "linear":
        features = len(what[0].weight)
    elif kind == "recurrent":
        features = what[1][0].shape[1]
    return features


def _stage(stage: tuple[Any, ...], num_threads: int) -> Callable[[Array], Array]:
    """What a stage does with rows or with tokens."""
    kind, *what = stage

    def look_up(rows: Array) -> Array:
        found: Array = what[0][rows]
        return found

    def project(rows: Array) -> Array:
        projected = linear(what[0], np.ascontiguousarray(rows), num_threads=num_threads)
        assert projected is not None
        return projected

    def activate(rows: Array) -> Array:
        rows = np.ascontiguousarray(rows)
        values = rows.reshape(-1, rows.shape[-1]) if kind == "softmax" else rows.reshape(-1)
        out = np.empty_like(rows)
        _ACTIVATIONS[kind](values, out.reshape(values.shape))
        return out

    def advance(rows: Array) -> Array:
        packed, state, *table = what
        y = np.empty((*rows.shape[:2], state[0].shape[1]), state[0].dtype)
        if rows.ndim == 2:
            infer_shares(packed, table[0][rows], state, y, num_threads=num_threads)
        else:
            infer(packed, rows, state, y, num_threads=num_threads)
        return y

    return {"table": look_up, "recurrent": advance, "linear": project}.get(kind, activate)


def project_back(packed: Packed, dgates: Array, dx: Array, *, num_threads: int = 1) -> None:
    """Write ``dgates @ w_ih`` into `dx`: the gradient of all steps' input at once."""
    with np.errstate(all="ignore"):
        np.matmul(dgates, packed.w_ih, out=dx)


def outer(a: Array, b: Array, out: Array, *, num_threads: int = 1) -> None:
    """Add ``a_row outer b_row``, summed over all rows, to `out`: a gradient of weights."""
    with np.errstate(all="ignore"):
        out += np.tensordot(a, b, axes=((0, 1), (0, 1)))


class PackedLinear(NamedTuple):
    """A Linear's weights and bias in the form its backend runs on."""

    weight: Array
    bias: Array | None


def pack_linear(weight: Array, bias: Array | None) -> PackedLinear:
    """Bring a Linear's `weight` ``(O, I)`` and `bias` ``(O,)`` into that form.

    The arrays are referred to, and may not change any more.
    """
    return PackedLinear(weight, bias)


def linear(packed: PackedLinear, x: Array, *, num_threads: int = 1) -> Array | None:
    """Return ``x @ weight.T + bias`` for `x` ``(..., I)``, or None.

    None is for what is no array of the weights' dtype, has another shape, or whose rows do
    not lie at one or two distances, each aligned and with contiguous features.
    """
    weight, bias = packed
    if type(x) is not np.ndarray or x.dtype != weight.dtype or not _is_rows(x):
        return None
    if x.shape[-1] != weight.shape[1]:
        return None
    with np.errstate(all="ignore"):
        y: Array = np.matmul(x, weight.T)
        if bias is not None:
            y += bias
    return y


def linear_back(
    packed: PackedLinear, dy: Array, dx: Array, *, num_threads: int = 1
) -> None:
    """Write ``dy @ weight`` into `dx`: the gradient of a Linear's input, for rows."""
    with np.errstate(all="ignore"):
        np.matmul(dy, packed.weight, out=dx)


def add_by_token(tokens: NDArray[np.int64], rows: Array, out: Array) -> None:
    """Add every row to the row of `out` that its token names: ``one_hot.T @ rows``.

    `tokens` are one-dimensional, in the rows' order of time and batch.
    """
    with np.errstate(all="ignore"):
        np.add.at(out, tokens, rows.reshape(tokens.size, out.shape[1]))


def relu(z: Array, out: Array) -> None:
    """Write ``max(z, 0)`` into `out`; both are one-dimensional and contiguous."""
    np.maximum(z, 0, out=out)


def sigmoid(z: Array, out: Array) -> None:
    """Write ``1 / (1 + exp(-z))`` into `out`; both are one-dimensional and contiguous."""
    with np.errstate(all="ignore"):
        # exp of a number that is not positive cannot overflow.
        t = np.exp(-np.abs(z))
        np.divide(np.where(z >= 0, 1, t), 1 + t, out=out)


def tanh(z: Array, out: Array) -> None:
    """Write ``tanh(z)`` into `out`; both are one-dimensional and contiguous."""
    np.tanh(z, out=out)


def softmax(z: Array, out: Array) -> None:
    """Write the softmax of every row of contiguous `z` ``(rows, classes)`` into `out`."""
    if z.size:
        with np.errstate(all="ignore"):
            np.exp(z - z.max(axis=1, keepdims=True), out=out)
            out /= out.sum(axis=1, keepdims=True)


_ACTIVATIONS: dict[str, Callable[[Array, Array], None]] = {
    "relu": relu,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "tanh": tanh,
}


def infer(
    packed: Packed,
    x: Array,
    state: tuple[Array, ...],
    y: Array,
    *,
    cells: Array | None = None,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    num_threads: int = 1,
) -> None:
    """Run over `x` and write the outputs to `y`, keeping nothing for a backward pass.

    `x` holds I features a row, `y` P. `state` goes from the initial to the final one. For
    an LSTM, `cells` receives the cell state of every step where it is wanted. `reverse`
    runs from each sequence's own end to its beginning; row t still belongs to step t. Up to
    `num_threads` threads share the work; NumPy's own products keep to the number that its
    user has set.
    """
    shares = np.empty((*x.shape[:2], len(packed.w_ih)), x.dtype)
    with np.errstate(all="ignore"):
        np.matmul(x, packed.w_ih_transposed, out=shares)
        shares += packed.bias
    infer_shares(
        packed, shares, state, y, cells=cells, batch_sizes=batch_sizes, reverse=reverse
    )


def infer_shares(
    packed: Packed,
    shares: Array,
    state: tuple[Array, ...],
    y: Array,
    *,
    cells: Array | None = None,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    num_threads: int = 1,
) -> None:
    """Run as `infer` does, given the input's shares of the gates, biases included.

    `shares` are ``(.., G*H)``, and are overwritten.
    """
    hidden_size = packed.w_ih.shape[0] // GATES[packed.cell]
    extra = np.empty((*shares.shape[:2], hidden_size), y.dtype) if cells is None else cells
    forward(packed, shares, state, y, extra, batch_sizes=batch_sizes, reverse=reverse)


def forward(
    packed: Packed,
    gates: Array,
    state: tuple[Array, ...],
    y: Array,
    extra: Array | None,
    *,
    x: Array | None = None,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    num_threads: int = 1,
) -> None:
    """Run over a sequence and keep what the backward pass reads.

    `gates` ``(.., G*H)`` leaves as the gates' values. Without `x` it comes in as
    ``x @ w_ih.T + bias``. For an RNN it may be the same array as `y`. `extra` ``(.., H)``
    receives the LSTM's cell states, or for "gru" ``w_hn @ h + bias_hn``, or for
    "gru_reset_before" ``r * h``; an RNN needs none. `y`, `state`, `reverse` and
    `num_threads` are those of `infer`.
    """
    if x is not None:
        with np.errstate(all="ignore"):
            np.matmul(x, packed.w_ih_transposed, out=gates)
            gates += packed.bias
    step = FORWARD[packed.cell]
    gates_t, y_t, extra_t = (_by_step(a, batch_sizes) for a in (gates, y, extra))
    with np.errstate(all="ignore"):
        for t in _order(len(y_t), reverse):
            now = _rows(state, batch_sizes, t)
            step(packed, gates_t[t], now, y_t[t], extra_t[t])


def backward(
    packed: Packed,
    gates: Array,
    extra: Array | None,
    y: Array,
    initial: tuple[Array, ...],
    dy: Array,
    dstate: tuple[Array, ...],
    dgates: Array,
    dextra: Array | None,
    *,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    num_threads: int = 1,
) -> None:
    """Carry the gradient of a loss back through what `forward` ran.

    `gates`, `extra` and `y` are as `forward` left them, `initial` is the state it began
    with. `dy` is the gradient of the outputs; `dstate` comes in as that of the final state
    and leaves as that of the initial one. `dgates` ``(.., G*H)`` receives the gradient of
    ``x @ w_ih.T + bias`` and may be the same array as `gates`. `dextra` receives for "gru"
    the gradient ``(.., H)`` of ``w_hn @ h + bias_hn``, for an LSTM with `w_hr` the whole
    gradient ``(.., P)`` of each step's output; other cells need none.
    """
    step = BACKWARD[packed.cell]
    arrays = (gates, extra, y, dy, dgates, dextra)
    gates_t, extra_t, y_t, dy_t, dgates_t, dextra_t = (
        _by_step(a, batch_sizes) for a in arrays
    )
    with np.errstate(all="ignore"):
        for t in _order(len(y_t), not reverse):
            dnow = _rows(dstate, batch_sizes, t)
            dnow[0][...] += dy_t[t]
            # What the step started from: the LSTM's c, everybody else's h.
            values = extra_t if packed.cell == "lstm" else y_t
            before = _before(values, initial[-1], t, reverse)
            step(
                packed,
                gates_t[t],
                extra_t[t],
                y_t[t],
                before,
                dnow,
                dgates_t[t],
                dextra_t[t],
            )


def _order(time: int, reverse: bool) -> Iterator[int]:
    return iter(range(time - 1, -1, -1) if reverse else range(time))


def _by_step(array: Array | None, batch_sizes: NDArray[np.int64] | None) -> Any:
    """Something to index with a time step, giving that step's rows."""
    if array is None:
        return _Nothing()
    if batch_sizes is None:
        return array
    ends = np.cumsum(batch_sizes)
    return [array[0, end - size : end] for end, size in zip(ends, batch_sizes, strict=True)]


def _rows(
    state: tuple[Array, ...], batch_sizes: NDArray[np.int64] | None, t: int
) -> tuple[Array, ...]:
    """The part of a state that step `t` has."""
    if batch_sizes is None:
        return state
    return tuple(array[: batch_sizes[t]] for array in state)


def _is_rows(x: Array) -> bool:
    """Whether the features of aligned rows are contiguous."""
    if x.ndim == 0 or not x.size:
        return x.ndim > 0
    contiguous = x.shape[-1] == 1 or x.strides[-1] == x.itemsize
    return contiguous and bool(x.flags.aligned)


class _Nothing:
    def __getitem__(self, t: int) -> None:
        return None


def _before(values: Any, initial: Array, t: int, reverse: bool) -> Array:
    """The state that step `t` started from, given the states that the steps left."""
    rows = len(values[t])
    previous = t + 1 if reverse else t - 1
    if not 0 <= previous < len(values):
        return initial[:rows]
    running: Array = values[previous][:rows]
    if len(running) == rows:
        return running
    # Backwards in time, sequences join at their own ends with their initial state.
    return np.concatenate([running, initial[len(running) : rows]])
