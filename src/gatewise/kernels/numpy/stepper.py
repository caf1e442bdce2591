"""A step, or a chunk of steps, through layers upon layers in plain NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.kernels.numpy import activations
from gatewise.kernels.numpy import rows as recurrent
from gatewise.kernels.numpy.convolution import convolve
from gatewise.kernels.numpy.products import linear
from gatewise.kernels.resets import Flags, Resets

Array = NDArray[Any]

__all__ = ["chain", "stepper"]


def stepper(
    stages: Sequence[tuple[Any, ...]],
    batch: int,
    features: int,
    dtype: np.dtype[Any],
    *,
    num_threads: int = 1,
) -> Callable[..., Array | None]:
    """Return a function that runs layers upon layers a step or a chunk on, in place.

    `stages` are what the layers do, one after another:

    - ``("table", table)`` gives the row of `table` that a token names. It is the first.
    - ``("recurrent", packed, state, start)`` advances `state`. `start` is what sequences
      that start anew do so from, as in `Resets`. If the stage is the first, a fifth
      element can be a table with the input's share of the gates for every token.
    - ``("linear", packed)``
    - ``("convolution", packed, history)`` overwrites `history`, the steps before the next.
    - ``("relu",)``, ``("tanh",)``, ``("sigmoid",)``, ``("softmax",)``

    The function takes a step ``(batch, features)`` of `dtype`, for a batch of one also
    ``(features,)``, or a chunk ``(batch, time, features)``. Where the first stage has a
    table, it takes integers without the last axis. Where convolutions have strides, it
    takes chunks alone, whose time is a multiple of the product of these. It returns the
    last stage's output, for a step always the same array, for a chunk a new one.

    A second argument can say which sequences start anew at which step: booleans of the
    shape of the input without the features. Histories of convolutions do not.

    It does nothing and returns None where `x` or that is something else: of another shape
    or dtype, a token that is not in the table, numbers that are not aligned or whose
    features are not contiguous, the array that it returned for a step. Where it raises, the
    states are those from before.
    """
    first, states = stages[0], [array for s in stages for array in _state_of(s)]
    table = first[-1] if first[0] == "table" or len(first) == 5 else ()
    functions = [_stage(stage, num_threads) for stage in stages]
    outputs = features
    for stage in stages:
        outputs = _outputs(stage, outputs)
    rows = None if first[0] == "table" else features
    strides = [stage[1].windows.stride for stage in stages if stage[0] == "convolution"]
    multiple = math.prod(strides)
    return Stepper(functions, states, batch, rows, outputs, len(table), multiple, dtype)


def chain(
    stages: Sequence[tuple[Any, ...]], features: int, dtype: np.dtype[Any]
) -> Callable[..., Array | None]:
    """Return a function that takes whole sequences through layers without a state.

    `stages` are those of `stepper` but for tables and recurrent ones; a convolution has no
    history. The function takes `x`, ``(batch, time, features)`` or ``(time, features)`` of
    `dtype`, and ``num_threads=1``, and returns the last stage's output.

    It does nothing and returns None where `x` is something else, or has steps that are not
    aligned or whose features are not contiguous, or too few of them for any output.
    """

    def run(x: Any, *, num_threads: int = 1) -> Array | None:
        if type(x) is not np.ndarray or x.dtype != dtype or x.ndim not in (2, 3):
            return None
        contiguous = features == 1 or x.strides[-1] == x.itemsize
        if not x.size or x.shape[-1] != features or not contiguous or not x.flags.aligned:
            return None
        rows = (x if x.ndim == 3 else x[None]).swapaxes(0, 1)
        for stage in stages:
            rows = _stage(stage, num_threads)(rows)
            if not rows.size:
                return None
        y = np.ascontiguousarray(rows.swapaxes(0, 1))
        return y if x.ndim == 3 else y[0]

    return run


def _state_of(stage: tuple[Any, ...]) -> tuple[Array, ...]:
    if stage[0] == "convolution":
        return stage[2:]
    state: tuple[Array, ...] = stage[2] if stage[0] == "recurrent" else ()
    return state


def _outputs(stage: tuple[Any, ...], features: int) -> int:
    """How many features a stage gives."""
    kind, *what = stage
    if kind == "table":
        features = what[0].shape[1]
    elif kind == "linear":
        features = len(what[0].weight)
    elif kind == "convolution":
        features = len(what[0].product.weight)
    elif kind == "recurrent":
        features = what[1][0].shape[1]
    return features


def _stage(stage: tuple[Any, ...], num_threads: int) -> Callable[..., Array]:
    """What a stage does with rows or with tokens, of which `flags` say which start anew."""
    kind, *what = stage

    def look_up(rows: Array, flags: Flags | None = None) -> Array:
        found: Array = what[0][rows]
        return found

    def project(rows: Array, flags: Flags | None = None) -> Array:
        projected = linear(what[0], np.ascontiguousarray(rows), num_threads=num_threads)
        assert projected is not None
        return projected

    def slide(rows: Array, flags: Flags | None = None) -> Array:
        packed, *histories = what
        history = histories[0] if histories else None
        steps = np.ascontiguousarray(rows.swapaxes(0, 1))
        y = convolve(packed, steps, history=history, num_threads=num_threads)
        assert y is not None
        if history is None:
            return y.swapaxes(0, 1)
        longer = np.concatenate([history, steps], axis=1)
        history[...] = longer[:, steps.shape[1] :]
        return y.swapaxes(0, 1)

    def activate(rows: Array, flags: Flags | None = None) -> Array:
        rows = np.ascontiguousarray(rows)
        values = rows.reshape(-1, rows.shape[-1]) if kind == "softmax" else rows.reshape(-1)
        out = np.empty_like(rows)
        getattr(activations, kind)(values, out.reshape(values.shape))
        return out

    def advance(rows: Array, flags: Flags | None = None) -> Array:
        packed, state, start, *table = what
        resets = None if flags is None else Resets(flags, start)
        y = np.empty((*rows.shape[:2], state[0].shape[1]), state[0].dtype)
        kernel: Callable[..., None] = recurrent.infer
        if rows.ndim == 2:
            kernel, rows = recurrent.infer_shares, table[0][rows]
        kernel(packed, rows, state, y, resets=resets, num_threads=num_threads)
        return y

    functions = {
        "table": look_up,
        "recurrent": advance,
        "linear": project,
        "convolution": slide,
    }
    return functions.get(kind, activate)


class Stepper:
    """What `stepper` returns.

    `stages` take and return rows ``(time, batch, features)``. The first one takes rows of
    so many `features`, unless these are None, and so many `tokens`, unless there are none,
    and a multiple of `multiple` steps. `states` are put back where anything is raised.
    """

    def __init__(
        self,
        stages: Sequence[Callable[..., Array]],
        states: Sequence[Array],
        batch: int,
        features: int | None,
        outputs: int,
        tokens: int,
        multiple: int,
        dtype: np.dtype[Any],
    ) -> None:
        self._stages = stages
        self._states = states
        self._batch = batch
        self._features = features
        self._tokens = tokens
        self._multiple = multiple
        self._dtype = dtype
        self._y = np.empty((batch, outputs), dtype)

    def __call__(self, x: Any, resets: Any = None) -> Array | None:
        """Take a step or a chunk, or nothing and return None."""
        if self._tokens and type(x) is not bool and isinstance(x, int | np.integer):
            x = np.asarray(x)
        if type(x) is not np.ndarray:
            return None
        values = x
        features: tuple[int | None, ...] = (self._features,)
        if self._tokens and x.dtype.kind in "iu" and x.ndim < 3:
            values, features = np.array(x, order="C"), ()
        fits = self._are_rows(values) if features else self._are_tokens(values)
        fits = fits and x.flags.aligned
        axes = values.ndim - len(features)
        if not fits or axes > 2 or values.shape[axes:] != features:
            return None
        if (values.shape[0] if axes else 1) != self._batch:
            return None
        if (values.shape[1] if axes == 2 else 1) % self._multiple:
            return None
        flags: Flags | None = None
        if resets is not None:
            if type(resets) is bool:
                resets = np.array(resets)
            shape, is_array = values.shape[:axes], type(resets) is np.ndarray
            if not is_array or resets.dtype != np.bool_ or resets.shape != shape:
                return None
            flags = resets.T if axes == 2 else resets.reshape(1, self._batch)
        if axes == 2:
            y = self._run(values.swapaxes(0, 1), flags)
            return np.ascontiguousarray(y.swapaxes(0, 1))
        rows = values.reshape(1, self._batch, *values.shape[axes:])
        self._y[...] = self._run(rows, flags)[0]
        return self._y if axes else self._y[0]

    def _are_tokens(self, x: Array) -> bool:
        return not x.size or bool(x.min() >= 0 and x.max() < self._tokens)

    def _are_rows(self, x: Array) -> bool:
        if x.dtype != self._dtype or x.ndim == 0:
            return False
        contiguous = x.shape[-1] == 1 or x.strides[-1] == x.itemsize or not x.size
        return contiguous and not np.may_share_memory(x, self._y)

    def _run(self, rows: Array, flags: Flags | None) -> Array:
        before = [state.copy() for state in self._states]
        try:
            for stage in self._stages:
                rows = stage(rows, flags)
        except BaseException:
            for state, old in zip(self._states, before, strict=True):
                state[...] = old
            raise
        return rows
