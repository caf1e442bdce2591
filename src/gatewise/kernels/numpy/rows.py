"""Packing a direction's weights in plain NumPy, and running over sequences of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels import formats
from gatewise.kernels.activations import Activations, stays_within_one
from gatewise.kernels.cells import look_up
from gatewise.kernels.numpy.activations import functions_of
from gatewise.kernels.numpy.equations import BACKWARD, FORWARD, Packed
from gatewise.kernels.numpy.narrow import NARROW, Narrow, add_product, narrow
from gatewise.kernels.resets import Resets

Array = NDArray[Any]

__all__ = ["backward", "forward", "infer", "infer_shares", "pack"]


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
    multiply the rows of their matrix. Where it has steps, products are those of
    integers, and in bfloat16 those of rows rounded to it. A cell, a format or an activation
    that is in no table is a ValueError.
    """
    has_c = len(look_up(cell).states) == 2
    formats.check(weight_format, bias.dtype)
    functions = functions_of(activations)
    last = activations.output if has_c else activations.candidate
    is_bounded = w_hr is None and stays_within_one(last)
    w_ih_transposed = _transposed(w_ih, weight_format, scales[0])
    w_hh_transposed = _transposed(w_hh, weight_format, scales[1], is_bounded=is_bounded)
    w_hr_transposed = None
    if w_hr is not None:
        w_hr_transposed = _transposed(w_hr, weight_format, scales[2])
    w_ih = formats.widened(w_ih, weight_format, scales[0])
    w_hh = formats.widened(w_hh, weight_format, scales[1])
    if w_hr is not None:
        w_hr = formats.widened(w_hr, weight_format, scales[2])
    return Packed(
        cell,
        functions,
        w_ih,
        w_hh,
        bias,
        bias_hn,
        w_hr,
        peepholes,
        w_ih_transposed,
        w_hh_transposed,
        w_hr_transposed,
    )


def _transposed(
    matrix: Array, weight_format: str, scale: Array | None, *, is_bounded: bool = False
) -> Array | Narrow:
    """A matrix in the form that rows are multiplied by."""
    found = narrow(matrix, weight_format, scale, is_bounded=is_bounded)
    if found is not None:
        return found
    return formats.widened(matrix, weight_format, scale).T.copy()


def infer(
    packed: Packed,
    x: Array,
    state: tuple[Array, ...],
    y: Array,
    *,
    cells: Array | None = None,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    resets: Resets | None = None,
    num_threads: int = 1,
) -> None:
    """Run over `x` and write the outputs to `y`, keeping nothing for a backward pass.

    `x` holds I features a row, `y` P. `state` goes from the initial to the final one. For
    an LSTM, `cells` receives the cell state of every step where it is wanted. `reverse`
    runs from each sequence's own end to its beginning; row t still belongs to step t. Rows
    that `resets` names start their step from the state that it holds, whatever was before;
    for a run in `reverse` they come as `Resets.backwards` returns them. Up to `num_threads`
    threads share the work; NumPy's own products keep to the number that its user has set.
    """
    shares = np.empty((*x.shape[:2], len(packed.w_ih)), x.dtype)
    with np.errstate(all="ignore"):
        _write_shares(packed, x, shares)
    infer_shares(
        packed,
        shares,
        state,
        y,
        cells=cells,
        batch_sizes=batch_sizes,
        reverse=reverse,
        resets=resets,
    )


def _write_shares(packed: Packed, x: Array, shares: Array) -> None:
    """Write the input's shares of the gates."""
    weights = packed.w_ih_transposed
    if isinstance(weights, NARROW):
        # In the core's order.
        shares[...] = packed.bias
        add_product(x, weights, shares)
    else:
        np.matmul(x, weights, out=shares)
        shares += packed.bias


def infer_shares(
    packed: Packed,
    shares: Array,
    state: tuple[Array, ...],
    y: Array,
    *,
    cells: Array | None = None,
    batch_sizes: NDArray[np.int64] | None = None,
    reverse: bool = False,
    resets: Resets | None = None,
    num_threads: int = 1,
) -> None:
    """Run as `infer` does, given the input's shares of the gates, biases included.

    `shares` are ``(.., G*H)``, and are overwritten.
    """
    hidden_size = len(packed.w_ih) // look_up(packed.cell).gates
    extra = np.empty((*shares.shape[:2], hidden_size), y.dtype) if cells is None else cells
    forward(
        packed,
        shares,
        state,
        y,
        extra,
        batch_sizes=batch_sizes,
        reverse=reverse,
        resets=resets,
    )


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
    resets: Resets | None = None,
    num_threads: int = 1,
) -> None:
    """Run over a sequence and keep what the backward pass reads.

    `gates` ``(.., G*H)`` leaves as the gates' values. Without `x` it comes in as
    ``x @ w_ih.T + bias``. For an RNN it may be the same array as `y`. `extra` ``(.., H)``
    receives the LSTM's cell states, or for "gru" ``w_hn @ h + bias_hn``, or for
    "gru_reset_before" ``r * h``; an RNN needs none. `y`, `state`, `reverse`,
    `resets` and `num_threads` are those of `infer`.
    """
    if x is not None:
        with np.errstate(all="ignore"):
            _write_shares(packed, x, gates)
    step = FORWARD[packed.cell]
    gates_t, y_t, extra_t = (_by_step(a, batch_sizes) for a in (gates, y, extra))
    resets_t = _by_step(None if resets is None else resets.rows, batch_sizes)
    with np.errstate(all="ignore"):
        for t in _order(len(y_t), reverse):
            now = _rows(state, batch_sizes, t)
            if resets is not None:
                resets.restart(resets_t[t], now)
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
    resets: Resets | None = None,
    dresets: tuple[Array, ...] | None = None,
    num_threads: int = 1,
) -> None:
    """Carry the gradient of a loss back through what `forward` ran.

    `gates`, `extra` and `y` are as `forward` left them, `initial` is the state it began
    with. `dy` is the gradient of the outputs; `dstate` comes in as that of the final state
    and leaves as that of the initial one. `dgates` ``(.., G*H)`` receives the gradient of
    ``x @ w_ih.T + bias`` and may be the same array as `gates`. `dextra` receives for "gru"
    the gradient ``(.., H)`` of ``w_hn @ h + bias_hn``, for an LSTM with `w_hr` the whole
    gradient ``(.., P)`` of each step's output; other cells need none. With `resets`, those
    of `forward`, no gradient reaches the state before such a row. It is added to `dresets`,
    of the form of `dstate`, where that is wanted.
    """
    step = BACKWARD[packed.cell]
    arrays = (gates, extra, y, dy, dgates, dextra)
    gates_t, extra_t, y_t, dy_t, dgates_t, dextra_t = (
        _by_step(a, batch_sizes) for a in arrays
    )
    resets_t = _by_step(None if resets is None else resets.rows, batch_sizes)
    with np.errstate(all="ignore"):
        for t in _order(len(y_t), not reverse):
            dnow = _rows(dstate, batch_sizes, t)
            dnow[0][...] += dy_t[t]
            # What the step started from: c where there is one, or else h.
            values = extra_t if len(dstate) == 2 else y_t
            before = _before(values, initial[-1], t, reverse)
            if resets is not None:
                before = np.where(resets_t[t][:, None], resets.state[-1], before)
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
            if resets is not None:
                resets.cut(resets_t[t], dnow, dresets)


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
